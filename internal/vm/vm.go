// Package vm starts a disk image in QEMU, for a person at its console or for a
// test that waits for the guest's own verdict. It refuses shells, and it never
// changes the image unless it is told to keep the guest's changes.
package vm

import (
	"errors"
	"io"
	"time"
)

// Firmware is what the guest's machine boots with.
type Firmware string

// The firmwares. BIOS exists for x86_64 only.
const (
	UEFI Firmware = "uefi" // OVMF or AAVMF; the default
	BIOS Firmware = "bios" // SeaBIOS, which QEMU carries
)

// Format is the file format of a disk.
type Format string

// The formats of disks.
const (
	Raw   Format = "raw" // the default
	QCOW2 Format = "qcow2"
)

// Changes says what becomes of the guest's writes to a disk.
type Changes int

// What becomes of the guest's writes.
const (
	Drop Changes = iota // they go to an overlay that is removed with the machine
	Keep                // they go into the image
)

// Network says what the guest can reach.
type Network int

// What the guest can reach.
const (
	UserNetwork Network = iota // everything the host can reach; ssh is forwarded from loopback
	Restricted                 // nothing but the forwarded ssh port
	NoNetwork                  // there is no network card
)

// Console says who sits at the guest's first serial port.
type Console int

// Who sits at the first serial port.
const (
	Scanned  Console = iota // nobody: it is searched for panics and kept in SerialLog
	Terminal                // the caller's terminal, with QEMU's Ctrl-A keys
)

// A Disk is a drive of the guest.
type Disk struct {
	Path    string
	Format  Format  // default Raw
	Changes Changes // default Drop: the file stays as it is
}

// A Kernel is started directly, without firmware and boot loader.
type Kernel struct {
	Image  string // path of the kernel
	Initrd string // path of the initramfs; may be empty
	Args   string // kernel arguments
}

// Options describe one machine. Only Disk.Path (or Kernel) has no default.
type Options struct {
	// Disk is the first drive, the one that is booted.
	Disk Disk
	// Size, in bytes, grows the virtual disk: the guest sees a bigger medium,
	// the image stays as it is. 0 leaves the size. Needs Disk.Changes Drop.
	Size int64
	// Extra are further drives, in order.
	Extra []Disk
	// Kernel boots without firmware; Disk may then be empty.
	Kernel *Kernel

	Firmware Firmware // default UEFI
	Arch     string   // "x86_64" or "aarch64"; default: the host's
	Memory   int      // MiB, default 2048
	CPUs     int      // default 2

	Network Network
	// SSHPort is the port of 127.0.0.1 that leads to the guest's port 22; 0 takes a free one.
	SSHPort int

	// CheckPort adds the virtio-serial port CheckPortName; Test sets it.
	CheckPort bool
	Console   Console
	// SerialLog is the file that keeps what the first serial port said, up to 64 MiB.
	SerialLog string
	// Screenshot, for Test, is the PNG made before the machine ends.
	Screenshot string

	// Timeout bounds one attempt of Test; 0 is 5 minutes with KVM, 20 without.
	Timeout time.Duration
	// MaxResets is how often the guest may reset within one attempt of Test; 0 means 3.
	MaxResets int
	// Accel forces "kvm" or "tcg"; empty takes what Probe found.
	Accel string
	// QEMU is the emulator's path; empty looks for it.
	QEMU string
	// TempDir is where overlays and sockets live; empty is os.TempDir.
	TempDir string
	// Args are appended to the emulator's arguments.
	Args []string
	// Now is the clock for durations in a Verdict; nil leaves them zero.
	Now func() time.Time
	// Log receives a line for people about what happens; nil drops it.
	Log func(string)

	// settle is how long the console may go on after a crash, for its backtrace.
	settle time.Duration
}

// ErrOptions is wrapped by errors about Options that contradict each other.
var ErrOptions = errors.New("machine options")

// A UserError is a mistake whose second line tells what to do.
type UserError struct {
	Err  error
	Hint string
}

func (e *UserError) Error() string { return e.Err.Error() + "\nhint: " + e.Hint }

// Unwrap returns the cause.
func (e *UserError) Unwrap() error { return e.Err }

func (o *Options) defaults() {
	if o.Firmware == "" {
		o.Firmware = UEFI
	}
	if o.Arch == "" {
		o.Arch = hostArch()
	}
	if o.Memory == 0 {
		o.Memory = 2048
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.Disk.Format == "" {
		o.Disk.Format = Raw
	}
	if o.MaxResets == 0 {
		o.MaxResets = 3
	}
	if o.settle == 0 {
		o.settle = 3 * time.Second
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Now == nil {
		o.Now = func() time.Time { return time.Time{} }
	}
}

func (o *Options) check() error {
	bad := func(text, hint string) error {
		return &UserError{Err: &optionsError{text}, Hint: hint}
	}
	switch {
	case o.Disk.Path == "" && o.Kernel == nil:
		return bad("no disk and no kernel to boot", "name a disk image")
	case o.Arch != "x86_64" && o.Arch != "aarch64":
		return bad("architecture "+o.Arch+" is not known", "use x86_64 or aarch64")
	case o.Firmware != UEFI && o.Firmware != BIOS:
		return bad("firmware "+string(o.Firmware)+" is not known", "use uefi or bios")
	case o.Arch == "aarch64" && o.Firmware == BIOS:
		return bad("aarch64 has no BIOS", "use UEFI firmware")
	case o.Accel != "" && o.Accel != "kvm" && o.Accel != "tcg":
		return bad("accelerator "+o.Accel+" is not known", "use kvm or tcg")
	case o.Size < 0 || o.Memory < 0 || o.CPUs < 0:
		return bad("a size is negative", "use sizes above zero")
	case o.Size > 0 && o.Disk.Changes == Keep:
		return bad("a grown disk and kept changes at once", "grow the image itself with qemu-img resize, or drop the changes")
	case o.SSHPort < 0 || o.SSHPort > 65535:
		return bad("the ssh port is out of range", "use 1 to 65535, or 0 for a free one")
	}
	for _, d := range append([]Disk{o.Disk}, o.Extra...) {
		if d.Format != "" && d.Format != Raw && d.Format != QCOW2 {
			return bad("disk format "+string(d.Format)+" is not known", "use raw or qcow2")
		}
	}
	return nil
}

type optionsError struct{ text string }

func (e *optionsError) Error() string { return ErrOptions.Error() + ": " + e.text }

func (e *optionsError) Unwrap() error { return ErrOptions }

// lineLimit bounds one line of anything that a guest sends.
const lineLimit = 64 << 10

// readLines calls each for every line of r, cut at lineLimit bytes, until r
// ends or each returns false. What a hostile guest sends costs no more memory
// than one line.
func readLines(r io.Reader, each func(line []byte, cut bool) bool) error {
	buf := make([]byte, 32<<10)
	line := make([]byte, 0, 512)
	cut := false
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			switch {
			case c == '\n':
				if !each(line, cut) {
					return nil
				}
				line, cut = line[:0], false
			case len(line) < lineLimit:
				line = append(line, c)
			default:
				cut = true
			}
		}
		if err != nil {
			if len(line) > 0 {
				each(line, cut)
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
