// Package osbuild prints the osbuild manifest of a bootable container image:
// what osbuild would do to make the same machine. It works offline, from what is
// known of the image, and it refuses to run osbuild, to resolve packages and to
// pull anything.
package osbuild

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
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
	"github.com/osbuild/images/pkg/sbom"
)

// Options say of which image, and for what, a manifest is wanted. Type, Ref,
// ImageID, Arch, Size and System are required.
type Options struct {
	// Type is osbuild's name of what is made, one of Types.
	Type string
	// Ref names the image in the container storage of the machine that runs osbuild.
	Ref string
	// ManifestDigest and ImageID are the digests of the image's manifest and
	// configuration, "sha256:…".
	ManifestDigest, ImageID string
	// Arch is "x86_64" or "aarch64".
	Arch string
	// Size is what the image's files take, in bytes; osbuild makes the root twice that.
	Size int64
	// RootFS is the root file system; empty means ext4.
	RootFS string
	// System is what the image is, as ReadSystem found it.
	System System
	// Kargs are added to the kernel's command line.
	Kargs []string
	// Customizations is a JSON object with osbuild's customizations; may be nil.
	Customizations []byte
	// Seed decides about every identifier.
	Seed string
}

// A TypeError is a type that osbuild does not make of such an image.
type TypeError struct {
	Type  string
	Known []string
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("osbuild makes no %q of a bootable container\nhint: known are %s", e.Type, strings.Join(e.Known, ", "))
}

// Manifest is the manifest as indented JSON, the same for the same options.
func Manifest(o Options) ([]byte, error) {
	// osbuild's generator draws identifiers by chance and takes no seed for
	// containers: what differs between two runs is what was drawn.
	one, err := generate(o)
	if err != nil {
		return nil, err
	}
	two, err := generate(o)
	if err != nil {
		return nil, err
	}
	return settle(one, two, o.Seed)
}

// Types are the names that Options.Type may have for an architecture.
func Types(archName string) ([]string, error) {
	o := Options{Ref: "x", Arch: archName, Size: 1, System: System{ID: "x", VersionID: "1", Name: "x"}}
	a, err := o.target()
	if err != nil {
		return nil, err
	}
	// It needs a package resolver, which an offline manifest has not.
	return slices.DeleteFunc(a.ListImageTypes(), func(t string) bool { return t == "anaconda-iso" || t == "iso" }), nil
}

func (o Options) target() (distro.Arch, error) {
	s := o.System
	info := &bootc.Info{Imgref: o.Ref, ImageID: o.ImageID, Arch: o.Arch, DefaultRootFs: o.RootFS, Size: uint64(max(o.Size, 0)),
		OSInfo: &osinfo.Info{
			OSRelease:     osinfo.OSRelease{ID: s.ID, VersionID: s.VersionID, Name: s.Name, IDLike: s.IDLike, PlatformID: s.PlatformID, VariantID: s.VariantID},
			UEFIVendor:    s.UEFIVendor,
			SELinuxPolicy: s.SELinuxPolicy,
		}}
	if info.DefaultRootFs == "" {
		info.DefaultRootFs = "ext4"
	}
	if s.Kernel != "" {
		info.OSInfo.KernelInfo = &osinfo.KernelInfo{Version: s.Kernel}
	}
	d, err := generic.NewBootc("bootc", info)
	if err != nil {
		return nil, fmt.Errorf("describing the image to osbuild: %w", err)
	}
	a, err := d.GetArch(o.Arch)
	if err != nil {
		return nil, fmt.Errorf("describing the image to osbuild: %w", err)
	}
	return a, nil
}

func generate(o Options) ([]byte, error) {
	a, err := o.target()
	if err != nil {
		return nil, err
	}
	known, err := Types(o.Arch)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(known, o.Type) {
		return nil, &TypeError{o.Type, known}
	}
	t, err := a.GetImageType(o.Type)
	if err != nil {
		return nil, fmt.Errorf("asking osbuild for %q: %w", o.Type, err)
	}
	bp, err := o.blueprint()
	if err != nil {
		return nil, err
	}
	gen, err := manifestgen.New(nil, &manifestgen.Options{
		OverrideRepos: []rpmmd.RepoConfig{}, Depsolve: refusePackages, ContainerResolver: o.resolve,
		WarningsOutput: io.Discard, DepsolveWarningsOutput: io.Discard, Cachedir: "/nonexistent",
	})
	if err != nil {
		return nil, fmt.Errorf("preparing osbuild's generator: %w", err)
	}
	m, err := gen.Generate(bp, t, &distro.ImageOptions{Bootc: &distro.BootcImageOptions{InstallerPayloadRef: o.Ref}})
	if err != nil {
		return nil, fmt.Errorf("generating the osbuild manifest for %q: %w", o.Type, err)
	}
	return m, nil
}

// refusePackages lets image types through that install no package.
func refusePackages(_ *depsolvednf.Solver, _ string, _ io.Writer, sets map[string][]rpmmd.PackageSet, _ distro.Distro, _ string) (map[string]depsolvednf.DepsolveResult, error) {
	out := map[string]depsolvednf.DepsolveResult{}
	for name, chain := range sets {
		for _, s := range chain {
			if len(s.Include) > 0 {
				return nil, fmt.Errorf("it would install %d packages for %q, and nothing is resolved here", len(s.Include), name)
			}
		}
		out[name] = depsolvednf.DepsolveResult{SBOM: &sbom.Document{}}
	}
	return out, nil
}

// resolve answers with the one image that there is.
func (o Options) resolve(sources map[string][]container.SourceSpec, _ string) (map[string][]container.Spec, error) {
	a, err := arch.FromString(o.Arch)
	if err != nil {
		return nil, fmt.Errorf("naming the architecture to osbuild: %w", err)
	}
	out := map[string][]container.Spec{}
	for pipeline, specs := range sources {
		for _, s := range specs {
			if s.Source != o.Ref {
				return nil, fmt.Errorf("internal error: osbuild asks for the image %q", s.Source)
			}
			out[pipeline] = append(out[pipeline], container.Spec{Source: o.Ref, LocalName: o.Ref, LocalStorage: true,
				Digest: o.ManifestDigest, ImageID: o.ImageID, Arch: a})
		}
	}
	return out, nil
}

// blueprint is the part of our blueprint that osbuild applies.
func (o Options) blueprint() (*blueprint.Blueprint, error) {
	bp := &blueprint.Blueprint{Customizations: &blueprint.Customizations{}}
	if len(o.Customizations) > 0 {
		if err := decodeStrictly(o.Customizations, bp.Customizations); err != nil {
			return nil, fmt.Errorf("handing the customizations to osbuild: %w", err)
		}
	}
	if len(o.Kargs) > 0 {
		bp.Customizations.Kernel = &blueprint.KernelCustomization{Append: strings.Join(o.Kargs, " ")}
	}
	return bp, nil
}

// idForm is what the generator draws: UUIDs and the volume ids of FAT.
var idForm = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|\b[0-9A-F]{4}-?[0-9A-F]{4}\b`)

// space is the namespace of the identifiers that replace osbuild's: UUIDv5 of
// the seed and the place.
var space = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/aitheros/aither-image/osbuild"))

// settle replaces every identifier that differs between the two by one that
// follows from the seed and the order of appearance.
func settle(one, two []byte, seed string) ([]byte, error) {
	a, b := idForm.FindAll(one, -1), idForm.FindAll(two, -1)
	if len(a) != len(b) {
		return nil, errors.New("internal error: osbuild's generator is not of one mind")
	}
	fixed := map[string]uuid.UUID{}
	for i := range a {
		id := plainID(a[i])
		if _, done := fixed[id]; !done && !bytes.Equal(a[i], b[i]) {
			fixed[id] = uuid.NewSHA1(space, fmt.Appendf(nil, "%s\x00%d", seed, len(fixed)))
		}
	}
	return indent(idForm.ReplaceAllFunc(one, func(old []byte) []byte {
		id, ok := fixed[plainID(old)]
		if !ok {
			return old
		}
		return likeID(id, old)
	}))
}

// plainID is an identifier without what differs between its spellings.
func plainID(id []byte) string {
	return strings.ToLower(strings.ReplaceAll(string(id), "-", ""))
}

// likeID spells id as the old one was.
func likeID(id uuid.UUID, old []byte) []byte {
	s := id.String()
	switch len(old) {
	case 8:
		s = s[:8]
	case 9:
		s = s[:4] + "-" + s[4:8]
	}
	if bytes.Equal(old, bytes.ToUpper(old)) {
		s = strings.ToUpper(s)
	}
	return []byte(s)
}
