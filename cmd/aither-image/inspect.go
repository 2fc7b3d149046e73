package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aitheros/aither-image/internal/build"
)

func (p *program) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "inspect IMAGE",
		GroupID: groupLook,
		Short:   "Tell what is on a disk image or in an OCI layout",
		Long: `inspect reads a raw or qcow2 disk image, or an image of an OCI layout (a folder,
or FOLDER:TAG), and prints its partitions, deployments, kernel, kernel arguments,
digests and layers. Nothing is mounted and nothing is changed.`,
		Example: "  aither-image inspect build/image/disk.raw\n  aither-image inspect --json build/oci:lab",
		Args:    exactArgs("the image"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			tmp, err := os.MkdirTemp("", "aither-inspect-")
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(tmp) }() // a leftover in TMPDIR is no failure
			i, err := build.Inspect(c.Context(), args[0], tmp)
			if err != nil {
				return err
			}
			return p.answer(i, func(w io.Writer) error { return printInspection(w, i) })
		},
	}
}

func printInspection(w io.Writer, i *build.Inspection) error {
	l := &lines{}
	l.add("%s: %s", i.Path, i.Format)
	if i.Size > 0 {
		l.add("size         %s", size(i.Size))
	}
	for _, p := range i.Partitions {
		l.add("partition %d  %-12s %-10s at %-10s %s", p.Number, p.Name, size(p.Size), size(p.Start), fileSystem(p))
	}
	for _, d := range i.Deployments {
		l.add("deployment   %s", d.Title)
		l.add("  commit     %s.%s", d.Commit, d.Serial)
		l.add("  kernel     %s", d.Kernel)
		l.add("  arguments  %s", strings.Join(d.Kargs, " "))
		l.add("  origin     %s", d.Origin)
		l.image(d.Image)
	}
	l.image(i.Image)
	_, err := io.WriteString(w, strings.Join(l.text, "\n")+"\n")
	return err
}

func fileSystem(p build.InspectedPartition) string {
	s := p.FS
	if p.Label != "" {
		s += " " + p.Label
	}
	if p.UUID != "" {
		s += " " + p.UUID
	}
	if p.Free > 0 {
		s += ", " + size(p.Free) + " free"
	}
	return s
}

// lines collects what is printed at once.
type lines struct{ text []string }

func (l *lines) add(format string, args ...any) {
	l.text = append(l.text, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

func (l *lines) image(i *build.InspectedImage) {
	if i == nil {
		return
	}
	l.add("image        %s", i.Digest)
	for _, f := range []struct{ name, value string }{{"system", i.OS}, {"version", i.Version}, {"created", i.Created},
		{"processor", i.Architecture}, {"kernel", i.Kernel}, {"arguments", strings.Join(i.Kargs, " ")}} {
		if f.value != "" {
			l.add("  %-10s %s", f.name, f.value)
		}
	}
	l.add("  layers     %d, %s", len(i.Layers), size(i.Size))
	for _, y := range i.Layers {
		l.add("    %s %s", y.Digest, size(y.Size))
	}
}
