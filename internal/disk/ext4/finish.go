package ext4

import (
	"context"
	"errors"

	"github.com/aitheros/aither-image/internal/tree"
)

// Finish writes the tree and everything else around the contents placed so far.
// All arenas must be closed. size is asked once for the size of the file system
// in bytes, at least Usage.MinBytes; it is rounded down to what ext4 can use.
//
// Contents that are *Data of this Writer are used where they lie; a second inode
// with the same Data gets a copy, as does content of any other kind. Entries
// that share a path's inode are hard links, at most 65000 for one inode. A
// directory "lost+found" in the tree lends its attributes to the one that is
// always made; a missing root gets mode 0755. Content that no entry carries is
// given back.
func (w *Writer) Finish(ctx context.Context, s tree.Stream, size func(Usage) int64) (Stats, error) {
	return Stats{}, errors.New("finishing an ext4 file system: not supported yet")
}

// Replace returns the patches that would give the regular file at path another
// content after Finish, without changing anything else: the content must take
// the same number of blocks. The device is not written to.
func (w *Writer) Replace(path string, content []byte) ([]Patch, error) {
	return nil, errors.New("replacing content in an ext4 file system: not supported yet")
}
