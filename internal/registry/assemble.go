package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/atomicfile"
)

// partialMark is part of the names of folders that are not finished.
const partialMark = ".aither-partial-"

// PutJSON stores v as JSON and returns its descriptor.
func (l *Layout) PutJSON(mediaType string, v any) (v1.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return l.PutBytes(mediaType, b)
}

// Assemble calls fill with a layout and puts it under the name dst. A new
// layout appears there whole or not at all; in an existing one fill adds blobs
// and tags, and afterwards blobs that no tag leads to are removed.
func Assemble(dst string, fill func(*Layout) error) error {
	fi, err := os.Lstat(dst)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return assembleNew(dst, fill)
	case err != nil:
		return err
	case !fi.IsDir():
		return fmt.Errorf("%s is in the way: it is no folder", dst)
	}
	if os.Remove(dst) == nil { // an empty folder
		return assembleNew(dst, fill)
	}
	l, err := OpenLayout(dst)
	if err != nil {
		return fmt.Errorf("%s is in the way: %w", dst, err)
	}
	lock, err := lockDir(dst, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := fill(l); err != nil {
		return err
	}
	return l.Prune()
}

func assembleNew(dst string, fill func(*Layout) error) error {
	dir, base := filepath.Split(filepath.Clean(dst))
	if dir == "" {
		dir = "."
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	removePartial(dir, base)
	tmp, err := os.MkdirTemp(dir, "."+base+partialMark)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	lock, err := lockDir(tmp, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	l, err := CreateLayout(tmp)
	if err != nil {
		return err
	}
	if err := fill(l); err != nil {
		return err
	}
	err = atomicfile.CommitDir(tmp, dst)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w\nhint: another run made it meanwhile; run again", err)
	}
	return err
}

// lockDir locks a folder for as long as the returned file is open.
func lockDir(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// removePartial removes what killed runs left beside a layout. A folder that a
// living run has locked stays.
func removePartial(dir, base string) {
	ents, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range ents {
		if !strings.HasPrefix(e.Name(), "."+base+partialMark) || !e.IsDir() {
			continue
		}
		p := filepath.Join(dir, e.Name())
		f, err := lockDir(p, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(p)
		_ = f.Close()
	}
}
