package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aitheros/aither-image/internal/build"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/lint"
	"github.com/aitheros/aither-image/internal/sysroot"
)

type lintFlags struct {
	skip []string
	list bool
}

func (f *lintFlags) register(s *pflag.FlagSet) {
	s.StringSliceVar(&f.skip, "skip", nil, "names of lints not to run; repeatable, commas too")
	s.BoolVar(&f.list, "list", false, "print the lints there are")
}

func (p *program) lintCommand() *cobra.Command {
	var f lintFlags
	c := &cobra.Command{
		Use:     "lint IMAGE",
		GroupID: groupLook,
		Short:   "Check a bootable container image",
		Long: `lint checks an image of an OCI layout (a folder, or FOLDER:TAG) as bootc container
lint does, under its names, and for what else would keep a machine from booting,
updating or being unique. It ends with 4 where a finding is fatal. build does
the same before it writes.`,
		Example: "  aither-image lint build/oci\n  aither-image lint --skip var-tmpfiles --json build/oci:latest",
		Args: func(c *cobra.Command, args []string) error {
			if f.list {
				return noArgs(c, args)
			}
			return exactArgs("the image")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if f.list {
				return p.listLints()
			}
			return p.lint(c.Context(), &f, args[0])
		},
	}
	f.register(c.Flags())
	return c
}

func (p *program) listLints() error {
	all := lint.Lints()
	return p.answer(all, func(w io.Writer) error {
		for _, l := range all {
			if _, err := fmt.Fprintf(w, "%-24s %-8s %s\n", l.Name, l.Severity, l.Text); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *program) lint(ctx context.Context, f *lintFlags, image string) error {
	found := []lint.Finding{}
	err := view(ctx, image, func(_ *layer.Image, t *sysroot.Tree) error {
		fs, err := lint.Run(ctx, t.View(), lint.Options{Skip: f.skip})
		found = append(found, fs...)
		return err
	})
	if err != nil {
		return err
	}
	err = p.answer(found, func(w io.Writer) error {
		for _, f := range found {
			if _, err := fmt.Fprintf(w, "%s: %s: %s: %s\n", f.Severity, f.Lint, f.Path, f.Text); err != nil {
				return err
			}
			if f.Hint == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "    hint: %s\n", f.Hint); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && slices.ContainsFunc(found, func(f lint.Finding) bool { return f.Severity == lint.Fatal }) {
		return &silentError{exitVerify}
	}
	return err
}

// view opens an image of a layout, with a folder for temporary files.
func view(ctx context.Context, image string, use func(*layer.Image, *sysroot.Tree) error) (err error) {
	tmp, err := os.MkdirTemp("", "aither-view-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	return build.View(ctx, image, tmp, use)
}
