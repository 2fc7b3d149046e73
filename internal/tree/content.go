package tree

import (
	"bytes"
	"io"
	"strings"
)

// Bytes is content that is held in memory.
type Bytes []byte

// Size is the number of bytes.
func (b Bytes) Size() int64 { return int64(len(b)) }

// Open returns a reader over the bytes; it never fails.
func (b Bytes) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }

// Text is content that is held in memory as a string.
type Text string

// Size is the number of bytes.
func (t Text) Size() int64 { return int64(len(t)) }

// Open returns a reader over the text; it never fails.
func (t Text) Open() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(t))), nil }

// ReadAll returns the bytes of c, at most limit of them; more is an error.
func ReadAll(c Content, limit int64) ([]byte, error) {
	if c == nil {
		return nil, nil
	}
	if c.Size() > limit {
		return nil, &TooLargeError{Size: c.Size(), Limit: limit}
	}
	r, err := c.Open()
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == nil && int64(len(b)) > limit {
		err = &TooLargeError{Size: int64(len(b)), Limit: limit}
	}
	return b, err
}
