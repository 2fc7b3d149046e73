package ext4

import (
	"errors"
	"io"

	"github.com/aitheros/aither-image/internal/tree"
)

// An FS reads an ext4 file system.
type FS struct {
	r io.ReaderAt
}

// Open reads the superblock and group descriptors of a file system.
func Open(r io.ReaderAt) (*FS, error) {
	return nil, errors.New("reading an ext4 file system: not supported yet")
}

// Lookup returns the entry at a path, as tree.Entry has it ("." is the root).
// Symbolic links are not followed.
func (f *FS) Lookup(path string) (tree.Entry, error) {
	return tree.Entry{}, errors.New("not supported yet")
}

// ReadDir returns the entries of a directory in byte order of their names,
// without "." and "..".
func (f *FS) ReadDir(path string) ([]tree.Entry, error) {
	return nil, errors.New("not supported yet")
}

// Tree streams the tree below root, whose own entry comes first as ".". Further
// names of a file are reported as hard links to the first. Contents are read
// when they are opened.
func (f *FS) Tree(root string) tree.Stream {
	return func(yield func(tree.Entry, error) bool) {
		yield(tree.Entry{}, errors.New("not supported yet"))
	}
}
