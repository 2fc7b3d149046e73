package build

import (
	"errors"
	"io"

	"github.com/aitheros/aither-image/internal/disk/ext4"
	"github.com/aitheros/aither-image/internal/sysroot"
	"github.com/aitheros/aither-image/internal/tree"
)

// rootStore lets the layers fill the root file system of a disk.
type rootStore struct{ w *ext4.Writer }

var _ sysroot.Store = rootStore{}

func (s rootStore) NewArena(hint int64) (sysroot.Arena, error) {
	return rootArena{s.w.NewArena(hint)}, nil
}

func (s rootStore) Abort(cause error) { s.w.Abort(cause) }

func (s rootStore) Discard(c tree.Content) error {
	d, ok := c.(*ext4.Data)
	if !ok {
		return errors.New("internal error: content of another store")
	}
	return s.w.Discard(d)
}

type rootArena struct{ a *ext4.Arena }

func (a rootArena) Put(r io.Reader, size int64) (tree.Content, error) {
	d, err := a.a.Put(r, size)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (a rootArena) Close() error { return a.a.Close() }
