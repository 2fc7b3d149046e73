package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// These tests boot real guests: a Linux kernel of the host (AITHER_TEST_KERNEL
// and AITHER_TEST_MODULES name another one and its modules' folder) with an
// initramfs of busybox that speaks the check port's protocol. They run with
// AITHER_SLOW=1.

func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("AITHER_SLOW") != "1" {
		t.Skip("boots a guest: set AITHER_SLOW=1")
	}
}

func TestProbeGuestRuns(t *testing.T) {
	slow(t)
	qemu := tooltest.Need(t, "qemu-system-"+hostArch())
	if err := runProbeGuest(context.Background(), qemu, hostArch(), "tcg"); err != nil {
		t.Error(err)
	}
	if err := runProbeGuest(context.Background(), qemu, hostArch(), "no-such"); err == nil {
		t.Error("an accelerator that does not exist ran a guest")
	}
	c := Probe(context.Background(), "")
	if c.QEMU == "" || c.KVMText == "" {
		t.Errorf("%+v", c)
	}
	t.Logf("%+v", c)
}

func TestRealGuest(t *testing.T) {
	slow(t)
	tooltest.Need(t, "qemu-system-x86_64")
	for _, c := range []struct {
		name, script, append string
		pass                 bool
		reason               string
		attempts             int
	}{
		{name: "pass", script: `echo '{"check":"boot","ok":true}' >&3; echo '{"verdict":"pass"}' >&3; sleep 60`, pass: true, attempts: 1},
		{name: "fail", script: `echo '{"check":"boot","ok":false,"detail":"no"}' >&3; echo '{"verdict":"fail"}' >&3; sleep 60`, reason: "failed checks: boot", attempts: 1},
		{name: "panic", script: `exit 1`, reason: "Attempted to kill init", attempts: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			o := Options{
				Kernel:  &Kernel{Image: kernel(t), Initrd: initramfs(t, dir, c.script), Args: "console=ttyS0 panic=0"},
				Network: NoNetwork, Accel: "tcg", Memory: 512, Timeout: 40 * time.Second, Now: time.Now, Arch: "x86_64",
				SerialLog: filepath.Join(dir, "console.log"), Screenshot: filepath.Join(dir, "screen.png"),
				Log: func(s string) { t.Log(s) },
			}
			v, err := Test(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", v.Attempts)
			if v.Pass != c.pass || !strings.Contains(v.Reason, c.reason) || len(v.Attempts) != c.attempts {
				t.Errorf("pass %t, reason %q, %d attempts\n%s", v.Pass, v.Reason, len(v.Attempts), strings.Join(v.Console, "\n"))
			}
			if log, err := os.ReadFile(v.SerialLog); err != nil || !bytes.Contains(log, []byte("Linux version")) {
				t.Errorf("the console's log has no kernel messages: %v", err)
			}
			if fi, err := os.Stat(v.Screenshot); err != nil || fi.Size() == 0 {
				t.Errorf("screenshot: %v", err)
			}
		})
	}
}

// TestFirmwareFindsNothing boots empty disks: the machine, the firmware and the
// drives come up, and a hang ends in time.
func TestFirmwareFindsNothing(t *testing.T) {
	slow(t)
	tooltest.Need(t, "qemu-system-x86_64")
	for _, fw := range []Firmware{UEFI, BIOS} {
		dir := t.TempDir()
		disk := filepath.Join(dir, "empty.raw")
		if err := os.WriteFile(disk, bootSector()[:0], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(disk, 64<<20); err != nil {
			t.Fatal(err)
		}
		o := Options{
			Disk: Disk{Path: disk}, Size: 128 << 20, Firmware: fw, Accel: "tcg", Memory: 512, Arch: "x86_64",
			Timeout: 6 * time.Second, Screenshot: filepath.Join(dir, "s.png"), Log: func(s string) { t.Log(s) },
		}
		v, err := Test(context.Background(), o)
		var missing *UserError
		if errors.As(err, &missing) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if v.Pass || v.Screenshot == "" {
			t.Errorf("%s: %+v", fw, v)
		}
		t.Logf("%s: %s", fw, v.Reason)
	}
}

func kernel(t *testing.T) string {
	if k := os.Getenv("AITHER_TEST_KERNEL"); k != "" {
		return k
	}
	for _, p := range []string{"/boot/vmlinuz-*", "/usr/lib/modules/*/vmlinuz"} {
		if m, _ := filepath.Glob(p); len(m) > 0 {
			return m[len(m)-1]
		}
	}
	t.Skip("the host has no kernel: set AITHER_TEST_KERNEL and AITHER_TEST_MODULES")
	return ""
}

// initramfs makes a cpio archive (newc) of busybox, the modules of
// virtio_console and an init that opens the check port as descriptor 3.
func initramfs(t *testing.T, dir, script string) string {
	busybox, err := os.ReadFile(tooltest.Need(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	modules := os.Getenv("AITHER_TEST_MODULES")
	if modules == "" {
		modules = filepath.Join("/usr/lib/modules", strings.TrimPrefix(filepath.Base(kernel(t)), "vmlinuz-"))
	}
	var b bytes.Buffer
	add(&b, "bin", 0o40755, nil)
	add(&b, "dev", 0o40755, nil)
	add(&b, "sys", 0o40755, nil)
	add(&b, "bin/busybox", 0o100755, busybox)
	var load string
	for i, mod := range findModules(t, modules) {
		name := fmt.Sprintf("m%02d.ko", i)
		data, err := os.ReadFile(mod)
		if err != nil {
			t.Fatal(err)
		}
		add(&b, name, 0o100644, data)
		load += "busybox insmod /" + name + "\n"
	}
	add(&b, "init", 0o100755, []byte("#!/bin/busybox sh\nPATH=/bin\nexport PATH\nbusybox mount -t devtmpfs dev /dev\nbusybox mount -t sysfs sys /sys\nalias sleep='busybox sleep'\n"+load+`
n=0
while [ $n -lt 50 ]; do
  for p in /sys/class/virtio-ports/*; do
    if [ "$(busybox cat $p/name 2>/dev/null)" = org.aitheros.check ]; then exec 3>/dev/${p##*/}; n=99; fi
  done
  n=$((n+1)); [ $n -gt 50 ] || busybox sleep 0.2
done
echo guest is up
`+script+"\n"))
	add(&b, "TRAILER!!!", 0, nil)
	path := filepath.Join(dir, "initramfs")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// findModules returns virtio_console and what it needs, in loading order.
func findModules(t *testing.T, root string) []string {
	order := []string{"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_console"}
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains(order, strings.TrimSuffix(filepath.Base(path), ".ko")) && strings.HasSuffix(path, ".ko") {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Skipf("the kernel's modules: %v", err)
	}
	at := func(p string) int { return slices.Index(order, strings.TrimSuffix(filepath.Base(p), ".ko")) }
	slices.SortFunc(found, func(a, b string) int { return at(a) - at(b) })
	return found
}

// add appends one entry in the newc form of cpio(5).
func add(b *bytes.Buffer, name string, mode int, data []byte) {
	fmt.Fprintf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", b.Len(), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name + "\x00")
	pad := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	pad()
	b.Write(data)
	pad()
}
