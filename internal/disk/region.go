package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A region is one partition inside the file, from an offset on. Ranges that
// nobody wrote read as zeros, also behind the end of the file.
type region struct {
	f   *os.File
	off int64
}

// A FullError says that the medium that holds an output has no room left.
type FullError struct {
	Path string
	Need int64 // bytes of the write that failed
	Free int64 // bytes free, -1 if unknown
	Err  error
}

func (e *FullError) Error() string {
	return fmt.Sprintf("writing %s: no room for %d more bytes, %d are free: %v", e.Path, e.Need, e.Free, e.Err)
}

// Unwrap returns the system's error.
func (e *FullError) Unwrap() error { return e.Err }

func (r *region) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.f.ReadAt(p, r.off+off)
	if err == io.EOF {
		clear(p[n:])
		return len(p), nil
	}
	return n, err
}

func (r *region) WriteAt(p []byte, off int64) (int, error) {
	n, err := r.f.WriteAt(p, r.off+off)
	if err == nil {
		return n, nil
	}
	return n, full(r.f, int64(len(p)-n), err)
}

// full adds to an error of a medium without room what a user needs to know.
func full(f *os.File, need int64, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.EFBIG) {
		return err
	}
	e := &FullError{Path: f.Name(), Need: need, Free: -1, Err: err}
	var path *fs.PathError
	if errors.As(err, &path) {
		e.Err = path.Err
	}
	var st unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &st) == nil {
		e.Free = int64(st.Bavail) * st.Bsize
	}
	return e
}

// PunchHole gives a range back; where the medium cannot do that, the range is
// overwritten with zeros as far as the file reaches.
func (r *region) PunchHole(off, n int64) error {
	off += r.off
	err := unix.Fallocate(int(r.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if err == nil || !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	fi, err := r.f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for end := min(off+n, fi.Size()); off < end; {
		k, err := r.f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off)
		if err != nil {
			return full(r.f, end-off, err)
		}
		off += int64(k)
	}
	return nil
}
