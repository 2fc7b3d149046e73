package blueprint

import (
	"fmt"
	"path"
	"slices"
)

// Defaults of a Plan.
const (
	defaultSuite  = "forky"
	defaultMirror = "http://deb.debian.org/debian"
	debianBase    = "base/debian"
)

// Resolve fills in every default and makes every path absolute. It demands a
// blueprint without errors: call Validate first, or use Load.
func (b *Blueprint) Resolve(env Environment) (*Plan, error) {
	if err := b.Validate(env).Err(); err != nil {
		return nil, fmt.Errorf("resolving the blueprint %q: %w", b.Name, err)
	}
	plan := &Plan{
		Version:     PlanVersion,
		Name:        b.Name,
		Description: b.Description,
		Arch:        firstOf(b.Arch, env.Arch, HostArch()),
		Seed:        env.Seed,
		Packages:    slices.Clone(b.Packages),
		Base:        env.base(b.Base),
		Update:      PlanUpdate{Source: withTag(b.Update.Source), Signature: firstOf(b.Update.Signature, SignatureInsecure)},
		Steps:       env.steps(b),
		Disk:        defaultDisk(),
		Kernel:      PlanKernel{Append: append([]string{}, b.Kernel.Append...)},
		Output: PlanOutput{
			Types:         slices.Clone(b.Output.Types),
			SerialConsole: b.Output.SerialConsole == nil || *b.Output.SerialConsole,
			Compress:      firstOf(b.Output.Compress, "none"),
		},
	}
	if len(plan.Output.Types) == 0 {
		plan.Output.Types = slices.Clone(OutputTypes)
	}
	plan.Disk.apply(b.Disk)
	plan.customize(b.Customizations)
	return plan, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// withTag is a reference with the tag that registries mean when there is none.
func withTag(source string) string {
	if ref, _, _ := parseReference(source); ref.tag == "" && ref.digest == "" && ref.name != "" {
		return source + ":latest"
	}
	return source
}

func (e Environment) base(b Base) PlanBase {
	kinds := b.kinds()
	p := PlanBase{Kind: kinds[0]}
	switch p.Kind {
	case BaseImage:
		p.Reference = withTag(b.Image)
	case BaseLayout:
		p.Path = e.absolute(b.Layout)
	case BaseArchive:
		p.Path = e.absolute(b.Archive)
	case BaseContainerfile:
		step := e.containerfile(Containerfile{Path: b.Containerfile, Context: b.Context, Args: b.Args})
		p.Builtin, p.Path, p.Context, p.Args = step.Builtin, step.Path, step.Context, step.Args
		p.Shape = firstOf(b.Shape, ShapePlain)
	case BaseDebian:
		p.Builtin = debianBase
		p.Shape = firstOf(b.Shape, ShapePlain)
		d := *b.Debian
		d.Suite, d.Mirror = firstOf(d.Suite, defaultSuite), firstOf(d.Mirror, defaultMirror)
		if len(d.Components) == 0 {
			d.Components = []string{"main"}
		}
		p.Debian = &d
	}
	return p
}

// containerfile tells a built-in from a path; a path may be the folder of a
// Containerfile, which then is its context too.
func (e Environment) containerfile(c Containerfile) Step {
	s := Step{Kind: StepContainerfile, Args: c.Args}
	if c.Context != "" {
		s.Context = e.absolute(c.Context)
	}
	if slices.Contains(e.Containerfiles, c.Path) {
		s.Builtin = c.Path
		return s
	}
	s.Path = e.absolute(c.Path)
	if e.Files != nil {
		if info, err := e.Files.Stat(s.Path); err == nil && info.IsDir() {
			s.Path = path.Join(s.Path, "Containerfile")
		}
	}
	if s.Context == "" {
		s.Context = path.Dir(s.Path)
	}
	return s
}

// steps is Containerfiles and overlays in the order of the file; of a
// blueprint made in Go, Containerfiles come first.
func (e Environment) steps(b *Blueprint) []Step {
	type placed struct {
		step Step
		at   int
	}
	var all []placed
	offset := func(kind string, i int) int {
		if b.doc == nil {
			return 0
		}
		return b.doc.root.at(kind, i).pos
	}
	for i, c := range b.Containerfiles {
		all = append(all, placed{e.containerfile(c), offset("containerfile", i)})
	}
	for i, o := range b.Overlays {
		s := Step{Kind: StepOverlay}
		if slices.Contains(e.Overlays, o.Path) {
			s.Builtin = o.Path
		} else {
			s.Path = e.absolute(o.Path)
		}
		all = append(all, placed{s, offset("overlay", i)})
	}
	slices.SortStableFunc(all, func(a, b placed) int { return a.at - b.at })
	return mapped(all, func(p placed) Step { return p.step })
}

// defaultDisk follows docs/blueprint.md: sizes of 0 are left to the planner's rules.
func defaultDisk() PlanDisk {
	return PlanDisk{
		Layout: LayoutUnified, RootFS: "ext4",
		ESPLabel: "EFI-SYSTEM", BootLabel: "boot", RootLabel: "root", Grow: true,
	}
}

// apply puts what [disk] says over the defaults.
func (d *PlanDisk) apply(b Disk) {
	d.Layout, d.RootFS = firstOf(b.Layout, d.Layout), firstOf(b.RootFS, d.RootFS)
	d.ESPLabel = firstOf(b.ESPLabel, d.ESPLabel)
	d.BootLabel = firstOf(b.BootLabel, d.BootLabel)
	d.RootLabel = firstOf(b.RootLabel, d.RootLabel)
	for _, s := range []struct{ to, from *Size }{
		{&d.Size, b.Size}, {&d.ESPSize, b.ESPSize}, {&d.BootSize, b.BootSize},
		{&d.RootSize, b.RootSize}, {&d.RootFree, b.RootFree},
	} {
		if s.from != nil {
			*s.to = *s.from
		}
	}
	if b.Grow != nil {
		d.Grow = *b.Grow
	}
}

// customize takes sizes and labels from osbuild's tables. A /boot
// of its own selects the layout that has one.
func (d *PlanDisk) customize(z Customizations) {
	for _, f := range z.Filesystems {
		size := f.MinSize
		if size == nil {
			size = f.Size
		}
		d.partition(Partition{Mountpoint: f.Mountpoint, MinSize: size})
	}
	if z.Disk == nil {
		return
	}
	if z.Disk.MinSize != nil {
		d.Size = max(d.Size, *z.Disk.MinSize)
	}
	for _, part := range z.Disk.Partitions {
		d.partition(part)
	}
}

func (d *PlanDisk) partition(part Partition) {
	size := Size(0)
	if part.MinSize != nil {
		size = *part.MinSize
	}
	switch part.Mountpoint {
	case "/":
		d.RootSize, d.RootLabel = max(d.RootSize, size), firstOf(part.Label, d.RootLabel)
	case "/boot":
		d.BootSize, d.BootLabel = max(d.BootSize, size), firstOf(part.Label, d.BootLabel)
		d.Layout = LayoutSeparateBoot
	case "/boot/efi":
		d.ESPSize, d.ESPLabel = max(d.ESPSize, size), firstOf(part.Label, d.ESPLabel)
	}
}
