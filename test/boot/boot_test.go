// Package boot boots the built images and believes only what the guest says of
// itself: each line of its check unit is a test. It refuses to build anything
// but the images that it is asked to boot, and never changes them.
package boot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/vm"
)

// A scene is one image on one machine.
type scene struct {
	dir      string // folder of the images; empty is what images returns
	disk     string // path below the image folder
	format   vm.Format
	firmware vm.Firmware
	grow     int64 // bytes that the medium is bigger than the image
	want     []string
	args     []string      // more arguments for the emulator
	resets   int           // that the guest may make; 0 is the usual number
	timeout  time.Duration // of an attempt; 0 is the usual one
}

// wanted are the checks that every image's unit must have made; it may make more.
var wanted = []string{
	"settled", "root", "root-readonly", "sysroot-readonly", "state-writable", "kernel-arguments",
	"boot", "deployment", "root-grown", "machine-id", "upgrade-tools", "etc-labels", "objects",
}

const (
	rawDisk   = "image/disk.raw"
	qcow2Disk = "qcow2/disk.qcow2"
)

// TestUEFI boots the raw disk on a bigger medium: the one boot that every run
// of the tests makes.
func TestUEFI(t *testing.T) {
	need(t, "AITHER_BOOT_ONE", "AITHER_BOOTS")
	play(t, scene{disk: rawDisk, format: vm.Raw, firmware: vm.UEFI, grow: 4 << 30, want: []string{"esp"}})
}

func TestUEFIQcow2(t *testing.T) {
	need(t, "AITHER_BOOTS")
	play(t, scene{disk: qcow2Disk, format: vm.QCOW2, firmware: vm.UEFI, want: []string{"esp"}})
}

func TestBIOS(t *testing.T) {
	need(t, "AITHER_BOOTS")
	play(t, scene{disk: rawDisk, format: vm.Raw, firmware: vm.BIOS, grow: 2 << 30})
}

func TestBIOSQcow2(t *testing.T) {
	need(t, "AITHER_BOOTS")
	play(t, scene{disk: qcow2Disk, format: vm.QCOW2, firmware: vm.BIOS})
}

// TestEncapsulated boots a disk whose image is of the other shape that bases
// have: layers of an ostree commit, as Fedora's and CentOS' are. Such an image
// is made with the importer's own crate, so its folder is given from outside.
func TestEncapsulated(t *testing.T) {
	need(t, "AITHER_BOOTS")
	dir := os.Getenv("AITHER_ENCAPSULATED_DIR")
	if dir == "" {
		t.Skip("no disk of an ostree-encapsulated image: set AITHER_ENCAPSULATED_DIR to its folder (with image/disk.raw)")
	}
	play(t, scene{dir: dir, disk: rawDisk, format: vm.Raw, firmware: vm.UEFI, grow: 2 << 30, want: []string{"esp"}})
}

// need skips unless one of the variables is 1.
func need(t *testing.T, vars ...string) {
	t.Helper()
	for _, v := range vars {
		if os.Getenv(v) == "1" {
			return
		}
	}
	t.Skipf("boots an image: set %s=1 (make boots)", strings.Join(vars, "=1 or "))
}

// play boots the scene, whose own check unit must make all that is wanted.
func play(t *testing.T, s scene) {
	s.want = slices.Concat(wanted, s.want)
	run(t, s)
}

// run boots the scene and makes every line of the check port a test.
func run(t *testing.T, s scene) {
	dir := s.dir
	if dir == "" {
		dir = images(t)
	}
	disk := filepath.Join(dir, s.disk)
	before, err := os.Stat(disk)
	if err != nil {
		t.Fatalf("%v\nhint: build it with make image, or name its folder in AITHER_IMAGE_DIR", err)
	}
	evidence := filepath.Join(dir, "boots", t.Name())
	if err := os.MkdirAll(evidence, 0o755); err != nil {
		t.Fatal(err)
	}
	o := vm.Options{
		Disk: vm.Disk{Path: disk, Format: s.format}, Firmware: s.firmware, Arch: "x86_64", Network: vm.Restricted,
		SerialLog: filepath.Join(evidence, "console.log"), Screenshot: filepath.Join(evidence, "screen.png"),
		Args: s.args, MaxResets: s.resets, Timeout: s.timeout,
		Now: time.Now, Log: func(line string) { t.Log(line) },
	}
	if s.grow > 0 {
		o.Size = before.Size() + s.grow
	}
	ctx := context.Background()
	if end, ok := t.Deadline(); ok { // leave time to tell what there is
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, end.Add(-time.Minute))
		defer stop()
	}
	v, err := vm.Test(ctx, o)
	if err != nil {
		if v != nil {
			v.Reason = err.Error()
			judge(t, s, v)
		}
		t.Fatal(err)
	}
	t.Logf("%s with %s: %v after %d attempts", s.disk, s.firmware, v.Duration.Round(time.Second), len(v.Attempts))
	judge(t, s, v)
	if after, err := os.Stat(disk); err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the boot changed %s (%v)", disk, err)
	}
}

func judge(t *testing.T, s scene, v *vm.Verdict) {
	made := map[string]bool{}
	for _, c := range v.Checks {
		made[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			if !c.OK {
				t.Error(c.Detail)
			}
		})
	}
	for _, name := range s.want {
		if v.Pass && !made[name] {
			t.Errorf("the guest did not check %s", name)
		}
	}
	if !v.Pass {
		t.Errorf("%s\nscreenshot: %s\nconsole, last lines of %s:\n%s\ncommand line: %s",
			v.Reason, v.Screenshot, v.SerialLog, strings.Join(v.Console[max(0, len(v.Console)-80):], "\n"), tool.Quote(v.Argv))
	}
}

var built = sync.OnceValues(build)

// images returns the folder with the images: AITHER_IMAGE_DIR or build of the
// repository. Where it holds none and AITHER_IMAGE names the program, the lab
// is built there.
func images(t *testing.T) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func build() (string, error) {
	dir := os.Getenv("AITHER_IMAGE_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "build")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	_, rawErr := os.Stat(filepath.Join(dir, rawDisk))
	_, qcow2Err := os.Stat(filepath.Join(dir, qcow2Disk))
	program := os.Getenv("AITHER_IMAGE")
	if program == "" || rawErr == nil && qcow2Err == nil {
		return dir, nil
	}
	if _, err := tool.Run(context.Background(), program, "build", "--type", "raw,qcow2", "--output", dir, "lab"); err != nil {
		return "", fmt.Errorf("building the images to boot: %w", err)
	}
	return dir, nil
}
