package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/tool"
)

// Capabilities are what this host can boot an architecture with.
type Capabilities struct {
	Arch     string `json:"arch"`
	QEMU     string `json:"qemu,omitempty"`      // path of the emulator; empty: none found
	QEMUImg  string `json:"qemu_img,omitempty"`  // path of qemu-img; empty: none found
	UEFICode string `json:"uefi_code,omitempty"` // path of the firmware's code; empty: none found
	UEFIVars string `json:"uefi_vars,omitempty"` // path of the template of its variables
	BIOS     bool   `json:"bios"`                // SeaBIOS can be had (x86_64)
	KVM      bool   `json:"kvm"`                 // a guest truly ran under KVM
	KVMText  string `json:"kvm_text"`            // why KVM is used, or why not
}

// Accel is the accelerator that a machine should start with: "kvm" or "tcg".
func (c Capabilities) Accel() string {
	if c.KVM {
		return "kvm"
	}
	return "tcg"
}

// probeLimit bounds the tiny guest: where KVM works it ends within a second.
const probeLimit = 8 * time.Second

var probes struct {
	sync.Mutex
	done map[string]Capabilities
}

// Probe finds out what the host offers for arch ("" is the host's own). KVM
// counts only when a tiny guest really ran; the answer is kept for the process.
func Probe(ctx context.Context, arch string) Capabilities {
	if arch == "" {
		arch = hostArch()
	}
	probes.Lock()
	defer probes.Unlock()
	if c, ok := probes.done[arch]; ok {
		return c
	}
	c := probe(ctx, arch)
	if ctx.Err() == nil {
		if probes.done == nil {
			probes.done = map[string]Capabilities{}
		}
		probes.done[arch] = c
	}
	return c
}

func probe(ctx context.Context, arch string) Capabilities {
	c := Capabilities{Arch: arch, BIOS: arch == "x86_64"}
	c.QEMU, _ = findQEMU(arch)
	c.QEMUImg, _ = tool.Look("qemu-img")
	if f, ok := findFlash("", arch); ok {
		c.UEFICode, c.UEFIVars = f.Code, f.Vars
	}
	c.KVM, c.KVMText = probeKVM(ctx, c.QEMU, arch)
	return c
}

// findQEMU returns the emulator of arch. EL9 keeps its only one outside the PATH.
func findQEMU(arch string) (string, error) {
	if p, err := tool.Look("qemu-system-" + arch); err == nil {
		return p, nil
	}
	if arch == hostArch() {
		for _, p := range []string{"/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm"} {
			if exists(p) {
				return p, nil
			}
		}
	}
	return "", missingQEMU(arch)
}

func hostArch() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64"
	}
	return "x86_64"
}

func probeKVM(ctx context.Context, qemu, arch string) (works bool, text string) {
	if arch != hostArch() {
		return false, "the host has another architecture"
	}
	if qemu == "" {
		return false, "there is no emulator to try it with"
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if errors.Is(err, os.ErrPermission) {
		return false, "/dev/kvm may not be opened: add the user to the group kvm"
	}
	if err != nil {
		return false, "there is no usable /dev/kvm"
	}
	if err := f.Close(); err != nil {
		return false, "closing /dev/kvm: " + err.Error()
	}
	if err := runProbeGuest(ctx, qemu, arch, "kvm"); err != nil {
		return false, "a tiny guest did not run under KVM: " + err.Error()
	}
	return true, "a tiny guest ran under KVM"
}

// probeWord is what the tiny guest says on its serial port.
const probeWord = "AITHER-GUEST-RUNS"

// runProbeGuest boots a guest of a few instructions that says probeWord and
// ends the machine.
func runProbeGuest(ctx context.Context, qemu, arch, accel string) (err error) {
	dir, err := os.MkdirTemp("", "aither-probe-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	img := filepath.Join(dir, "guest")
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-m", "128", "-accel", accel, "-cpu", cpuFor(accel),
	}
	guest := bootSector()
	if arch == "aarch64" {
		guest = armGuest()
		args = append(args, "-machine", "virt", "-kernel", img)
	} else {
		args = append(args, "-machine", "q35",
			"-drive", "file="+escape(img)+",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d,bootindex=0")
	}
	if err := atomicfile.WriteFile(img, guest, 0o600); err != nil {
		return err
	}
	limit, stop := context.WithTimeout(ctx, probeLimit)
	defer stop()
	cmd := exec.CommandContext(limit, qemu, args...)
	cmd.WaitDelay = time.Second
	var out, errb capped
	cmd.Stdout, cmd.Stderr = &out, &errb
	runErr := cmd.Run()
	switch {
	case limit.Err() != nil:
		return fmt.Errorf("no end within %v", probeLimit)
	case strings.Contains(out.String(), probeWord):
		return nil
	case runErr != nil:
		return fmt.Errorf("%w: %s", runErr, strings.TrimSpace(errb.String()))
	}
	return errors.New("the guest said nothing")
}

// bootSector is a disk whose first sector says probeWord at COM1 and triple
// faults, which ends a machine that may not reboot.
func bootSector() []byte {
	b := []byte{0xfa, 0xba, 0xf8, 0x03} // cli; mov dx, 0x3f8
	for _, c := range []byte(probeWord + "\n") {
		b = append(b, 0xb0, c, 0xee) // mov al, c; out dx, al
	}
	b = append(b, 0x0f, 0x01, 0x1e, 0xf0, 0x7d, 0xcc) // lidt [0x7df0], which is zero; int3
	disk := make([]byte, 1<<20)                       // SeaBIOS passes over disks of less than a track
	copy(disk, b)
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// armGuest says probeWord at the virt machine's UART (0x09000000) and powers
// off through PSCI (SYSTEM_OFF, Arm DEN0022, over HVC).
func armGuest() []byte {
	ins := []uint32{0xd2a12001} // movz x1, #0x900, lsl #16
	for _, c := range []byte(probeWord + "\n") {
		ins = append(ins, 0x52800000|uint32(c)<<5, 0x39000020) // movz w0, #c; strb w0, [x1]
	}
	ins = append(ins, 0x52800100, 0x72b08000, 0xd4000002) // movz w0, #8; movk w0, #0x8400, lsl #16; hvc #0
	var b []byte
	for _, i := range ins {
		b = binary.LittleEndian.AppendUint32(b, i)
	}
	return b
}

func cpuFor(accel string) string {
	if strings.HasPrefix(accel, "kvm") {
		return "host"
	}
	return "max"
}

// capped keeps the first 16 KiB of what is written to it.
type capped struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if room := 16<<10 - c.b.Len(); room > 0 {
		c.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (c *capped) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}
