package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/aitheros/aither-image/internal/customize"
	"github.com/aitheros/aither-image/internal/disk"
	"github.com/aitheros/aither-image/internal/disk/ext4"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/sysroot"
)

// DiskOptions say how an image becomes a disk. Update and Time are required.
type DiskOptions struct {
	Plan     plan.Options
	RootFree int64
	Update   sysroot.ImageReference
	Kargs    []string
	Changes  customize.Options
	Time     time.Time
	// Serial are kernel arguments of the variant for virtual machines.
	Serial []string
	// Lint checks the merged tree before anything is named; nil checks nothing.
	Lint func(ctx context.Context, v *sysroot.View) error
	// Workers is the number of layers read at once; 0 = one per processor.
	Workers int
	Limits  layer.Limits

	// previous is an earlier disk whose content may be used again.
	previous *previous
}

// A Disk is a raw disk image and what it holds.
type Disk struct {
	Layout     *plan.Layout
	Root       ext4.Stats
	Zero       []ext4.Range
	Deployment *sysroot.Deployment
	// Patches turn the image into the variant for virtual machines.
	Patches []ext4.Patch

	listings []*sysroot.Listing
}

// WriteDisk writes a bootable disk of the image into an empty file, in one pass
// over the layers. It starts over when a partition proves too small, or an
// earlier disk is not what it was.
func WriteDisk(ctx context.Context, f *os.File, im *layer.Image, o DiskOptions) (*Disk, error) {
	for {
		d, err := writeDisk(ctx, f, im, o)
		var small *disk.TooSmallError
		var why string
		switch {
		case errors.As(err, &small):
			why = o.enlarge(small)
		case errors.Is(err, sysroot.ErrStale) && o.previous != nil:
			o.previous, why = nil, "the disk of the earlier build was changed"
		}
		if why == "" {
			return d, err
		}
		progress.From(ctx).Report(progress.Event{Stage: "disk", Kind: progress.Warn, Text: "starting over: " + why})
		if err := f.Truncate(0); err != nil {
			return nil, fmt.Errorf("emptying %s: %w", f.Name(), err)
		}
	}
}

// enlarge asks for what a disk has proved to need; "" when it has it already.
func (o *DiskOptions) enlarge(e *disk.TooSmallError) (why string) {
	for _, p := range []struct {
		name string
		have *plan.Size
		need plan.Size
	}{{"the ESP", &o.Plan.ESPSize, e.ESP}, {"/boot", &o.Plan.BootSize, e.Boot}} {
		if p.need.Bytes > p.have.Bytes {
			*p.have = p.need
			why += fmt.Sprintf("%s needs %d MiB (%s); ", p.name, p.need.Bytes>>20, p.need.Why)
		}
	}
	return why
}

func writeDisk(ctx context.Context, f *os.File, im *layer.Image, o DiskOptions) (*Disk, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	img, err := disk.New(f, disk.Options{Plan: o.Plan, RootFree: o.RootFree, Time: o.Time})
	if err != nil {
		return nil, err
	}
	t, err := sysroot.Read(ctx, im, rootStore{img.Root()}, sysroot.ReadOptions{Workers: o.Workers, Limits: o.Limits, Known: o.previous.known(im)})
	if err != nil {
		return nil, err
	}
	if o.Lint != nil {
		if err := o.Lint(ctx, t.View()); err != nil {
			return nil, err
		}
	}
	changes, err := customize.Apply(o.Changes, t.View())
	if err != nil {
		return nil, fmt.Errorf("applying the customizations: %w", err)
	}
	report := progress.From(ctx)
	report.Report(progress.Event{Stage: "disk", Kind: progress.Start, Text: "writing file systems and boot loader"})
	dep := sysroot.DeployOptions{Update: o.Update, Kargs: o.Kargs, Changes: changes, Time: o.Time}
	dep.Root, dep.Boot, dep.ESP = img.UUIDs()
	d, err := t.Deploy(ctx, dep)
	if err != nil {
		return nil, err
	}
	parts := disk.Parts{Root: d.RootTree, Boot: d.BootTree, ESP: d.ESPTree, Content: d.Content, Kernel: d.KernelBytes}
	if d.GRUB != nil {
		parts.GRUB = d.GRUB.Files
	}
	r, err := img.Finish(ctx, parts)
	if err != nil {
		return nil, err
	}
	out := &Disk{Layout: r.Layout, Root: r.Root, Zero: r.Zero, Deployment: d, listings: t.Listings()}
	if len(o.Serial) > 0 {
		if out.Patches, err = img.Replace(d.EntryAt, []byte(d.EntryWith(o.Serial))); err != nil {
			return nil, err
		}
	}
	report.Report(progress.Event{Stage: "disk", Kind: progress.End})
	return out, nil
}
