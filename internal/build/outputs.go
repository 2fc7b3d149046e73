package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/disk/ext4"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/output"
	"github.com/aitheros/aither-image/internal/output/qcow2"
	"github.com/aitheros/aither-image/internal/progress"
)

// formatVersion grows when the same inputs give other bytes than before.
const formatVersion = 1

// format finds an output format by its name.
func format(name string) (output.Format, bool) {
	i := slices.IndexFunc(output.Formats, func(f output.Format) bool { return f.Name() == name })
	if i < 0 {
		return nil, false
	}
	return output.Formats[i], true
}

func checkTypes(types []string) error {
	var known []string
	for _, f := range output.Formats {
		known = append(known, f.Name())
	}
	for _, t := range types {
		if _, ok := format(t); !ok {
			return &UsageError{fmt.Sprintf("unknown output type %q", t), "known types: " + strings.Join(known, ", ")}
		}
	}
	return nil
}

// writeFormats makes every output of the finished disk. They are written side
// by side; the raw file gets its name last, because the others read it.
func (o *Options) writeFormats(ctx context.Context, raw *atomicfile.File, d *Disk) ([]Output, error) {
	report := progress.From(ctx)
	report.Report(progress.Event{Stage: "outputs", Kind: progress.Start, Text: "writing " + strings.Join(o.Types, ", ")})
	src := output.Source{R: raw.File, Size: d.Layout.DiskSize, Zero: ranges(d.Zero)}
	opts := output.Options{Compression: compression(o.Plan.Output.Compress), Workers: o.Workers}
	out := make([]Output, len(o.Types))
	g, gctx := errgroup.WithContext(ctx)
	var measured *output.Measured
	rawAt := -1
	for i, t := range o.Types {
		f, _ := format(t)
		if f == (output.Raw{}) {
			rawAt = i
			g.Go(func() (err error) {
				measured, err = output.Measure(gctx, raw, src, opts)
				return err
			})
			continue
		}
		g.Go(func() error {
			variant := src
			variant.Patches = patches(d.Patches)
			r, err := f.Write(gctx, filepath.Join(o.Output, f.Path()), variant, opts)
			out[i] = outputRecord(f, r)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if rawAt >= 0 {
		r, err := measured.Commit()
		if err != nil {
			return nil, err
		}
		out[rawAt] = outputRecord(output.Raw{}, r)
	}
	for i := range out {
		fi, err := os.Stat(filepath.Join(o.Output, out[i].Path))
		if err != nil {
			return nil, err
		}
		out[i].Modified = fi.ModTime().UnixNano()
	}
	report.Report(progress.Event{Stage: "outputs", Kind: progress.End})
	return out, nil
}

func outputRecord(f output.Format, r output.Result) Output {
	return Output{Type: f.Name(), Path: f.Path(), Size: r.Size, Stored: r.Stored, SHA256: r.SHA256}
}

func ranges(rs []ext4.Range) (out []output.Range) {
	for _, r := range rs {
		out = append(out, output.Range(r))
	}
	return out
}

func patches(ps []ext4.Patch) (out []output.Patch) {
	for _, p := range ps {
		out = append(out, output.Patch(p))
	}
	return out
}

func compression(name string) qcow2.Compression {
	if name == "none" {
		return qcow2.None
	}
	return qcow2.Compression(name)
}

// A SpaceError says before anything is written that the medium is too small.
type SpaceError struct {
	Path       string
	Need, Free int64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s: %d MiB are needed, %d MiB are free\nhint: free some space there, or choose another folder with --output", e.Path, e.Need>>20, e.Free>>20)
}

// checkSpace compares what the outputs will take with what is free.
func (o *Options) checkSpace(im *layer.Image, path string) error {
	var need int64
	for i := range im.Layers {
		n, err := im.SizeHint(i)
		if err != nil {
			return err
		}
		need += n
	}
	need = need * int64(len(o.Types)) * 9 / 10 // archives carry headers that disks do not
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", filepath.Dir(path), err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return &SpaceError{Path: filepath.Dir(path), Need: need, Free: free}
	}
	return nil
}

// rawFile opens the file that the disk is written into: the raw output itself,
// or a file that is given up when only other formats are asked for.
func (o *Options) rawFile() (*atomicfile.File, error) {
	f, err := atomicfile.Create(filepath.Join(o.Output, output.Raw{}.Path()), 0o644)
	if err != nil {
		return nil, fmt.Errorf("making the disk image: %w", err)
	}
	return f, nil
}

// outputs writes the disk and everything made of it.
func (o *Options) outputs(ctx context.Context, im *layer.Image, do DiskOptions, r *Record, w *watch) (err error) {
	raw, err := o.rawFile()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	if err := o.checkSpace(im, raw.Name()); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(o.Output, recordName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the record of an earlier build: %w", err)
	}
	if !o.NoCache {
		do.previous = openPrevious(o.Cache, raw.Target())
		defer func() { err = errors.Join(err, do.previous.Close()) }()
	}
	d, err := WriteDisk(ctx, raw.File, im, do)
	if err != nil {
		return err
	}
	w.lap("disk")
	r.Disk = d.Layout
	dep := d.Deployment
	r.System = SystemRecord{Title: dep.Title, Commit: dep.Commit.String(), Boot: dep.Boot.String(), Kernel: dep.Kernel,
		Kargs: dep.Kargs, Origin: dep.Origin, Content: dep.Content}
	r.Outputs, err = o.writeFormats(ctx, raw, d)
	w.lap("outputs")
	if err == nil && slices.Contains(o.Types, output.Raw{}.Name()) {
		if err := remember(o.Cache, raw.Target(), im, d); err != nil {
			progress.From(ctx).Report(progress.Event{Stage: "outputs", Kind: progress.Warn, Text: "the next build will be slower: " + err.Error()})
		}
	}
	return err
}
