// Package atomicfile writes files and folders that are whole or absent: a
// temporary name beside the target, fsync, close checked, rename, fsync of the
// folder. It is the only place of the builder that renames or creates outputs.
// It refuses to write through a symbolic link at the target's place.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tempMark is part of every temporary name, so that a later run can tell them.
const tempMark = ".aither-partial-"

// A File is a file under a temporary name until Commit.
type File struct {
	*os.File
	target string
	done   bool
}

// Create opens a new temporary file beside target, making target's folder when
// it does not exist. Leftovers of earlier runs for the same target are removed.
func Create(target string, perm fs.FileMode) (*File, error) {
	dir, base := filepath.Split(filepath.Clean(target))
	if dir == "" {
		dir = "."
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if fi, err := os.Lstat(target); err == nil && !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("writing %s: %s is in the way", target, fi.Mode().Type())
	}
	RemovePartial(target)
	f, err := os.CreateTemp(dir, "."+base+tempMark)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(perm); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return &File{File: f, target: target}, nil
}

// Target is the final name.
func (f *File) Target() string { return f.target }

// Commit makes the file durable under its final name.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("internal error: %s committed twice", f.target)
	}
	f.done = true
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.File.Close(), os.Remove(f.Name()))
	}
	if err := f.File.Close(); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), f.target); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return SyncDir(filepath.Dir(f.target))
}

// Close gives the file up and removes it, unless it was committed.
func (f *File) Close() error {
	if f.done {
		return nil
	}
	f.done = true
	return errors.Join(f.File.Close(), os.Remove(f.Name()))
}

// WriteFile writes data to target, whole or not at all.
func WriteFile(target string, data []byte, perm fs.FileMode) error {
	return Write(target, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Write calls fill with the temporary file and commits what it wrote.
func Write(target string, perm fs.FileMode, fill func(io.Writer) error) (err error) {
	f, err := Create(target, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := fill(f); err != nil {
		return err
	}
	return f.Commit()
}

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// RemovePartial removes what killed runs left beside target. It never touches
// a name that this package did not make.
func RemovePartial(target string) {
	dir, base := filepath.Split(filepath.Clean(target))
	if dir == "" {
		dir = "."
	}
	ents, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range ents {
		if strings.HasPrefix(e.Name(), "."+base+tempMark) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
