package build

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/customize"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/lint"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/sysroot"
)

// serialKargs make the console of a virtual machine readable from outside. On
// real hardware without such a port they make boots take minutes.
var serialKargs = []string{"console=tty0", "console=ttyS0"}

// diskOptions turns the plan into the options of the disk stage.
func (o *Options) diskOptions(im *layer.Image) (DiskOptions, error) {
	p := o.Plan
	if im.Architecture != goArch(p.Arch) {
		return DiskOptions{}, &UsageError{fmt.Sprintf("the image is for %s, the plan for %s", im.Architecture, p.Arch), "choose the architecture with --target-arch"}
	}
	update, err := sysroot.ParseImageReference(p.Update.Source)
	if err != nil {
		return DiskOptions{}, fmt.Errorf("reading the update source: %w", err)
	}
	update.Enforce = p.Update.Signature == blueprint.SignatureEnforce
	d := DiskOptions{
		Plan: plan.Options{Arch: p.Arch, SeparateBoot: p.Disk.Layout == blueprint.LayoutSeparateBoot,
			ESPSize: asked(p.Disk.ESPSize), BootSize: asked(p.Disk.BootSize), RootSize: asked(p.Disk.RootSize), DiskSize: int64(p.Disk.Size),
			Labels: map[plan.Role]string{plan.ESP: p.Disk.ESPLabel, plan.Boot: p.Disk.BootLabel, plan.Root: p.Disk.RootLabel},
			Seed:   im.ManifestDigest.String() + " " + p.Seed},
		RootFree: int64(p.Disk.RootFree), Update: update, Kargs: p.Kernel.Append, Time: o.Epoch, Workers: o.Workers,
	}
	for role, label := range d.Plan.Labels {
		if label == "" {
			delete(d.Plan.Labels, role)
		}
	}
	if d.Time.IsZero() {
		if d.Time = im.Created; d.Time.IsZero() {
			d.Time = time.Unix(0, 0).UTC()
		}
	}
	if p.Output.SerialConsole {
		d.Serial = serialKargs
	}
	if d.Changes, err = changes(&p.Customizations); err != nil {
		return d, err
	}
	d.Changes.Day = int(d.Time.Unix() / (24 * 60 * 60))
	if !p.Disk.Grow {
		d.Changes.Mask = append(d.Changes.Mask, growUnit)
	}
	d.Lint = o.lint
	return d, nil
}

// growUnit is the unit of overlays/base that grows the root to its medium.
const growUnit = "aither-grow.service"

func asked(s blueprint.Size) plan.Size { return plan.Size{Bytes: int64(s)} }

// keyParts is everything of the options that decides about a byte.
func (d DiskOptions) keyParts() any {
	return struct {
		Version int
		Plan    plan.Options
		Free    int64
		Update  sysroot.ImageReference
		Kargs   []string
		Changes customize.Options
		Time    int64
		Serial  []string
	}{formatVersion, d.Plan, d.RootFree, d.Update, d.Kargs, d.Changes, d.Time.Unix(), d.Serial}
}

// lint checks the merged tree: warnings are told, fatal findings end the build.
func (o *Options) lint(ctx context.Context, v *sysroot.View) error {
	found, err := lint.Run(ctx, v, lint.Options{Skip: o.SkipLints})
	if err != nil {
		return err
	}
	var fatal []lint.Finding
	for _, f := range found {
		if f.Severity == lint.Fatal {
			fatal = append(fatal, f)
			continue
		}
		progress.From(ctx).Report(progress.Event{Stage: "lint", Kind: progress.Warn, Text: f.Lint + ": " + f.Path + ": " + f.Text})
	}
	if len(fatal) > 0 {
		return &LintError{fatal}
	}
	return nil
}

// A LintError are findings that make an image unfit.
type LintError struct{ Findings []lint.Finding }

func (e *LintError) Error() string {
	var s strings.Builder
	s.WriteString("the image is unfit: " + strconv.Itoa(len(e.Findings)) + " fatal findings")
	for _, f := range e.Findings {
		fmt.Fprintf(&s, "\n  %s: %s: %s", f.Lint, f.Path, f.Text)
		if f.Hint != "" {
			fmt.Fprintf(&s, " (%s)", f.Hint)
		}
	}
	s.WriteString("\nhint: mend the image, or leave a lint out with --skip-lint NAME")
	return s.String()
}
