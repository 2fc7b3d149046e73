package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aitheros/aither-image/internal/doctor"
	"github.com/aitheros/aither-image/internal/vm"
)

type doctorFlags struct {
	output string
}

func (f *doctorFlags) register(s *pflag.FlagSet) {
	s.StringVar(&f.output, "output", "build", "the `FOLDER` where images are to be written")
}

func (p *program) doctorCommand() *cobra.Command {
	var f doctorFlags
	c := &cobra.Command{
		Use:     "doctor",
		GroupID: groupHost,
		Short:   "Tell what of building and running images works here",
		Long: `doctor looks at this machine and prints for each thing that matters whether it
is in order, and otherwise why it matters and the line that repairs it.

It ends with 0 where images can be built, and with 6 where they cannot.`,
		Example: "  aither-image doctor\n  aither-image doctor --json --output /srv/images",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rs, err := doctor.Run(c.Context(), p.host(c.Context(), f))
			if err != nil {
				return err
			}
			if err := p.answer(rs, func(w io.Writer) error { return printResults(w, rs) }); err != nil {
				return err
			}
			if doctor.Worst(rs) == doctor.Fail {
				return &silentError{exitMissing}
			}
			return nil
		},
	}
	f.register(c.Flags())
	return c
}

// host is this machine, seen by whoever runs the program.
func (p *program) host(ctx context.Context, f doctorFlags) doctor.Host {
	h := doctor.Host{Output: f.output, Cache: p.cacheDir(), Temp: os.TempDir(), EUID: os.Geteuid()}
	h.User = strconv.Itoa(h.EUID)
	h.KVM = func() error {
		if err := doctor.TryKVM(); err != nil {
			return err
		}
		if c := vm.Probe(ctx, ""); c.QEMU != "" && !c.KVM {
			return errors.New(c.KVMText)
		}
		return nil
	}
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	}
	return h
}

// cacheDir is where layers and base images are kept between builds.
func (p *program) cacheDir() string {
	if d := p.getenv("XDG_CACHE_HOME"); d != "" {
		return d + "/aither-image"
	}
	if d := p.getenv("HOME"); d != "" {
		return d + "/.cache/aither-image"
	}
	return ".cache/aither-image"
}

func printResults(w io.Writer, rs []doctor.Result) error {
	for _, r := range rs {
		if _, err := fmt.Fprintf(w, "%-5s %-16s %s\n", r.Status, r.Name, r.Found); err != nil {
			return err
		}
		if r.Status == doctor.OK {
			continue
		}
		if _, err := fmt.Fprintf(w, "      why: %s\n", r.Why); err != nil {
			return err
		}
		if r.Fix == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "      fix: %s\n", r.Fix); err != nil {
			return err
		}
	}
	return nil
}
