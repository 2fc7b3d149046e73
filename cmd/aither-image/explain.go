package main

import (
	"fmt"
	"strings"

	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/layer"
)

// An explanation says for people what a plan does.
type explanation struct {
	Stages     []string        `json:"stages"`
	Partitions []explainedPart `json:"partitions"`
	Downloads  []string        `json:"downloads"`
	Space      []string        `json:"space"`
}

// An explainedPart is a partition: bytes and why.
type explainedPart struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	// Least marks a size that may grow with the image.
	Least bool   `json:"least,omitempty"`
	Why   string `json:"why"`
}

// explain tells what is known of a plan before anything is fetched. Of an image
// that is there already it knows the layers, and with them the root's size.
func explain(p *blueprint.Plan) (*explanation, error) {
	e := &explanation{Stages: stages(p), Downloads: downloads(p)}
	content, packed, known := layoutSize(p)
	l, err := plan.New(partitionOptions(p, content))
	if err != nil {
		return nil, err
	}
	for _, q := range l.Partitions {
		part := explainedPart{Name: q.Name, Size: q.Size, Why: q.Why}
		part.Least = q.Role == plan.Root && p.Disk.Size == 0
		e.Partitions = append(e.Partitions, part)
	}
	if !known {
		e.Space = []string{"known when the image is; `aither-image doctor` tells whether there is a comfortable amount"}
		return e, nil
	}
	e.Space = []string{
		fmt.Sprintf("OCI layout: %s", size(packed)),
		fmt.Sprintf("raw disk: at least %s in a sparse file of %s or more", size(content), size(l.DiskSize)),
	}
	return e, nil
}

// stages names what a build does, in its order.
func stages(p *blueprint.Plan) (s []string) {
	b := p.Base
	switch b.Kind {
	case blueprint.BaseDebian:
		s = append(s, fmt.Sprintf("compose: unpack Debian %s, apply %s, shape %s", b.Debian.Suite, b.Builtin, b.Shape))
	case blueprint.BaseContainerfile:
		s = append(s, "compose: build "+b.Builtin+b.Path)
	default:
		s = append(s, "fetch: "+b.Reference+b.Path)
	}
	if len(p.Packages) > 0 {
		s = append(s, "compose: install "+strings.Join(p.Packages, " "))
	}
	for _, t := range p.Steps {
		s = append(s, "compose: "+t.Kind+" "+t.Builtin+t.Path)
	}
	s = append(s, "layers: verify, inflate and place every file in the root file system",
		"deployment: ostree objects, labels, boot entry, /etc and /var",
		"disk: layout "+p.Disk.Layout+", "+p.Disk.RootFS+" root, EFI system partition, boot loaders, partition table")
	return append(s, "outputs: "+strings.Join(p.Output.Types, ", "))
}

func downloads(p *blueprint.Plan) []string {
	switch b := p.Base; b.Kind {
	case blueprint.BaseDebian:
		return []string{fmt.Sprintf("packages of %s (%s) from %s that the cache lacks", b.Debian.Suite, strings.Join(b.Debian.Components, ", "), b.Debian.Mirror)}
	case blueprint.BaseImage:
		return []string{"layers of " + b.Reference + " that the cache lacks"}
	case blueprint.BaseContainerfile:
		return []string{"what its FROM and RUN instructions fetch"}
	}
	return []string{"none"}
}

// layoutSize is how much an image in an OCI layout inflates to, at least, and
// takes packed; known says that nothing will be added to it.
func layoutSize(p *blueprint.Plan) (content, packed int64, known bool) {
	if p.Base.Kind != blueprint.BaseLayout {
		return 0, 0, false
	}
	im, err := layer.Open(p.Base.Path, p.Base.Reference)
	if err != nil {
		return 0, 0, false
	}
	for i, l := range im.Layers {
		n, err := im.SizeHint(i)
		if err != nil {
			return 0, 0, false
		}
		content, packed = content+n, packed+l.Size
	}
	return content, packed, len(p.Steps) == 0 && len(p.Packages) == 0
}

// partitionOptions are what is known of the layout before the image is.
func partitionOptions(p *blueprint.Plan, content int64) plan.Options {
	d := p.Disk
	least := func(n blueprint.Size) plan.Size {
		if n == 0 {
			return plan.Size{}
		}
		return plan.Size{Bytes: int64(n), Why: "asked for"}
	}
	root := plan.RootSize(plan.Usage{Image: content, Extra: int64(d.RootFree)})
	if int64(d.RootSize) > root.Bytes {
		root = least(d.RootSize)
	}
	return plan.Options{
		Arch: p.Arch, SeparateBoot: d.Layout == blueprint.LayoutSeparateBoot, DiskSize: int64(d.Size), Seed: p.Seed,
		ESPSize: least(d.ESPSize), BootSize: least(d.BootSize), RootSize: root,
		Labels: map[plan.Role]string{plan.ESP: d.ESPLabel, plan.Boot: d.BootLabel, plan.Root: d.RootLabel},
	}
}

// lines renders e for the head of a plan.
func (e *explanation) lines() (ls []string) {
	list := func(title string, items []string) {
		ls = append(ls, title+":")
		for _, i := range items {
			ls = append(ls, "  "+i)
		}
	}
	list("Stages", e.Stages)
	ls = append(ls, "Partitions:")
	for _, p := range e.Partitions {
		least := ""
		if p.Least {
			least = "at least "
		}
		ls = append(ls, fmt.Sprintf("  %-12s %s%s: %s", p.Name, least, size(p.Size), p.Why))
	}
	list("Downloads", e.Downloads)
	list("Space", e.Space)
	return ls
}
