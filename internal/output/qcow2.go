package output

import (
	"context"
	"errors"
	"fmt"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/output/qcow2"
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
	for _, r := range grow(src.Data, qcow2.ClusterSize, src.Size) {
		if err := w.Add(ctx, src.R, r.Off, r.Len); err != nil {
			w.Abort()
			return Result{}, err
		}
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
