package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aitheros/aither-image/internal/blueprint"
)

// planFlags change a blueprint or a plan as it is read; build has them, too.
type planFlags struct {
	types    []string
	rootfs   string
	arch     string
	config   string
	seed     string
	compress string
	image    string
	source   string
}

func (f *planFlags) register(s *pflag.FlagSet) {
	s.StringSliceVar(&f.types, "type", nil, "what to write: "+strings.Join(blueprint.OutputTypes, ", ")+"; repeatable, commas too")
	s.StringVar(&f.rootfs, "rootfs", "", "the root file system; only ext4 is supported")
	s.StringVar(&f.arch, "target-arch", "", "x86_64 or aarch64; this machine's where neither this nor the blueprint says")
	s.StringVar(&f.config, "config", "", "a bootc-image-builder config.toml or config.json, merged over the blueprint")
	s.StringVar(&f.seed, "seed", "", "mixed into every identifier, to tell two disks of one image apart")
	s.StringVar(&f.compress, "compress", "", "of the qcow2's clusters: none, zlib or zstd")
	s.StringVar(&f.image, "image", "", "make disks of this existing `IMAGE` in place of a blueprint: a registry reference, oci:DIR[:NAME], oci-archive:FILE, containers-storage:NAME")
	s.StringVar(&f.source, "update-source", "", "the registry `REFERENCE` that the machine asks for updates; of --image with a tag it may be left out")
}

func (p *program) planCommand() *cobra.Command {
	var f planFlags
	c := &cobra.Command{
		Use:     "plan [BLUEPRINT]",
		GroupID: groupWrite,
		Short:   "Tell what a build would do, with every default filled in",
		Long: `plan prints what would be built and why: the stages, the size of every partition
that is known before the image is, what is downloaded, the space needed. Below
that stands the plan itself, which build takes in place of a blueprint and makes
the same bytes of.`,
		Example: "  aither-image plan my.toml > my.plan && aither-image build my.plan\n  aither-image plan --json lab",
		Args:    atMostOne("blueprint"),
		RunE: func(c *cobra.Command, args []string) error {
			plan, err := p.load(&f, args)
			if err != nil {
				return err
			}
			return p.printPlan(plan)
		},
	}
	f.register(c.Flags())
	return c
}

// printPlan prints the plan so that build can read the answer: what explains it
// is comments in TOML, and the key "explanation" in JSON, which load drops.
func (p *program) printPlan(plan *blueprint.Plan) error {
	e, err := explain(plan)
	if err != nil {
		return err
	}
	if p.global.json {
		text, err := withExplanation(plan.JSON(), e)
		if err != nil {
			return err
		}
		_, err = p.stdout.Write(text)
		return err
	}
	for _, l := range e.lines() {
		if _, err := fmt.Fprintln(p.stdout, strings.TrimRight("# "+l, " ")); err != nil {
			return err
		}
	}
	_, err = p.stdout.Write(append([]byte("\n"), plan.TOML()...))
	return err
}

// atMostOne accepts one argument, or none.
func atMostOne(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usage(c, fmt.Errorf("unexpected argument %q after the %s", args[1], name))
		}
		return nil
	}
}

// warn tells problems that do not stop anything.
func warn(w io.Writer, problems blueprint.Problems) error {
	for _, q := range problems {
		if q.Severity == blueprint.Warning {
			if _, err := fmt.Fprintln(w, q); err != nil {
				return err
			}
		}
	}
	return nil
}
