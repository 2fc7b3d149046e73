// Package output turns a finished disk into the files that users take away. It
// refuses to know what is on the disk, and leaves under a final name either a
// whole file or none.
package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/output/qcow2"
)

// A Range is Len bytes from Off on.
type Range struct{ Off, Len int64 }

// End is the first byte after the range.
func (r Range) End() int64 { return r.Off + r.Len }

// A Patch is bytes that stand on the disk in the place of what R has there.
type Patch struct {
	Off  int64
	Data []byte
}

// A Source is a finished disk.
type Source struct {
	// R is the disk's bytes; it is read from several goroutines.
	R io.ReaderAt
	// Size is the size of the disk in bytes, a multiple of 512.
	Size int64
	// Data are the ranges that may hold other bytes than zeros, ascending and
	// apart. nil asks the file system when R is a file, and is all otherwise.
	Data []Range
	// Zero are ranges of zeros that have a meaning: a block map names them, so
	// that they are written to media with old data too. In any order.
	Zero []Range
	// Patches change the disk for one output.
	Patches []Patch
}

// Options say how an output is written; the zero value works.
type Options struct {
	// Compression is for formats that can compress.
	Compression qcow2.Compression
	// Workers is the number of goroutines; 0 is one per CPU. It does not change the bytes.
	Workers int
	// NoChecksum leaves out the .sha256 file, NoBmap the .bmap file.
	NoChecksum, NoBmap bool
}

// A Result is what was written.
type Result struct {
	// Path is the output, Files all files with it and what is beside it.
	Path  string
	Files []string
	// Size is the length of the output, Stored what it takes on its medium, both in bytes.
	Size, Stored int64
	// SHA256 is the output's checksum in hex; "" with NoChecksum.
	SHA256 string
}

// Stage is what formats report their progress under; who calls them says when
// the stage starts and ends.
const Stage = "outputs"

// A Format writes one kind of file.
type Format interface {
	// Name is what users call it.
	Name() string
	// Path is where it goes below the folder of outputs.
	Path() string
	// Write makes dst, and what stands beside it, from src.
	Write(ctx context.Context, dst string, src Source, o Options) (Result, error)
}

// Formats are all formats, in the order in which help prints them.
var Formats = []Format{Raw{}, QCOW2{}}

// A FullError says that the medium of an output has no room left.
type FullError struct {
	Path       string
	Need, Free int64 // bytes; Need is at most what the output takes in whole, Free is -1 if unknown
	Err        error
}

func (e *FullError) Error() string {
	return fmt.Sprintf("writing %s: no room: up to %d bytes are needed, %d are free: %v\nhint: free some space there, or choose another folder", e.Path, e.Need, e.Free, e.Err)
}

// Unwrap returns the system's error.
func (e *FullError) Unwrap() error { return e.Err }

// full tells a medium without room from other errors.
func full(path string, need int64, err error) error {
	if err == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.EFBIG) {
		return err
	}
	e := &FullError{Path: path, Need: need, Free: -1, Err: err}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		e.Err = pe.Err
	}
	if free, ok := freeBytes(path); ok {
		e.Free = free
	}
	return e
}

// check returns the source with its data ranges known and its patches in it.
func (s Source) check() (Source, error) {
	if s.R == nil || s.Size <= 0 || s.Size%512 != 0 {
		return s, fmt.Errorf("internal error: a disk of %d bytes is not a multiple of 512", s.Size)
	}
	if f, ok := s.R.(*os.File); ok && s.Data == nil {
		data, err := dataRanges(f, s.Size)
		if err != nil {
			return s, fmt.Errorf("looking for data in %s: %w", f.Name(), err)
		}
		s.Data = data
	} else if s.Data == nil {
		s.Data = []Range{{0, s.Size}}
	}
	end := int64(0)
	for _, r := range s.Data {
		if r.Off < end || r.Len < 0 || r.Len > s.Size-r.Off {
			return s, fmt.Errorf("internal error: data range %d+%d is not ascending within %d bytes", r.Off, r.Len, s.Size)
		}
		end = r.End()
	}
	for _, r := range s.Zero {
		if r.Off < 0 || r.Len < 0 || r.Off > s.Size || r.Len > s.Size-r.Off {
			return s, fmt.Errorf("internal error: zero range %d+%d is outside %d bytes", r.Off, r.Len, s.Size)
		}
	}
	if len(s.Patches) == 0 {
		return s, nil
	}
	return s.patched()
}

// patched returns the source with the patches laid over its bytes.
func (s Source) patched() (Source, error) {
	data := slices.Clone(s.Data)
	for _, p := range s.Patches {
		if p.Off < 0 || p.Off > s.Size || int64(len(p.Data)) > s.Size-p.Off {
			return s, fmt.Errorf("internal error: patch %d+%d is outside %d bytes", p.Off, len(p.Data), s.Size)
		}
		data = append(data, Range{p.Off, int64(len(p.Data))})
	}
	s.R = &overlay{s.R, s.Patches}
	s.Data = grow(data, 1, s.Size)
	return s, nil
}

// An overlay is a disk with patches.
type overlay struct {
	r       io.ReaderAt
	patches []Patch
}

func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.r.ReadAt(p, off)
	for _, patch := range o.patches {
		from := max(off, patch.Off)
		if to := min(off+int64(n), patch.Off+int64(len(patch.Data))); from < to {
			copy(p[from-off:to-off], patch.Data[from-patch.Off:])
		}
	}
	return n, err
}

// grow rounds ranges out to multiples of grain within size, sorts them and
// joins those that touch.
func grow(rs []Range, grain, size int64) []Range {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b Range) int { return int(min(max(a.Off-b.Off, -1), 1)) })
	var out []Range
	for _, r := range rs {
		if r.Len == 0 {
			continue
		}
		from := r.Off / grain * grain
		to := min((r.End()+grain-1)/grain*grain, size)
		if n := len(out); n > 0 && from <= out[n-1].End() {
			out[n-1].Len = max(out[n-1].End(), to) - out[n-1].Off
			continue
		}
		out = append(out, Range{from, to - from})
	}
	return out
}

// sum is the number of bytes in ranges.
func sum(rs []Range) (n int64) {
	for _, r := range rs {
		n += r.Len
	}
	return n
}

// dataRanges asks the file system which ranges of a file are not holes.
func dataRanges(f *os.File, size int64) ([]Range, error) {
	rs := []Range{}
	for off := int64(0); off < size; {
		from, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			return []Range{{0, size}}, nil // no such question here: all may be data
		}
		if err != nil {
			return nil, err
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		if from = min(from, size); from < min(to, size) {
			rs = append(rs, Range{from, min(to, size) - from})
		}
		off = to
	}
	return rs, nil
}
