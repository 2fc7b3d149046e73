package vm

import (
	"context"
	"errors"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/tool"
)

// fake returns options for a machine whose emulator is this test program.
func fake(t *testing.T, play string) Options {
	t.Helper()
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk,1.raw")
	if err := os.WriteFile(disk, []byte("disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	qemu := filepath.Join(dir, "qemu-"+play)
	if err := os.Symlink(self, qemu); err != nil {
		t.Fatal(err)
	}
	return Options{
		Disk: Disk{Path: disk}, Firmware: BIOS, Accel: "tcg", QEMU: qemu, TempDir: dir,
		SerialLog: filepath.Join(dir, "console.log"), Timeout: time.Minute, Now: time.Now,
		Log: func(s string) { t.Log(s) }, settle: 200 * time.Millisecond,
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		play     string
		pass     bool
		reason   string // part of it
		attempts int
		checks   int
	}{
		{"pass", true, "", 1, 2},
		{"fail", false, "failed checks: root-composefs", 1, 2},
		{"liar", false, "failed checks: fsck", 1, 1},
		{"empty", false, "checked nothing", 1, 0},
		{"noise", true, "", 1, 2},
		{"long", false, "longer than 65536 bytes", 1, 2},
		{"flood", false, "more than 1000 checks", 1, 1000},
		{"panic", false, "kernel panic: [    1.0] Kernel panic - not syncing: Attempted to kill init!", 3, 0},
		{"panic-once", true, "", 3, 2},
		{"emergency", false, "emergency mode: You are in", 1, 0},
		{"binary", true, "", 1, 2},
		{"poweroff", false, "ended before the guest gave its verdict", 1, 0},
		{"crash", false, "ended before the guest gave its verdict", 3, 0},
		{"resets", false, "reset 4 times", 3, 0},
		{"pvpanic", false, "reported a panic", 3, 0},
	} {
		t.Run(c.play, func(t *testing.T) {
			t.Parallel()
			o := fake(t, c.play)
			v, err := Test(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if v.Pass != c.pass || !strings.Contains(v.Reason, c.reason) || (c.reason == "") != (v.Reason == "") {
				t.Errorf("pass %t, reason %q; want %t, %q", v.Pass, v.Reason, c.pass, c.reason)
			}
			if len(v.Attempts) != c.attempts || len(v.Checks) != c.checks {
				t.Errorf("%d attempts, %d checks; want %d, %d", len(v.Attempts), len(v.Checks), c.attempts, c.checks)
			}
			if left, _ := filepath.Glob(filepath.Join(o.TempDir, "aither-vm-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestTimeoutIsTriedThrice(t *testing.T) {
	o := fake(t, "hang")
	o.Timeout = 100 * time.Millisecond
	v, err := Test(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if v.Pass || len(v.Attempts) != 3 || !strings.Contains(v.Reason, "no verdict in time") {
		t.Errorf("pass %t after %d attempts: %q", v.Pass, len(v.Attempts), v.Reason)
	}
	if v.Method != "tcg-single" {
		t.Errorf("last method %s", v.Method)
	}
}

func TestEvidence(t *testing.T) {
	o := fake(t, "pass")
	o.Screenshot = filepath.Join(o.TempDir, "screen.png")
	v, err := Test(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(v.SerialLog)
	if err != nil || string(log) != "login: \n" {
		t.Errorf("console log %q, %v", log, err)
	}
	if got := strings.Join(v.Console, "|"); got != "login:" {
		t.Errorf("console tail %q", got)
	}
	if v.Checks[1].Detail != `{"bytes":1}` || v.Checks[0].Detail != "overlay" {
		t.Errorf("details %+v", v.Checks)
	}
	f, err := os.Open(v.Screenshot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil || img.Bounds().Dx() != 2 || img.Bounds().Dy() != 1 {
		t.Fatalf("screenshot %v, %v", img, err)
	}
	if r, g, b, _ := img.At(1, 0).RGBA(); r>>8 != 'D' || g>>8 != 'E' || b>>8 != 'F' {
		t.Errorf("second pixel %x %x %x", r, g, b)
	}
	if v.Duration <= 0 || v.Attempts[0].Duration != v.Duration {
		t.Errorf("durations %v", v.Attempts)
	}
}

func TestKeptChangesAreFlushed(t *testing.T) {
	o := fake(t, "pass")
	o.Disk.Changes = Keep
	v, err := Test(context.Background(), o)
	if err != nil || !v.Pass {
		t.Fatalf("%+v, %v", v, err)
	}
	if strings.Contains(strings.Join(v.Argv, " "), "snapshot=on") {
		t.Error("changes that are to be kept go to a snapshot")
	}
}

func TestEmulatorThatRefuses(t *testing.T) {
	o := fake(t, "refuse")
	_, err := Test(context.Background(), o)
	var te *tool.Error
	if !errors.As(err, &te) {
		t.Fatalf("%T: %v", err, err)
	}
	for _, want := range []string{"could not open disk image", "disk,,1.raw", "-accel tcg,thread=multi"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestRefusalsWithARemedy(t *testing.T) {
	for play, hint := range map[string]string{"locked": "end it first", "noslirp": "boot without network"} {
		_, err := Test(context.Background(), fake(t, play))
		var user *UserError
		if !errors.As(err, &user) || !strings.Contains(user.Hint, hint) {
			t.Errorf("%s: %v", play, err)
		}
	}
}

func TestCancelEndsTheMachine(t *testing.T) {
	for _, play := range []string{"hang", "mute"} {
		o := fake(t, play)
		o.Screenshot = filepath.Join(o.TempDir, "screen.png")
		ctx, stop := context.WithCancel(context.Background())
		time.AfterFunc(300*time.Millisecond, stop)
		v, err := Test(ctx, o)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", play, err)
		}
		if play == "hang" && (v == nil || v.Screenshot == "" || len(v.Argv) == 0) {
			t.Errorf("a cancelled test leaves no evidence: %+v", v)
		}
		if left, _ := filepath.Glob(filepath.Join(o.TempDir, "aither-vm-*")); len(left) > 0 {
			t.Errorf("%s: left behind: %v", play, left)
		}
	}
}

func TestStartAndQuit(t *testing.T) {
	o := fake(t, "hang")
	m, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.SSHPort == 0 || !strings.Contains(strings.Join(m.Argv, " "), "hostfwd=tcp:127.0.0.1:") {
		t.Errorf("ssh port %d in %v", m.SSHPort, m.Argv)
	}
	if _, err := m.qmp.call(context.Background(), "unknown", nil); err == nil || !strings.Contains(err.Error(), "no such command") {
		t.Errorf("refused command: %v", err)
	}
	if err := m.Quit(context.Background()); err != nil {
		t.Error(err)
	}
	if err := m.Wait(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestRunTellsHowToLogIn(t *testing.T) {
	o := fake(t, "poweroff")
	var out strings.Builder
	if err := Run(context.Background(), o, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Ctrl-A x", "ssh -p ", "127.0.0.1", "changes are dropped"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}
