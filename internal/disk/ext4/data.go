package ext4

import (
	"errors"
	"fmt"
	"io"
)

// An extent is a run of blocks: len blocks of a file from block logical on lie
// at block phys of the file system.
type extent struct {
	logical uint32
	len     uint32
	phys    uint64
}

type dataState uint8

const (
	stored dataState = iota
	inUse            // an inode has these blocks
	discarded
)

// Data is content that lies in a file system being written. It implements
// tree.Content.
type Data struct {
	w     *Writer
	a     *Arena
	size  int64
	ext   []extent // by logical block; what lies between is zeros
	state dataState
	zeros bool // the first block is zeros, and placed
}

// Size is the number of bytes.
func (d *Data) Size() int64 { return d.size }

// Open returns a reader of the content, from the device. It must not be used
// after Discard.
func (d *Data) Open() (io.ReadCloser, error) {
	if d.state == discarded {
		return nil, errors.New("internal error: reading discarded content")
	}
	if err := d.a.flush(); err != nil {
		return nil, err
	}
	return io.NopCloser(newContentReader(d.w.dev, d.ext, d.size)), nil
}

// newContentReader reads a file of the given extents; with this package's block size.
func newContentReader(r io.ReaderAt, ext []extent, size int64) *io.SectionReader {
	return io.NewSectionReader(&extentReader{r: r, ext: ext, bits: blockBits}, 0, size)
}

type extentReader struct {
	r    io.ReaderAt
	ext  []extent
	bits uint // of the block size
}

// ReadAt reads across extents and fills holes with zeros. The section around it
// keeps reads within the size.
func (x *extentReader) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		k, phys := x.at(off + int64(n))
		part := p[n:min(int64(len(p)), int64(n)+k)]
		if phys < 0 {
			clear(part)
		} else if m, err := x.r.ReadAt(part, phys); err != nil && !(errors.Is(err, io.EOF) && m == len(part)) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n + m, fmt.Errorf("reading %d bytes at offset %d of the file system: %w", len(part), phys, err)
		}
		n += len(part)
	}
	return n, nil
}

// at returns how many bytes from off on lie together, and their offset on the
// device; -1 for zeros.
func (x *extentReader) at(off int64) (n, phys int64) {
	lo, hi := 0, len(x.ext)
	for lo < hi { // the first extent that ends behind off
		mid := (lo + hi) / 2
		if e := x.ext[mid]; (int64(e.logical)+int64(e.len))<<x.bits <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(x.ext) {
		return 1<<62 - off, -1
	}
	e := x.ext[lo]
	start := int64(e.logical) << x.bits
	if off < start {
		return start - off, -1
	}
	return start + int64(e.len)<<x.bits - off, int64(e.phys)<<x.bits + off - start
}

// An Extent is a run of a content's bytes: Len of them from At on lie at Off of
// the file system's device. What lies between extents is zeros.
type Extent struct{ At, Off, Len int64 }

// Extents tell where the content lies, ascending; ok is false once it is given back.
func (d *Data) Extents() (es []Extent, ok bool) {
	if d.state == discarded {
		return nil, false
	}
	for _, e := range d.ext {
		es = append(es, Extent{At: int64(e.logical) << blockBits, Off: int64(e.phys) << blockBits, Len: int64(e.len) << blockBits})
	}
	return es, true
}
