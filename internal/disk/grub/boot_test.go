package grub_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/disk/fat"
	"github.com/aitheros/aither-image/internal/disk/grub"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"github.com/aitheros/aither-image/internal/tree"
)

// config says a word on the serial line and ends the machine
// through QEMU's debug port with the exit status 99 = 2 × 0x31 + 1.
const config = `serial --unit=0 --speed=115200
terminal_output serial
echo AITHER-GRUB-STARTED
outb 0xf4 0x31
`

// A BIOS starts the boot sector, the core image and a grub.cfg that lies in our
// own FAT file system on a disk of our own layout.
func TestBIOSStartsIt(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a machine")
	}
	qemu := tooltest.Need(t, "qemu-system-x86_64")
	disk := bootDisk(t)
	serial := filepath.Join(t.TempDir(), "serial.log")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := tool.Run(ctx, qemu, "-machine", "pc,accel=tcg", "-m", "128", "-display", "none", "-nodefaults", "-no-reboot", "-net", "none",
		"-vga", "std", "-serial", "file:"+serial, "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive", "format=raw,file="+disk)
	log, _ := os.ReadFile(serial)
	if err == nil || !strings.Contains(err.Error(), "exit status 99") || !strings.Contains(string(log), "AITHER-GRUB-STARTED") {
		t.Errorf("%v\n%s", err, log)
	}
}

func bootDisk(t *testing.T) string {
	l, err := plan.New(plan.Options{RootSize: plan.Size{Bytes: plan.MiB}, ESPSize: plan.Size{Bytes: 40 * plan.MiB}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(l.DiskSize); err != nil {
		t.Fatal(err)
	}
	esp, bios := l.Find(plan.ESP), l.Find(plan.BIOSBoot)
	part, err := os.Create(path + ".esp")
	if err != nil {
		t.Fatal(err)
	}
	err = fat.Write(part, esp.Size, fat.Options{Label: esp.Label, VolumeID: esp.VolumeID, HiddenSectors: uint32(esp.Start / 512)}, func(yield func(tree.Entry, error) bool) {
		_ = yield(tree.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil) &&
			yield(tree.Entry{Path: "a long folder", Mode: fs.ModeDir | 0o755}, nil) &&
			yield(tree.Entry{Path: "a long folder/grub.cfg", Mode: 0o644, Content: tree.Text(config)}, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(part.Name())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, esp.Start); err != nil {
		t.Fatal(err)
	}
	if err := l.Table().Write(f); err != nil {
		t.Fatal(err)
	}
	boot, err := grub.Install(grub.Options{Files: os.DirFS(folder(t)), Prefix: "(,gpt2)/a long folder",
		Modules:       []string{"biosdisk", "part_gpt", "fat", "normal", "serial", "terminal", "echo", "iorw"},
		BIOSBootStart: bios.Start, BIOSBootSize: bios.Size})
	if err != nil {
		t.Fatal(err)
	}
	if err := boot.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
