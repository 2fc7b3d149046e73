package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/tool"
)

// prepare finds the emulator and the firmware and makes the machine's folder
// with its variable store and overlay.
func prepare(ctx context.Context, o Options, how method) (b board, err error) {
	b = board{QEMU: o.QEMU, Method: how, Disk: o.Disk.Path, Format: o.Disk.Format}
	if b.QEMU == "" {
		if b.QEMU, err = findQEMU(o.Arch); err != nil {
			return b, err
		}
	}
	if err := checkDisks(o); err != nil {
		return b, err
	}
	if b.Dir, err = machineDir(o.TempDir); err != nil {
		return b, err
	}
	if err = b.fill(ctx, o); err != nil {
		return b, errors.Join(err, os.RemoveAll(b.Dir))
	}
	return b, nil
}

func checkDisks(o Options) error {
	for _, d := range append([]Disk{o.Disk}, o.Extra...) {
		if d.Path == "" {
			continue
		}
		fi, err := os.Stat(d.Path)
		if err != nil {
			return &UserError{Err: fmt.Errorf("opening disk: %w", err), Hint: "build the image first, or name another file"}
		}
		if fi.IsDir() {
			return &UserError{Err: fmt.Errorf("disk %s is a folder", d.Path), Hint: "name the image file in it"}
		}
	}
	return nil
}

// socketPathLimit is the longest path of a unix socket (unix(7), sun_path with its NUL).
const socketPathLimit = 107

// machineDir makes a folder for sockets; where temp is too deep for their
// names it goes to /tmp.
func machineDir(temp string) (string, error) {
	if temp == "" {
		temp = os.TempDir()
	}
	if len(temp)+len("/aither-vm-0123456789/console") > socketPathLimit {
		temp = "/tmp"
	}
	dir, err := os.MkdirTemp(temp, "aither-vm-")
	if err != nil {
		return "", fmt.Errorf("making the machine's folder: %w", err)
	}
	return filepath.Abs(dir)
}

func (b *board) fill(ctx context.Context, o Options) error {
	if o.Kernel == nil && o.Firmware == UEFI {
		var ok bool
		if b.Flash, ok = findFlash("", o.Arch); !ok {
			return missingFlash(o.Arch)
		}
		b.Vars = filepath.Join(b.Dir, "vars.fd")
		if err := copyFile(b.Flash.Vars, b.Vars); err != nil {
			return fmt.Errorf("copying the firmware's variables: %w", err)
		}
	}
	if o.Network != NoNetwork {
		var err error
		if b.SSHPort, err = freePort(o.SSHPort); err != nil {
			return err
		}
	}
	if o.Size > 0 && o.Disk.Path != "" {
		return b.overlay(ctx, o)
	}
	return nil
}

// overlay puts a bigger qcow2 in front of the image.
func (b *board) overlay(ctx context.Context, o Options) error {
	if _, err := tool.Look("qemu-img"); err != nil {
		return missingQEMUImg()
	}
	base, err := filepath.Abs(o.Disk.Path)
	if err != nil {
		return err
	}
	out, err := tool.Run(ctx, "qemu-img", "info", "-U", "--output=json", "-f", string(o.Disk.Format), base)
	if err != nil {
		return err
	}
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return fmt.Errorf("reading what qemu-img says of %s: %w", base, err)
	}
	if o.Size < info.Size {
		return &UserError{
			Err:  fmt.Errorf("a disk of %d bytes cannot hold the image's %d", o.Size, info.Size),
			Hint: "ask for a bigger size, or none",
		}
	}
	b.Disk, b.Format, b.Overlay = filepath.Join(b.Dir, "overlay.qcow2"), QCOW2, true
	_, err = tool.Run(ctx, "qemu-img", "create", "-q", "-f", "qcow2",
		"-F", string(o.Disk.Format), "-b", base, b.Disk, strconv.FormatInt(o.Size, 10))
	return err
}

// freePort returns want if it is free on loopback, or any free port for 0.
func freePort(want int) (int, error) {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(want)))
	if err != nil {
		return 0, &UserError{Err: fmt.Errorf("taking the ssh port: %w", err), Hint: "use another port, or 0 for a free one"}
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

func copyFile(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return atomicfile.Write(dst, 0o600, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
}
