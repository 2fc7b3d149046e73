package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	osbuilds "github.com/osbuild/blueprint/pkg/blueprint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/osbuild"
	"github.com/aitheros/aither-image/internal/sysroot"
)

type manifestFlags struct {
	kind   string
	ref    string
	config string
	seed   string
	rootfs string
}

func (f *manifestFlags) register(s *pflag.FlagSet) {
	s.StringVar(&f.kind, "type", "qcow2", "what osbuild is to make: "+strings.Join(osbuild.Types, ", "))
	s.StringVar(&f.ref, "ref", "localhost/aither:latest", "the image's `NAME` in the container storage of the machine that runs osbuild")
	s.StringVar(&f.config, "config", "", "a bootc-image-builder config.toml or config.json")
	s.StringVar(&f.seed, "seed", "", "mixed into every identifier")
	s.StringVar(&f.rootfs, "rootfs", "ext4", "the root file system: ext4, xfs or btrfs")
}

func (p *program) manifestCommand() *cobra.Command {
	var f manifestFlags
	c := &cobra.Command{
		Use:     "manifest IMAGE",
		GroupID: groupWrite,
		Short:   "Print the osbuild manifest of an image",
		Long: `manifest prints what osbuild would do to make a disk or an installer of an image
of an OCI layout (a folder, or FOLDER:TAG). Nothing is fetched and nothing is
built: hand the answer to osbuild on a machine that has it, with the image in its
container storage under the name that --ref gives.`,
		Example: "  aither-image manifest --type qcow2 --ref registry.example/os:1 build/oci > manifest-qcow2.json",
		Args:    exactArgs("the image"),
		RunE:    func(c *cobra.Command, args []string) error { return p.manifest(c.Context(), &f, args[0]) },
	}
	f.register(c.Flags())
	return c
}

func (p *program) manifest(ctx context.Context, f *manifestFlags, image string) error {
	o := osbuild.Options{Type: f.kind, Image: osbuild.Image{Ref: f.ref, RootFS: f.rootfs}}
	if !slices.Contains(osbuild.Types, f.kind) {
		_, err := osbuild.Manifest(o) // says why
		return &usageError{err: err}
	}
	if err := p.osbuildChanges(f, &o); err != nil {
		return err
	}
	err := view(ctx, image, func(im *layer.Image, t *sysroot.Tree) (err error) {
		i := &o.Image
		i.Digest, i.ID, i.Arch = im.ManifestDigest.String(), im.ConfigDigest.String(), machineArch(im.Architecture)
		o.Seed = i.Digest + " " + f.seed
		if i.Info, err = osbuild.Inspect(followed{t.View()}); err != nil {
			return err
		}
		for e, err := range t.View().Tree() {
			if err != nil {
				return err
			}
			if e.Content != nil {
				i.Size += e.Content.Size()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f.rootfs == "ext4" { // the layout that build writes, identifiers included
		if o.Layout, err = plan.New(plan.Options{Arch: o.Image.Arch, Seed: o.Seed, RootSize: plan.RootSize(plan.Usage{Image: int64(o.Image.Size)})}); err != nil {
			return err
		}
	}
	text, err := osbuild.Manifest(o)
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(text)
	return err
}

// osbuildChanges reads --config as build does, so that both refuse the same.
func (p *program) osbuildChanges(f *manifestFlags, o *osbuild.Options) error {
	if f.config == "" {
		return nil
	}
	src, err := readSource(f.config, p.stdin)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	env, err := environment(".", &planFlags{})
	if err != nil {
		return err
	}
	base, err := blueprint.PlanOfImage("oci:.", f.ref, env)
	if err != nil {
		return err
	}
	merged, problems := base.WithConfig(f.config, src)
	if err := problems.Err(); err != nil {
		return err
	}
	o.Kargs = merged.Kernel.Append
	text, err := json.Marshal(merged.Customizations)
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	// The two languages share keys and meanings, not types.
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	o.Customizations = &osbuilds.Customizations{}
	if err := d.Decode(o.Customizations); err != nil {
		return &usageError{err: fmt.Errorf("handing %s to osbuild: %w", f.config, err)}
	}
	return nil
}

// machineArch is an architecture of container images in the kernel's words.
func machineArch(goArch string) string {
	switch goArch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return goArch
}

// followed is a view whose files are found through symbolic links, too: a
// system's etc/os-release mostly is one.
type followed struct{ *sysroot.View }

// ReadFile reads the file that name leads to.
func (v followed) ReadFile(name string) ([]byte, error) {
	for range 8 {
		e, err := v.Lookup(name)
		if err != nil {
			return nil, err
		}
		if e.Mode&fs.ModeSymlink == 0 {
			break
		}
		if !path.IsAbs(e.Link) {
			e.Link = path.Join("/", path.Dir(name), e.Link)
		}
		name = strings.TrimPrefix(path.Clean(e.Link), "/")
	}
	return v.View.ReadFile(name)
}
