package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/atomicfile"
)

// Raw is the disk byte for byte, in a file with holes.
type Raw struct{}

var _ Format = Raw{}

// Name is "raw".
func (Raw) Name() string { return "raw" }

// Path is where the raw image goes below the folder of outputs.
func (Raw) Path() string { return "image/disk.raw" }

// Write copies the disk into dst. A disk that was made in a file beside dst
// needs no copy: see Commit.
func (Raw) Write(ctx context.Context, dst string, src Source, o Options) (Result, error) {
	src, err := src.check()
	if err != nil {
		return Result{}, fmt.Errorf("writing %s: %w", dst, err)
	}
	f, err := atomicfile.Create(dst, 0o644)
	if err != nil {
		return Result{}, full(dst, sum(src.Data), err)
	}
	res, err := copyRaw(ctx, f, src, o)
	return res, errors.Join(err, f.Close())
}

func copyRaw(ctx context.Context, f *atomicfile.File, src Source, o Options) (Result, error) {
	if err := f.Truncate(src.Size); err != nil {
		return Result{}, full(f.Target(), sum(src.Data), fmt.Errorf("writing %s: %w", f.Target(), err))
	}
	if err := copyRanges(ctx, f.File, src); err != nil {
		return Result{}, full(f.Target(), sum(src.Data), fmt.Errorf("writing %s: %w", f.Target(), err))
	}
	src.R, src.Patches = f.File, nil
	return Commit(ctx, f, src, o)
}

// Commit makes f, which holds the whole disk already, durable under its final
// name and writes the block map and the checksum beside it. src describes f
// and may leave R nil; it must have no patches.
func Commit(ctx context.Context, f *atomicfile.File, src Source, o Options) (Result, error) {
	m, err := Measure(ctx, f, src, o)
	if err != nil {
		return Result{}, err
	}
	return m.Commit()
}

// A Measured is a raw disk that is ready for its name.
type Measured struct {
	f      *atomicfile.File
	beside sidecars
	need   int64
}

// Measure reads the disk in f for its block map and checksum, as Commit does,
// and leaves the name for later: others may read f in the meantime.
func Measure(ctx context.Context, f *atomicfile.File, src Source, o Options) (*Measured, error) {
	if len(src.Patches) > 0 {
		return nil, errors.New("internal error: a disk cannot be patched where it lies")
	}
	src.R = f.File
	src, err := src.check()
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", f.Target(), err)
	}
	m := &Measured{f: f, need: sum(src.Data)}
	g, ctx := errgroup.WithContext(ctx)
	if !o.NoBmap {
		g.Go(func() (err error) {
			m.beside.bmap, err = blockMap(ctx, src, o.Workers)
			return err
		})
	}
	if !o.NoChecksum {
		g.Go(func() (err error) {
			m.beside.sha256, err = checksum(ctx, src)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("reading %s back: %w", f.Target(), err)
	}
	return m, nil
}

// Commit puts the disk under its final name, and what was measured beside it.
// Nobody may read the file through f any more.
func (m *Measured) Commit() (Result, error) { return commit(m.f, m.beside, m.need) }

// copyRanges copies data by the fastest way that both files know.
func copyRanges(ctx context.Context, dst *os.File, src Source) error {
	from, isFile := src.R.(*os.File)
	if isFile && unix.IoctlFileClone(int(dst.Fd()), int(from.Fd())) == nil {
		return nil
	}
	const step = 64 << 20
	buf := make([]byte, 0)
	for _, r := range src.Data {
		for off := r.Off; off < r.End(); {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(step, r.End()-off)
			if isFile {
				done, err := kernelCopy(dst, from, off, n)
				if err != nil {
					isFile = false // across file systems of old kernels, for one
				}
				off += done
				continue
			}
			if len(buf) == 0 {
				buf = make([]byte, 1<<20)
			}
			n = min(n, int64(len(buf)))
			if k, err := src.R.ReadAt(buf[:n], off); int64(k) < n {
				return fmt.Errorf("reading disk bytes %d+%d: %w", off, n, errors.Join(err, io.ErrUnexpectedEOF))
			}
			if _, err := dst.WriteAt(buf[:n], off); err != nil {
				return err
			}
			off += n
		}
	}
	return nil
}

// kernelCopy copies within the kernel. An error asks for another way; the bytes
// that are done stay done.
func kernelCopy(dst, src *os.File, off, n int64) (int64, error) {
	var done int64
	for done < n {
		in, out := off+done, off+done
		k, err := unix.CopyFileRange(int(src.Fd()), &in, int(dst.Fd()), &out, int(n-done), 0)
		if err != nil {
			return done, err
		}
		if k == 0 {
			return done, io.ErrUnexpectedEOF
		}
		done += int64(k)
	}
	return done, nil
}
