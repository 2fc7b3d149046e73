package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/containerfiles"
	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/compose"
	"github.com/aitheros/aither-image/internal/debian"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/overlays"
)

// ociPath is where the container image lies in the output folder.
const ociPath = "oci"

// imageTag is the name of the image in that layout.
const imageTag = "latest"

// image brings the container image of the plan into the output's OCI layout.
func (o *Options) image(ctx context.Context) (*layer.Image, error) {
	dst := filepath.Join(o.Output, ociPath)
	p := o.Plan
	if asIs(p) {
		// What lies in a layout needs no copy; an index of several platforms,
		// or no layout at all, is Fetch's to judge.
		if p.Base.Kind == blueprint.BaseLayout {
			if im, err := layer.Open(p.Base.Path, p.Base.Reference); err == nil {
				return im, nil
			}
		}
		ref, err := baseRef(p)
		if err != nil {
			return nil, err
		}
		reg := o.Registry
		reg.Arch = goArch(p.Arch)
		if _, err := compose.Fetch(ctx, filepath.Join(o.Cache, "compose"), ref, dst, reg); err != nil {
			return nil, fmt.Errorf("fetching %s: %w", ref, err)
		}
		return layer.Open(dst, imageTag)
	}
	c, err := o.composeOptions(ctx)
	if err != nil {
		return nil, err
	}
	c.Dst = dst
	_, err = compose.Build(ctx, *c)
	if errors.Is(err, errArchiveMoved) && !o.Refresh {
		// What the cache remembers of the archive cannot be had any more.
		o.Refresh = true
		return o.image(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("composing the image: %w", err)
	}
	return layer.Open(dst, imageTag)
}

// asIs tells a plan that makes disks of an image without changing it.
func asIs(p *blueprint.Plan) bool {
	return len(p.Steps) == 0 && len(p.Packages) == 0 && p.Base.Kind != blueprint.BaseDebian && p.Base.Kind != blueprint.BaseContainerfile
}

// baseRef is the reference of a base that exists already.
func baseRef(p *blueprint.Plan) (string, error) {
	switch p.Base.Kind {
	case blueprint.BaseImage:
		for _, t := range []string{"docker://", "oci:", "oci-archive:", "containers-storage:", "dir:"} {
			if strings.HasPrefix(p.Base.Reference, t) {
				return p.Base.Reference, nil
			}
		}
		return "docker://" + p.Base.Reference, nil
	case blueprint.BaseLayout:
		return named("oci:"+p.Base.Path, p.Base.Reference), nil
	case blueprint.BaseArchive:
		return named("oci-archive:"+p.Base.Path, p.Base.Reference), nil
	}
	return "", fmt.Errorf("internal error: a base of kind %q has no reference", p.Base.Kind)
}

// named adds the name of an image among several.
func named(ref, name string) string {
	if name == "" {
		return ref
	}
	return ref + ":" + name
}

func (o *Options) composeOptions(ctx context.Context) (*compose.Options, error) {
	p := o.Plan
	c := &compose.Options{Work: filepath.Join(o.Cache, "compose"), Tag: imageTag, Arch: goArch(p.Arch), Epoch: o.Epoch, NoCache: o.NoCache, Registry: o.Registry,
		Labels: map[string]string{"containers.bootc": "1", "ostree.bootable": "1", v1.AnnotationTitle: p.Name}}
	if p.Description != "" {
		c.Labels[v1.AnnotationDescription] = p.Description
	}
	if err := o.setBase(ctx, c); err != nil {
		return nil, err
	}
	if c.Epoch.IsZero() {
		var err error
		if c.Epoch, err = o.baseTime(ctx, c); err != nil {
			return nil, err
		}
	}
	if len(p.Packages) > 0 {
		step, err := packagesStep(p)
		if err != nil {
			return nil, err
		}
		c.Steps = append(c.Steps, step)
	}
	for _, s := range p.Steps {
		step, err := stepOf(s)
		if err != nil {
			return nil, err
		}
		c.Steps = append(c.Steps, step)
	}
	c.Annotations = map[string]string{v1.AnnotationCreated: c.Epoch.UTC().Format(time.RFC3339), v1.AnnotationTitle: p.Name}
	return c, nil
}

func (o *Options) setBase(ctx context.Context, c *compose.Options) error {
	p := o.Plan
	switch p.Base.Kind {
	case blueprint.BaseDebian:
		return o.setDebian(ctx, c)
	case blueprint.BaseContainerfile:
		f, err := containerfileOf(p.Base.Builtin, p.Base.Path, p.Base.Context, p.Base.Args)
		c.Base = compose.Base{Containerfile: f}
		return err
	}
	ref, err := baseRef(p)
	c.Base = compose.Base{Ref: ref}
	return err
}

// baseTime is the time of an image that nobody gave one: its base's own.
func (o *Options) baseTime(ctx context.Context, c *compose.Options) (time.Time, error) {
	if c.Base.Ref == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	dir := filepath.Join(o.Cache, "bases", digestName(c.Base.Ref))
	reg := o.Registry
	reg.Arch = c.Arch
	if _, err := compose.Fetch(ctx, c.Work, c.Base.Ref, dir, reg); err != nil {
		return time.Time{}, fmt.Errorf("fetching the base %s: %w", c.Base.Ref, err)
	}
	im, err := layer.Open(dir, imageTag)
	if err != nil {
		return time.Time{}, err
	}
	c.Base.Ref = "oci:" + dir + ":" + imageTag
	if im.Created.IsZero() {
		return time.Unix(0, 0).UTC(), nil
	}
	return im.Created, nil
}

func digestName(s string) string {
	d := sha256.Sum256([]byte(s))
	return hex.EncodeToString(d[:16])
}

// containerfileOf is a build context that the program carries, or one on disk.
func containerfileOf(builtin, file, dir string, args map[string]string) (*compose.Containerfile, error) {
	if builtin != "" {
		sub, err := fs.Sub(containerfiles.FS, builtin)
		if err != nil {
			return nil, fmt.Errorf("internal error: %w", err)
		}
		return &compose.Containerfile{Name: builtin, FS: sub, Args: args}, nil
	}
	if dir == "" {
		dir = filepath.Dir(file)
	}
	rel, err := filepath.Rel(dir, file)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, fmt.Errorf("the Containerfile %s is not inside its build context %s", file, dir)
	}
	return &compose.Containerfile{Name: filepath.Base(file), Dir: dir, Path: filepath.ToSlash(rel), Args: args}, nil
}

func stepOf(s blueprint.Step) (compose.Step, error) {
	if s.Kind == blueprint.StepContainerfile {
		return containerfileOf(s.Builtin, s.Path, s.Context, s.Args)
	}
	if s.Builtin == "" {
		return &compose.Overlay{Name: filepath.Base(s.Path), Dir: s.Path}, nil
	}
	sub, err := fs.Sub(overlays.FS, s.Builtin)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	return &compose.Overlay{Name: s.Builtin, FS: sub}, nil
}

// packagesStep installs packages by the package manager of the base.
func packagesStep(p *blueprint.Plan) (compose.Step, error) {
	recipe := "layers/packages-debian"
	if p.Base.Kind != blueprint.BaseDebian {
		recipe = "layers/packages"
	}
	if _, err := fs.Stat(containerfiles.FS, path.Join(recipe, "Containerfile")); err != nil {
		return nil, &UsageError{"packages can be installed on Debian bases only", "install them in a Containerfile step of your own"}
	}
	return containerfileOf(recipe, "", "", map[string]string{"PACKAGES": strings.Join(p.Packages, " ")})
}

func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return machine
}

// errArchiveMoved says that the archive no longer has the packages that an
// earlier build was made of.
var errArchiveMoved = errors.New("the package archive has changed")

// debianState is what the cache remembers of an archive: builds stay with the
// packages of the first one until they are told to refresh.
type debianState struct {
	Key      string           `json:"key"`
	Date     time.Time        `json:"date"`
	Packages []debian.Package `json:"packages"`
}

func (o *Options) setDebian(ctx context.Context, c *compose.Options) error {
	p := o.Plan
	d := debian.Options{Suite: p.Base.Debian.Suite, Mirror: p.Base.Debian.Mirror, Components: p.Base.Debian.Components,
		Arch: goArch(p.Arch), Cache: filepath.Join(o.Cache, "debian"), AllowExpired: true}
	k, err := key("debian", d.Suite, d.Components, d.Arch)
	if err != nil {
		return err
	}
	file := filepath.Join(d.Cache, "state-"+k[:32]+".json")
	st, err := readDebianState(file)
	if err != nil || o.Refresh {
		if st, err = resolveDebian(ctx, d, file); err != nil {
			return err
		}
	}
	if c.Epoch.IsZero() {
		c.Epoch = st.Date
	}
	recipe, err := containerfileOf("base/debian", "", "", p.Base.Args)
	if err != nil {
		return err
	}
	c.Base = compose.Base{Tar: &compose.RootTar{Name: "debian " + d.Suite, Key: st.Key,
		Open: func(ctx context.Context) (io.ReadCloser, error) { return openDebian(ctx, d, st) }}}
	c.Steps = append(c.Steps, recipe)
	if more := p.Base.Debian.Packages; len(more) > 0 {
		step, err := containerfileOf("layers/packages-debian", "", "", map[string]string{"PACKAGES": strings.Join(more, " ")})
		if err != nil {
			return err
		}
		c.Steps = append(c.Steps, step)
	}
	return nil
}

func readDebianState(file string) (*debianState, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var st debianState
	if err := json.Unmarshal(b, &st); err != nil || st.Key == "" {
		return nil, fmt.Errorf("reading %s: %w", file, errors.Join(err, errArchiveMoved))
	}
	return &st, nil
}

func resolveDebian(ctx context.Context, d debian.Options, file string) (*debianState, error) {
	plan, err := debian.Resolve(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("reading the Debian archive: %w", err)
	}
	st := &debianState{Date: plan.Date, Packages: plan.Packages}
	if st.Key, err = key("debian root", d.Suite, d.Components, d.Arch, plan.Date, plan.Packages); err != nil {
		return nil, err
	}
	b, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	return st, atomicfile.WriteFile(file, b, 0o644)
}

// openDebian writes the root file system of the packages that st names.
func openDebian(ctx context.Context, d debian.Options, st *debianState) (io.ReadCloser, error) {
	plan, err := debian.Resolve(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("reading the Debian archive: %w", err)
	}
	k, err := key("debian root", d.Suite, d.Components, d.Arch, plan.Date, plan.Packages)
	if err != nil {
		return nil, err
	}
	if k != st.Key {
		return nil, errArchiveMoved
	}
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(plan.WriteTo(ctx, w)) }()
	return r, nil
}
