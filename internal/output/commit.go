package output

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/atomicfile"
)

// sidecars are the small files beside an output; empty ones are not written.
type sidecars struct {
	bmap   []byte
	sha256 string
}

// The endings of the files beside an output.
const (
	bmapEnding     = ".bmap"
	checksumEnding = ".sha256"
)

// commit puts f under its final name. The files beside an older output go
// first: whatever happens, none ever stands beside an output that it does not
// describe.
func commit(f *atomicfile.File, s sidecars, need int64) (Result, error) {
	dst := f.Target()
	fi, err := f.Stat()
	if err != nil {
		return Result{}, err
	}
	for _, ending := range []string{bmapEnding, checksumEnding} {
		if err := os.Remove(dst + ending); err != nil && !errors.Is(err, os.ErrNotExist) {
			return Result{}, fmt.Errorf("removing what describes the older %s: %w", dst, err)
		}
	}
	if err := f.Commit(); err != nil {
		return Result{}, full(dst, need, err)
	}
	res := Result{Path: dst, Files: []string{dst}, Size: fi.Size(), SHA256: s.sha256}
	// What it takes is known only now that it is on the medium.
	if after, err := os.Stat(dst); err == nil {
		if st, ok := after.Sys().(*syscall.Stat_t); ok {
			res.Stored = st.Blocks * 512
		}
	}
	if s.sha256 != "" {
		line := fmt.Sprintf("%s  %s\n", s.sha256, filepath.Base(dst))
		if err := res.beside(checksumEnding, []byte(line)); err != nil {
			return Result{}, err
		}
	}
	if s.bmap != nil {
		if err := res.beside(bmapEnding, s.bmap); err != nil {
			return Result{}, err
		}
	}
	return res, nil
}

func (r *Result) beside(ending string, data []byte) error {
	if err := atomicfile.WriteFile(r.Path+ending, data, 0o644); err != nil {
		return full(r.Path+ending, int64(len(data)), err)
	}
	r.Files = append(r.Files, r.Path+ending)
	return nil
}

func freeBytes(path string) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * st.Bsize, true
}

// checksum is the SHA-256 of the whole disk; holes are not read.
func checksum(ctx context.Context, s Source) (string, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	zeros := make([]byte, 1<<20)
	off := int64(0)
	for _, r := range append(s.Data[:len(s.Data):len(s.Data)], Range{s.Size, 0}) {
		for off < r.Off {
			n := min(int64(len(zeros)), r.Off-off)
			h.Write(zeros[:n])
			off += n
		}
		for off < r.End() {
			n := min(int64(len(buf)), r.End()-off)
			if k, err := s.R.ReadAt(buf[:n], off); int64(k) < n {
				return "", fmt.Errorf("reading disk bytes %d+%d: %w", off, n, errors.Join(err, io.ErrUnexpectedEOF))
			}
			h.Write(buf[:n])
			off += n
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
