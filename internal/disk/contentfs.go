package disk

import (
	"io"
	"io/fs"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// contentFS shows one folder of contents as a file system to read from.
type contentFS map[string]tree.Content

// Open opens a file by its name.
func (c contentFS) Open(name string) (fs.File, error) {
	t, ok := c[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if t == nil {
		t = tree.Bytes(nil)
	}
	r, err := t.Open()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &contentFile{ReadCloser: r, name: name, size: t.Size()}, nil
}

type contentFile struct {
	io.ReadCloser
	name string
	size int64
}

func (f *contentFile) Stat() (fs.FileInfo, error) { return contentInfo{f}, nil }

type contentInfo struct{ f *contentFile }

func (i contentInfo) Name() string       { return i.f.name }
func (i contentInfo) Size() int64        { return i.f.size }
func (i contentInfo) Mode() fs.FileMode  { return 0o444 }
func (i contentInfo) ModTime() time.Time { return time.Time{} }
func (i contentInfo) IsDir() bool        { return false }
func (i contentInfo) Sys() any           { return nil }
