package sysroot_test

import (
	"fmt"
	"io"
	"sync"

	"github.com/aitheros/aither-image/internal/sysroot"
	"github.com/aitheros/aither-image/internal/tree"
)

// memory is a store that holds everything and counts what it is told.
type memory struct {
	mu        sync.Mutex
	arenas    int
	open      int
	stored    int
	discarded int
	aborted   error
}

func (m *memory) NewArena(int64) (sysroot.Arena, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arenas++
	m.open++
	return &memoryArena{m: m}, nil
}

func (m *memory) Discard(c tree.Content) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := c.(*memoryContent)
	if b.discarded {
		return fmt.Errorf("discarded twice")
	}
	b.discarded = true
	m.discarded++
	return nil
}

func (m *memory) Abort(cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.aborted = cause
}

type memoryArena struct {
	m      *memory
	closed bool
}

func (a *memoryArena) Put(r io.Reader, size int64) (tree.Content, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != size {
		return nil, fmt.Errorf("got %d bytes, want %d", len(b), size)
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.m.stored++
	return &memoryContent{Bytes: b}, nil
}

func (a *memoryArena) Close() error {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if !a.closed {
		a.m.open--
	}
	a.closed = true
	return nil
}

type memoryContent struct {
	tree.Bytes
	discarded bool
}

func (c *memoryContent) Open() (io.ReadCloser, error) {
	if c.discarded {
		return nil, fmt.Errorf("reading discarded content")
	}
	return c.Bytes.Open()
}
