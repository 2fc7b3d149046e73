package build

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/aitheros/aither-image/internal/sysroot"
	"github.com/aitheros/aither-image/internal/tree"
)

// A spool is a store for looking at images without writing a disk: content
// goes to an unnamed temporary file.
type spool struct {
	dir string

	mu    sync.Mutex
	files []*os.File
	cause error
}

var _ sysroot.Store = (*spool)(nil)

func (s *spool) NewArena(int64) (sysroot.Arena, error) {
	f, err := os.CreateTemp(s.dir, "aither-spool-")
	if err != nil {
		return nil, fmt.Errorf("making a temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, f)
	return &spoolArena{s: s, f: f}, nil
}

func (s *spool) Discard(tree.Content) error { return nil }

func (s *spool) Abort(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = cause
}

func (s *spool) aborted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Close gives all content up.
func (s *spool) Close() error {
	var err error
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	s.files = nil
	return err
}

type spoolArena struct {
	s  *spool
	f  *os.File
	at int64
}

func (a *spoolArena) Put(r io.Reader, size int64) (tree.Content, error) {
	if err := a.s.aborted(); err != nil {
		return nil, err
	}
	n, err := io.Copy(a.f, io.LimitReader(r, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	c := &spooled{a.f, a.at, size}
	a.at += n
	return c, err
}

func (a *spoolArena) Close() error { return nil }

type spooled struct {
	f         *os.File
	off, size int64
}

func (c *spooled) Size() int64 { return c.size }

func (c *spooled) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(c.f, c.off, c.size)), nil
}
