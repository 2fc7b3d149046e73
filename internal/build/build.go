// Package build is the order of the stages and nothing else: plan → container
// image → disk → outputs. Every stage has options of its own; only this package
// knows the plan. It refuses to touch an output before everything it needs is there.
package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/registry"
)

// Options say what to build and where. Plan, Output, Cache and Clock are required.
type Options struct {
	Plan *blueprint.Plan
	// Output is the folder of the outputs, Cache that of everything that
	// makes the next build faster.
	Output, Cache string
	// Types replaces the types of the plan.
	Types []string
	// Epoch is SOURCE_DATE_EPOCH; zero takes the base's own time.
	Epoch time.Time
	// Version is the program's.
	Version string
	// SkipLints are names of lints not to run.
	SkipLints []string
	// NoCache builds everything anew; Refresh asks the package archive for
	// what is new.
	NoCache, Refresh bool
	Registry         registry.Options
	// Workers is the number of layers read at once; 0 = one per processor.
	Workers int
	// Clock measures how long stages take; it decides about no byte.
	Clock func() time.Time
}

// Run builds what the plan says.
func Run(ctx context.Context, o Options) (*Record, error) {
	if len(o.Types) == 0 {
		o.Types = o.Plan.Output.Types
	}
	if err := checkTypes(o.Types); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Output, 0o755); err != nil {
		return nil, fmt.Errorf("making the output folder: %w", err)
	}
	unlock, err := lock(filepath.Join(o.Output, ".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	w := newWatch(o.Clock)
	im, err := o.image(ctx)
	if err != nil {
		return nil, err
	}
	w.lap("image")
	do, err := o.diskOptions(im)
	if err != nil {
		return nil, err
	}
	k, err := key(im.ManifestDigest, do.keyParts(), o.Plan.Output.Compress)
	if err != nil {
		return nil, err
	}
	if !o.NoCache {
		if r := upToDate(o.Output, k, o.Types); r != nil {
			progress.From(ctx).Report(progress.Event{Stage: "disk", Kind: progress.End, Cached: true, Text: "the outputs are up to date"})
			return r, nil
		}
	}
	r := &Record{Program: "aither-image", Version: o.Version, Name: o.Plan.Name, Key: k, Plan: o.Plan, Image: imageRecord(im)}
	if err := o.outputs(ctx, im, do, r, w); err != nil {
		return nil, err
	}
	r.Seconds = w.laps
	return r, r.write(o.Output)
}

// A UsageError is a wish that cannot be met as it was put.
type UsageError struct{ Text, Hint string }

func (e *UsageError) Error() string {
	if e.Hint == "" {
		return e.Text
	}
	return e.Text + "\nhint: " + e.Hint
}

// A watch measures stages.
type watch struct {
	now  func() time.Time
	last time.Time
	laps map[string]float64
}

func newWatch(now func() time.Time) *watch { return &watch{now, now(), map[string]float64{}} }

func (w *watch) lap(name string) {
	t := w.now()
	w.laps[name] += t.Sub(w.last).Seconds()
	w.last = t
}
