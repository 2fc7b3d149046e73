package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/vm"
)

// machineFlags are what vm run and vm test share.
type machineFlags struct {
	firmware string
	memory   string
	size     string
	cpus     int
	snapshot bool
	network  string
	accel    string
	arch     string
	sshPort  int
}

func (f *machineFlags) register(s *pflag.FlagSet) {
	s.StringVar(&f.firmware, "firmware", string(vm.UEFI), "what the machine boots with: uefi or bios")
	s.StringVar(&f.memory, "memory", "2 GiB", "the machine's memory")
	s.IntVar(&f.cpus, "cpus", 2, "the machine's processors")
	s.StringVar(&f.size, "disk-size", "", "show the guest a larger disk, of this `SIZE`")
	s.BoolVar(&f.snapshot, "snapshot", true, "drop the guest's changes at the end; --snapshot=false keeps them in the image")
	s.StringVar(&f.network, "network", "user", "what the guest can reach: user (all that this machine can), restricted (nothing), none (no card)")
	s.StringVar(&f.accel, "accel", "", "kvm or tcg; what works here where it is not given")
	s.StringVar(&f.arch, "target-arch", "", "x86_64 or aarch64; this machine's where it is not given")
	s.IntVar(&f.sshPort, "ssh-port", 0, "the `PORT` of 127.0.0.1 that leads to the guest's ssh; 0 takes a free one")
}

var networks = map[string]vm.Network{"user": vm.UserNetwork, "restricted": vm.Restricted, "none": vm.NoNetwork}

// options makes the machine of the flags, with image as its disk.
func (f *machineFlags) options(image string) (vm.Options, error) {
	format, err := diskFormat(image)
	if err != nil {
		return vm.Options{}, err
	}
	network, ok := networks[f.network]
	if !ok {
		return vm.Options{}, &usageError{err: fmt.Errorf("unknown network %q\nhint: one of user, restricted, none", f.network)}
	}
	memory, err := blueprint.ParseSize(f.memory)
	if err != nil {
		return vm.Options{}, &usageError{err: fmt.Errorf("--memory: %w", err)}
	}
	o := vm.Options{
		Disk:     vm.Disk{Path: image, Format: format},
		Firmware: vm.Firmware(f.firmware), Arch: f.arch, Accel: f.accel,
		Memory: int(memory / blueprint.MiB), CPUs: f.cpus, Network: network, SSHPort: f.sshPort,
	}
	if !f.snapshot {
		o.Disk.Changes = vm.Keep
	}
	if f.size != "" {
		size, err := blueprint.ParseSize(f.size)
		if err != nil {
			return vm.Options{}, &usageError{err: fmt.Errorf("--disk-size: %w", err)}
		}
		o.Size = int64(size)
	}
	return o, nil
}

// diskFormat tells a qcow2 by its magic (docs/interop/qcow2.txt, "Header"); all else is raw.
func diskFormat(image string) (_ vm.Format, err error) {
	f, err := os.Open(image)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil {
		return "", fmt.Errorf("reading the first bytes of %s: %w", image, err)
	}
	if string(magic) == "QFI\xfb" {
		return vm.QCOW2, nil
	}
	return vm.Raw, nil
}

func (p *program) vmCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "vm",
		GroupID: groupLook,
		Short:   "Boot an image in a virtual machine",
		Example: "  aither-image vm run build/qcow2/disk.qcow2\n  aither-image vm test build/image/disk.raw",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(p.vmRunCommand(), p.vmTestCommand())
	return c
}

func (p *program) vmRunCommand() *cobra.Command {
	var f machineFlags
	c := &cobra.Command{
		Use:   "run IMAGE",
		Short: "Boot an image, with its console on this terminal",
		Long: `run boots a raw or qcow2 image in QEMU, with KVM where it truly works. The
console is this terminal, and a port of 127.0.0.1 leads to the guest's ssh. The
image is not changed unless --snapshot=false is given.`,
		Example: "  aither-image vm run build/qcow2/disk.qcow2\n  aither-image vm run --firmware bios --memory '4 GiB' build/image/disk.raw",
		Args:    exactArgs("the image"),
		RunE: func(c *cobra.Command, args []string) error {
			o, err := f.options(args[0])
			if err != nil {
				return err
			}
			return vm.Run(c.Context(), o, p.stderr)
		},
	}
	f.register(c.Flags())
	return c
}

type vmTestFlags struct {
	machineFlags
	output  string
	timeout time.Duration
}

func (f *vmTestFlags) register(s *pflag.FlagSet) {
	f.machineFlags.register(s)
	s.StringVar(&f.output, "output", "build/vm", "the `FOLDER` that keeps the console's text and the screenshot")
	s.DurationVar(&f.timeout, "timeout", 0, "for one attempt; 0 is 5 minutes with KVM and 20 without")
}

func (p *program) vmTestCommand() *cobra.Command {
	var f vmTestFlags
	c := &cobra.Command{
		Use:   "test IMAGE",
		Short: "Boot an image and wait for its own verdict",
		Long: `test boots a raw or qcow2 image and waits until the image's own check unit has
told what it found. It ends with 0 where all is well and with 1 where not; the
console's text and a screenshot are kept as evidence.`,
		Example: "  aither-image vm test build/image/disk.raw\n  aither-image vm test --firmware bios --json build/qcow2/disk.qcow2",
		Args:    exactArgs("the image"),
		RunE: func(c *cobra.Command, args []string) error {
			return p.vmTest(c.Context(), &f, args[0])
		},
	}
	f.register(c.Flags())
	return c
}

func (p *program) vmTest(ctx context.Context, f *vmTestFlags, image string) error {
	o, err := f.options(image)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.output, 0o755); err != nil {
		return err
	}
	ctx, end, err := p.story(ctx)
	if err != nil {
		return err
	}
	const stage = "virtual machine"
	r := progress.From(ctx)
	o.Timeout, o.Now = f.timeout, p.now
	o.SerialLog, o.Screenshot = filepath.Join(f.output, "console.log"), filepath.Join(f.output, "screen.png")
	o.Log = func(s string) { r.Report(progress.Event{Stage: stage, Kind: progress.Log, Text: s}) }
	r.Report(progress.Event{Stage: stage, Kind: progress.Start, Text: image})
	v, err := vm.Test(ctx, o)
	r.Report(progress.Event{Stage: stage, Kind: progress.End})
	if err := errors.Join(err, end()); err != nil {
		return err
	}
	if err := p.answer(v, func(w io.Writer) error { return printVerdict(w, v) }); err != nil {
		return err
	}
	if !v.Pass {
		return &silentError{exitFailed}
	}
	return nil
}

func printVerdict(w io.Writer, v *vm.Verdict) error {
	for _, c := range v.Checks {
		word := "ok"
		if !c.OK {
			word = "FAIL"
		}
		if _, err := fmt.Fprintf(w, "%-5s %-28s %s\n", word, c.Name, c.Detail); err != nil {
			return err
		}
	}
	word := "pass"
	if !v.Pass {
		word = "FAIL: " + v.Reason
		for _, l := range v.Console {
			if _, err := fmt.Fprintf(w, "console| %s\n", l); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "%s (%s, %s, %d attempts)\n", word, v.Method, v.Duration.Round(time.Second), len(v.Attempts))
	return err
}
