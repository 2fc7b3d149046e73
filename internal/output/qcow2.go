package output

import (
	"context"
	"errors"
	"fmt"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/output/qcow2"
	"github.com/aitheros/aither-image/internal/progress"
)

// QCOW2 is QEMU's format.
type QCOW2 struct{}

var _ Format = QCOW2{}

// Name is "qcow2".
func (QCOW2) Name() string { return "qcow2" }

// Path is where the image goes below the folder of outputs.
func (QCOW2) Path() string { return "qcow2/disk.qcow2" }

// Write makes a qcow2 image of the disk.
func (QCOW2) Write(ctx context.Context, dst string, src Source, o Options) (Result, error) {
	src, err := src.check()
	if err != nil {
		return Result{}, fmt.Errorf("writing %s: %w", dst, err)
	}
	need := sum(src.Data)
	f, err := atomicfile.Create(dst, 0o644)
	if err != nil {
		return Result{}, full(dst, need, err)
	}
	res, err := writeQCOW2(ctx, f, src, o)
	if err != nil {
		err = full(dst, need, fmt.Errorf("writing %s: %w", dst, err))
	}
	return res, errors.Join(err, f.Close())
}

func writeQCOW2(ctx context.Context, f *atomicfile.File, src Source, o Options) (Result, error) {
	w, err := qcow2.NewWriter(f, src.Size, qcow2.Options{Compression: o.Compression, Workers: o.Workers})
	if err != nil {
		return Result{}, err
	}
	if err := addAll(ctx, w, src); err != nil {
		w.Abort()
		return Result{}, err
	}
	if err := w.Close(); err != nil {
		return Result{}, err
	}
	var beside sidecars
	if !o.NoChecksum {
		fi, err := f.Stat()
		if err != nil {
			return Result{}, err
		}
		if beside.sha256, err = checksum(ctx, Source{R: f, Size: fi.Size(), Data: []Range{{0, fi.Size()}}}); err != nil {
			return Result{}, err
		}
	}
	return commit(f, beside, sum(src.Data))
}

// addAll hands the disk's data on and reports how far it is.
func addAll(ctx context.Context, w *qcow2.Writer, src Source) error {
	const step = 1024 * qcow2.ClusterSize
	rs := grow(src.Data, qcow2.ClusterSize, src.Size)
	report, total, done := progress.From(ctx), sum(rs), int64(0)
	for _, r := range rs {
		for off := r.Off; off < r.End(); off += step {
			n := min(step, r.End()-off)
			if err := w.Add(ctx, src.R, off, n); err != nil {
				return err
			}
			done += n
			report.Report(progress.Event{Stage: Stage, Kind: progress.Update, Done: done, Total: total, Unit: "bytes"})
		}
	}
	return nil
}
