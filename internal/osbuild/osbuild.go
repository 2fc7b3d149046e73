// Package osbuild prints osbuild manifests of an image and a layout of ours, so
// that users of EL and Fedora can hand both to osbuild. It works offline from
// what is known of the image already, and refuses the types for which osbuild
// would have to choose packages.
package osbuild

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/osbuild/blueprint/pkg/blueprint"
	"github.com/osbuild/images/pkg/arch"
	"github.com/osbuild/images/pkg/bib/osinfo"
	"github.com/osbuild/images/pkg/bootc"
	"github.com/osbuild/images/pkg/container"
	"github.com/osbuild/images/pkg/depsolvednf"
	"github.com/osbuild/images/pkg/distro"
	"github.com/osbuild/images/pkg/distro/generic"
	"github.com/osbuild/images/pkg/manifestgen"
	"github.com/osbuild/images/pkg/rpmmd"

	"github.com/aitheros/aither-image/internal/disk/plan"
)

// Types are the types of manifests, in the order in which help prints them.
var Types = []string{"raw", "qcow2", "vmdk", "vhd", "gce", "ova", "ami", "bootc-installer", "bootc-generic-iso", "pxe-tar-xz"}

// refused are types that osbuild has and this package has not, with the reason.
var refused = map[string]string{
	"anaconda-iso": "its installer is put together from packages, which needs dnf and the repositories of a known distribution\nhint: bootc-installer takes the installer from a container instead",
	"iso":          "it is another name of anaconda-iso, whose installer is put together from packages\nhint: bootc-installer takes the installer from a container instead",
}

// Options is what a manifest depends on.
type Options struct {
	// Type is one of Types.
	Type  string
	Image Image
	// Layout is the disk's layout; nil leaves it to osbuild. Types that are no
	// disks ignore it. osbuild may make root larger than it says.
	Layout *plan.Layout
	// Kargs are kernel arguments beyond the image's own. They come after
	// osbuild's "rw console=tty0 console=ttyS0", or in their place with NoDefaultKargs.
	Kargs          []string
	NoDefaultKargs bool
	// Customizations are what the blueprint asks for; may be nil.
	Customizations *blueprint.Customizations
	// Payload is the image that bootc-installer installs; "" is the image itself.
	Payload string
	// Seed is where identifiers that the layout does not name come from.
	Seed string
}

// An Image is a container image as osbuild has to know it.
type Image struct {
	// Ref is its name in the local container storage of the machine that runs osbuild.
	Ref string
	// ID is the image's identifier (the digest of its configuration), Digest
	// that of its manifest; both as "sha256:…".
	ID, Digest string
	// Arch is "x86_64" or "aarch64".
	Arch string
	// RootFS is "ext4" (also the meaning of ""), "xfs" or "btrfs".
	RootFS string
	// Size is the size of its files in bytes.
	Size int64
	// Info is what Inspect found in its tree.
	Info *osinfo.Info
}

// Manifest returns the manifest as indented JSON. The same options give the same bytes.
func Manifest(o Options) ([]byte, error) {
	if why, ok := refused[o.Type]; ok {
		return nil, fmt.Errorf("making osbuild manifest: type %q is not offered: %s", o.Type, why)
	}
	if !slices.Contains(Types, o.Type) {
		return nil, fmt.Errorf("making osbuild manifest: unknown type %q\nhint: known types are %s", o.Type, strings.Join(Types, ", "))
	}
	if o.Type == "pxe-tar-xz" && o.Image.Info != nil && len(o.Image.Info.InitrdModules) == 0 {
		return nil, errors.New("making osbuild manifest of type pxe-tar-xz: it is not known which dracut modules the image's initial RAM disk has\nhint: it needs ostree, dmsquash-live and livenet")
	}
	b, err := o.stable()
	if err != nil {
		return nil, fmt.Errorf("making osbuild manifest of type %s: %w", o.Type, err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return nil, fmt.Errorf("making osbuild manifest of type %s: %w", o.Type, err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// generate asks osbuild's library once; the identifiers that it makes up differ
// from call to call.
func (o Options) generate() ([]byte, error) {
	it, err := o.imageType()
	if err != nil {
		return nil, err
	}
	cache, err := os.MkdirTemp("", "aither-osbuild-")
	if err != nil {
		return nil, err
	}
	gen, err := manifestgen.New(nil, &manifestgen.Options{
		Cachedir:          cache,
		OverrideRepos:     []rpmmd.RepoConfig{},
		Depsolve:          refusePackages,
		ContainerResolver: o.resolve,
		WarningsOutput:    io.Discard,
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(cache))
	}
	b, err := gen.Generate(o.blueprint(), it, o.imageOptions())
	return b, errors.Join(err, os.RemoveAll(cache))
}

func (o Options) imageType() (distro.ImageType, error) {
	if o.Image.Info == nil || o.Image.Size <= 0 {
		return nil, errors.New("internal error: nothing is known of the image")
	}
	fs := o.Image.RootFS
	if fs == "" {
		fs = "ext4"
	}
	info := *o.Image.Info
	if o.Layout != nil && !isISO(o.Type) {
		info.PartitionTable = table(o.Layout)
	}
	d, err := generic.NewBootc("bootc", &bootc.Info{
		Imgref: o.Image.Ref, ImageID: o.Image.ID, Arch: o.Image.Arch, DefaultRootFs: fs, Size: uint64(o.Image.Size), OSInfo: &info,
	})
	if err != nil {
		return nil, err
	}
	a, err := d.GetArch(o.Image.Arch)
	if err != nil {
		return nil, err
	}
	return a.GetImageType(o.Type)
}

func isISO(kind string) bool { return kind == "bootc-installer" || kind == "bootc-generic-iso" }

// blueprint carries the kernel arguments to where osbuild takes them from.
func (o Options) blueprint() *blueprint.Blueprint {
	c := blueprint.Customizations{}
	if o.Customizations != nil {
		c = *o.Customizations
	}
	if len(o.Kargs) > 0 {
		k := blueprint.KernelCustomization{}
		if c.Kernel != nil {
			k = *c.Kernel
		}
		args := slices.Clone(o.Kargs)
		for _, a := range strings.Fields(k.Append) {
			if !slices.Contains(args, a) {
				args = append(args, a)
			}
		}
		k.Append = strings.Join(args, " ")
		c.Kernel = &k
	}
	return &blueprint.Blueprint{Customizations: &c}
}

func (o Options) imageOptions() *distro.ImageOptions {
	b := &distro.BootcImageOptions{OmitDefaultKernelArgs: o.NoDefaultKargs, InstallerPayloadRef: o.Payload}
	if o.Type == "bootc-installer" && b.InstallerPayloadRef == "" {
		b.InstallerPayloadRef = o.Image.Ref
	}
	return &distro.ImageOptions{Bootc: b}
}

// resolve stands for a look into the container storage: every name is our image.
func (o Options) resolve(sources map[string][]container.SourceSpec, _ string) (map[string][]container.Spec, error) {
	a, err := arch.FromString(o.Image.Arch)
	if err != nil {
		return nil, err
	}
	out := map[string][]container.Spec{}
	for pipeline, list := range sources {
		for _, s := range list {
			if s.Source != o.Image.Ref {
				return nil, fmt.Errorf("nothing is known of image %q, only of %q", s.Source, o.Image.Ref)
			}
			out[pipeline] = append(out[pipeline], container.Spec{
				Source: s.Source, LocalName: s.Name, LocalStorage: s.Local, Digest: o.Image.Digest, ImageID: o.Image.ID, Arch: a,
			})
		}
	}
	return out, nil
}

func refusePackages(_ *depsolvednf.Solver, _ string, _ io.Writer, sets map[string][]rpmmd.PackageSet, _ distro.Distro, _ string) (map[string]depsolvednf.DepsolveResult, error) {
	for pipeline, list := range sets {
		for _, s := range list {
			if len(s.Include) > 0 {
				return nil, fmt.Errorf("pipeline %s needs packages, which would need dnf", pipeline)
			}
		}
	}
	return map[string]depsolvednf.DepsolveResult{}, nil
}
