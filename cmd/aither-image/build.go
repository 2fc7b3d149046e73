package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aitheros/aither-image/internal/build"
	"github.com/aitheros/aither-image/internal/registry"
)

type buildFlags struct {
	planFlags
	output   string
	cache    string
	skip     []string
	noCache  bool
	refresh  bool
	workers  int
	insecure []string
	certs    string
}

func (f *buildFlags) register(s *pflag.FlagSet) {
	f.planFlags.register(s)
	s.StringVar(&f.output, "output", "build", "the `FOLDER` of the outputs")
	s.StringVar(&f.cache, "cache", "", "the `FOLDER` of what makes the next build faster; where it is not given, aither-image in XDG_CACHE_HOME or ~/.cache")
	s.StringSliceVar(&f.skip, "skip-lint", nil, "names of lints not to run; repeatable, commas too")
	s.BoolVar(&f.noCache, "no-cache", false, "build everything anew")
	s.BoolVar(&f.refresh, "refresh", false, "ask package archives and registries for what is new")
	s.IntVar(&f.workers, "workers", 0, "layers read at once; 0 is one for each processor")
	s.StringSliceVar(&f.insecure, "insecure-registry", nil, "`HOST[:PORT]` that may be reached without verified TLS; repeatable, commas too")
	s.StringVar(&f.certs, "cert-dir", "", "`FOLDER` of HOST[:PORT]/*.crt, as /etc/containers/certs.d")
}

func (p *program) buildCommand() *cobra.Command {
	var f buildFlags
	c := &cobra.Command{
		Use:     "build [BLUEPRINT]",
		GroupID: groupWrite,
		Short:   "Compose the image and write its disks",
		Long: `build composes the container image of a blueprint, or takes an existing one with
--image, and writes the disks asked for below the output folder:

    image/disk.raw     with .bmap and .sha256
    qcow2/disk.qcow2   with .sha256
    oci                the container image, as an OCI layout
    build.json         inputs by digest, sizes, timings

It needs no root. Files appear under their names when they are complete. Where
nothing has changed since the last build nothing is written.`,
		Example: `  aither-image build lab
  aither-image build --type qcow2 --compress zstd --config config.toml my.toml
  aither-image build --image registry.example/os@sha256:… --update-source registry.example/os:1 --type raw`,
		Args: atMostOne("blueprint"),
		RunE: func(c *cobra.Command, args []string) error { return p.build(c.Context(), &f, args) },
	}
	f.register(c.Flags())
	return c
}

func (p *program) build(ctx context.Context, f *buildFlags, args []string) error {
	plan, err := p.load(&f.planFlags, args)
	if err != nil {
		return err
	}
	epoch, err := p.sourceDateEpoch()
	if err != nil {
		return err
	}
	if f.cache == "" {
		f.cache = p.cacheDir()
	}
	ctx, end, err := p.story(ctx)
	if err != nil {
		return err
	}
	r, err := build.Run(ctx, build.Options{
		Plan: plan, Output: f.output, Cache: f.cache, Types: plan.Output.Types, Epoch: epoch, Version: version,
		SkipLints: f.skip, NoCache: f.noCache, Refresh: f.refresh, Registry: p.registryOptions(f), Workers: f.workers, Clock: p.now,
	})
	if err := errors.Join(err, end()); err != nil {
		return err
	}
	return p.answer(r, func(w io.Writer) error { return printOutputs(w, f.output, r) })
}

func (p *program) registryOptions(f *buildFlags) registry.Options {
	return registry.Options{AuthFile: p.getenv("REGISTRY_AUTH_FILE"), CertDir: f.certs, Insecure: f.insecure}
}

// sourceDateEpoch is the time of https://reproducible-builds.org/specs/source-date-epoch/,
// zero where it is not set.
func (p *program) sourceDateEpoch() (time.Time, error) {
	v := p.getenv("SOURCE_DATE_EPOCH")
	if v == "" {
		return time.Time{}, nil
	}
	s, err := strconv.ParseInt(v, 10, 64)
	if err != nil || s < 0 {
		return time.Time{}, &usageError{err: fmt.Errorf("SOURCE_DATE_EPOCH=%q is no time\nhint: it is a number of seconds since 1970, as `date +%%s` prints", v)}
	}
	return time.Unix(s, 0).UTC(), nil
}

// printOutputs names the files, one a line, so that a script can read them.
func printOutputs(w io.Writer, dir string, r *build.Record) error {
	for _, o := range r.Outputs {
		if _, err := fmt.Fprintln(w, filepath.Join(dir, o.Path)); err != nil {
			return err
		}
	}
	return nil
}
