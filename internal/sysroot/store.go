package sysroot

import (
	"io"

	"github.com/aitheros/aither-image/internal/tree"
)

// A Store keeps the content of files under no name until a stream refers to it.
type Store interface {
	// NewArena opens the place for the content of one layer; hint is the
	// number of bytes to expect. Called in layer order.
	NewArena(hint int64) (Arena, error)
	// Discard gives back content that no stream will refer to.
	Discard(tree.Content) error
	// Abort makes every Put that waits or begins fail.
	Abort(cause error)
}

// An Arena takes the content of one layer from one goroutine.
type Arena interface {
	// Put stores exactly size bytes of r.
	Put(r io.Reader, size int64) (tree.Content, error)
	// Close gives the rest of the room back. Closing twice is harmless.
	Close() error
}
