package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// powerdownLimit is how long a guest has to shut down when its user interrupts.
const powerdownLimit = 30 * time.Second

// Run starts a machine for a person: it writes to w how to log in, hands the
// terminal to the guest's console and returns when the machine has ended. When
// ctx ends, the guest is asked to shut down, and ended if it does not.
func Run(ctx context.Context, o Options, w io.Writer) (err error) {
	o.Console = Terminal
	o.defaults()
	if err := o.check(); err != nil {
		return err
	}
	caps := Capabilities{KVMText: "asked for"}
	if o.Accel == "" {
		caps = Probe(ctx, o.Arch)
		o.Accel = caps.Accel()
	}
	if _, err := io.WriteString(w, banner(o, caps.KVMText)); err != nil {
		return err
	}
	m, err := start(ctx, o, methods(o.Accel)[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if m.SSHPort != 0 {
		_, err := fmt.Fprintf(w, "ssh -p %d -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null USER@127.0.0.1\n", m.SSHPort)
		if err != nil {
			return err
		}
	}
	if err := m.Wait(ctx); ctx.Err() == nil {
		return err
	}
	limit, stop := context.WithTimeout(context.WithoutCancel(ctx), powerdownLimit)
	defer stop()
	if m.Powerdown(limit) != nil || m.Wait(limit) != nil {
		_ = m.Quit(limit) // Close kills what does not quit
	}
	return ctx.Err()
}

func banner(o Options, why string) string {
	disk := o.Disk.Path
	if disk == "" {
		disk = o.Kernel.Image
	}
	changes := "changes are dropped at the end"
	if o.Disk.Changes == Keep {
		changes = "changes are kept in the image"
	}
	return fmt.Sprintf("%s: %s, %d MiB, %d CPUs, %s (%s); %s\n"+
		"console: Ctrl-A x ends the machine, Ctrl-A c switches to the monitor and back, Ctrl-A h helps\n",
		disk, o.Firmware, o.Memory, o.CPUs, o.Accel, why, changes)
}
