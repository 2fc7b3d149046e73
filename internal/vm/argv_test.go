package vm

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

var update = flag.Bool("update", false, "rewrite testdata")

func TestArgv(t *testing.T) {
	flashSMM := flash{Code: "/fw/CODE.fd", Vars: "/fw/VARS.fd", Format: "raw", SMM: true}
	b := board{QEMU: "/usr/bin/qemu", Vars: "/run/v/vars.fd", Dir: "/run/v", Disk: "/img/disk.raw", Format: Raw, SSHPort: 2222, Method: methodTCG, Flash: flash{Code: "/fw/CODE.fd", Format: "raw"}}
	with := func(f func(*Options, *board)) []string {
		o, b := Options{Disk: Disk{Path: "/img/disk.raw"}, Arch: "x86_64", CheckPort: true}, b
		f(&o, &b)
		o.defaults()
		return argv(o, b)
	}
	cases := map[string][]string{
		"uefi":     with(func(*Options, *board) {}),
		"uefi-smm": with(func(o *Options, b *board) { b.Flash = flashSMM }),
		"bios":     with(func(o *Options, b *board) { o.Firmware, b.Method = BIOS, methodKVM }),
		"grown": with(func(o *Options, b *board) {
			b.Disk, b.Format, b.Overlay, b.Method = "/run/v/o.qcow2", QCOW2, true, methodTCGSingle
		}),
		"keep-extra-offline": with(func(o *Options, b *board) {
			o.Disk.Changes, o.Network = Keep, NoNetwork
			o.Extra = []Disk{{Path: "/img/a,b.qcow2", Format: QCOW2}}
		}),
		"terminal": with(func(o *Options, b *board) {
			o.Console, o.SerialLog, o.CheckPort, o.Network = Terminal, "/tmp/con.log", false, Restricted
		}),
		"kernel": with(func(o *Options, b *board) {
			o.Kernel, b.Disk = &Kernel{Image: "/k", Initrd: "/i", Args: "console=ttyS0 quiet"}, ""
		}),
		"aarch64": with(func(o *Options, b *board) { o.Arch = "aarch64" }),
	}
	for name, got := range cases {
		path := filepath.Join("testdata", "argv", name)
		text := strings.ReplaceAll(strings.Join(got, " "), " -", "\n-") + "\n"
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), text); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestOptionsThatContradict(t *testing.T) {
	for name, o := range map[string]Options{
		"no disk":    {},
		"arch":       {Disk: Disk{Path: "x"}, Arch: "riscv64"},
		"bios arm":   {Disk: Disk{Path: "x"}, Arch: "aarch64", Firmware: BIOS},
		"firmware":   {Disk: Disk{Path: "x"}, Firmware: "openfirmware"},
		"grown keep": {Disk: Disk{Path: "x", Changes: Keep}, Size: 1 << 30},
		"format":     {Disk: Disk{Path: "x", Format: "vmdk"}},
		"extra":      {Disk: Disk{Path: "x"}, Extra: []Disk{{Format: "vdi"}}},
		"port":       {Disk: Disk{Path: "x"}, SSHPort: 70000},
		"accel":      {Disk: Disk{Path: "x"}, Accel: "hvf"},
		"negative":   {Disk: Disk{Path: "x"}, Memory: -1},
	} {
		_, err := Test(context.Background(), o)
		if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), "\nhint: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMissingPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	disk := filepath.Join(t.TempDir(), "d")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"qemu":  missingQEMU("x86_64"),
		"flash": missingFlash("x86_64"),
		"img":   missingQEMUImg(),
	} {
		if !errors.Is(err, tool.ErrMissing) || !strings.Contains(err.Error(), "hint: install it") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Test(context.Background(), Options{Disk: Disk{Path: filepath.Join(disk, "none")}, Accel: "tcg", QEMU: "/bin/true", Firmware: BIOS}); err == nil || !strings.Contains(err.Error(), "hint: build the image first") {
		t.Errorf("missing disk: %v", err)
	}
	// Firmware paths of other systems.
	root := t.TempDir()
	if _, ok := findFlash(root, "x86_64"); ok {
		t.Error("firmware found in an empty root")
	}
	for _, f := range []string{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"} {
		if err := os.MkdirAll(filepath.Dir(root+f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if f, ok := findFlash(root, "x86_64"); !ok || !f.SMM {
		t.Errorf("EL9's firmware: %+v %t", f, ok)
	}
}

func TestGrownOverlay(t *testing.T) {
	tooltest.Need(t, "qemu-img")
	o := fake(t, "pass")
	if err := os.Truncate(o.Disk.Path, 1<<20); err != nil {
		t.Fatal(err)
	}
	o.Size = 8 << 20
	b, err := prepare(context.Background(), func() Options { o.defaults(); return o }(), methodTCG)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(b.Dir)
	out, err := tool.Run(context.Background(), "qemu-img", "info", "--backing-chain", b.Disk)
	if err != nil || !strings.Contains(string(out), "virtual size: 8 MiB") || !strings.Contains(string(out), "virtual size: 1 MiB") {
		t.Errorf("%s %v", out, err)
	}
	o.Size = 4096
	if _, err := prepare(context.Background(), o, methodTCG); err == nil || !strings.Contains(err.Error(), "cannot hold") {
		t.Errorf("a disk smaller than the image: %v", err)
	}
}

func TestReadPPM(t *testing.T) {
	for _, bad := range []string{"", "P5\n1 1\n255\nA", "P6\n1 1\n65535\nABCDEF", "P6\n99999 1\n255\nA", "P6\n0 1\n255\n", "P6\n-4 1\n255\n", "P6\n2 2\n255\nABC"} {
		if _, err := readPPM(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestTroubles(t *testing.T) {
	for line, want := range map[string]string{
		"[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)": "the root file system could not be mounted",
		"[    2.1] Kernel panic - not syncing: Fatal exception":                                    "kernel panic",
		"[ 1.0] int3: 0000 [#1] PREEMPT SMP NOPTI":                                                 "kernel oops",
		"[ 1.0] general protection fault, probably for non-canonical address 0x1: 0000 [#1] SMP":   "kernel oops",
		"[ 1.0] BUG: unable to handle page fault for address: 0":                                   "kernel bug",
		"systemd[1]: Freezing execution.":                                                          "systemd has crashed",
		"grub rescue> ":                                                                            "GRUB cannot go on",
		"error: no such partition.":                                                                "GRUB cannot go on",
		"BdsDxe: No bootable option or device was found.":                                          "the firmware finds nothing to boot",
		"[  OK  ] Reached target emergency.target - Emergency Mode.":                               "emergency mode",
		"dracut-initqueue[300]: Warning: dracut-initqueue: timeout - starting timeout scripts":     "the root device was not found",
		// What sound machines say:
		"Kernel command line: root=UUID=1 panic=15":                           "",
		"audit: Kernel panic - not syncing":                                   "",
		"[    0.0] Loaded X.509 cert 'Build time autogenerated kernel key'":   "",
		"BdsDxe: failed to load Boot0001 \"UEFI Misc Device\": Not Found":     "",
		"systemd[1]: Reached target multi-user.target - Multi-User System.":   "",
		"[  OK  ] Stopped target emergency.target":                            "",
		"error: file unrelated":                                               "",
		"systemd[1]: emergency.service: Unit is masked":                       "",
		"ostree-prepare-root: composefs: mounted successfully":                "",
		"[    0.5] pvpanic-pci 0000:00:05.0: can't find IRQ":                  "",
		"systemd-fsck[300]: root: clean, 1234/5678 files":                     "",
		"[    1.2] EXT4-fs (vda3): mounted filesystem with ordered data mode": "",
		"[    1.2] BUG-free: unable is only a word":                           "",
		"dracut-pre-trigger[280]: rd.md=0: removing MD RAID activation":       "",
	} {
		got, ok := findTrouble(line)
		if ok != (want != "") || got.What != want {
			t.Errorf("%q: %q, want %q", line, got.What, want)
		}
	}
	if got := plain([]byte("\x1b[0;1;31mred\x1b[0m\x1b]0;title\x07 \xff\x00\tx\x9b")); got != "red  x" {
		t.Errorf("plain: %q", got)
	}
}
