package ostree

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
)

// Xattrs maps the full names of extended attributes to their raw values.
type Xattrs map[string][]byte

const typeXattrs = "a(ayay)"

// Encode serialises the attributes, sorted by name.
func (x Xattrs) Encode() []byte { return appendXattrs(nil, x) }

// ParseXattrs reads what Encode writes. Names must be sorted, unique and
// neither empty nor without their NUL.
func ParseXattrs(b []byte) (Xattrs, error) {
	if len(b) > MaxMetadata {
		return nil, errTooLarge
	}
	x := Xattrs{}
	last := ""
	err := children(typeXattrs, b, func(m member) error {
		pair, err := split(m.typ, m.b)
		if err != nil {
			return err
		}
		name := string(pair[0])
		if len(name) < 2 || strings.IndexByte(name, 0) != len(name)-1 {
			return fmt.Errorf("attribute name %.80q does not end with its only NUL", name)
		}
		name = name[:len(name)-1]
		if name <= last {
			return fmt.Errorf("attribute %.80q follows %.80q: not sorted", name, last)
		}
		last, x[name] = name, slices.Clone(pair[1])
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading extended attributes: %w", err)
	}
	return x, nil
}

func appendXattrs(b []byte, x Xattrs) []byte {
	if len(x) == 0 {
		return b
	}
	var few [8]string
	names := few[:0]
	for name := range x {
		names = append(names, name)
	}
	slices.Sort(names)
	var fewEnds [8]int
	ends := fewEnds[:0]
	start := len(b)
	for _, name := range names {
		pair := len(b)
		b = appendString(b, name)
		end := len(b) - pair
		b = append(b, x[name]...)
		b = appendTupleOffsets(b, pair, end)
		ends = append(ends, len(b)-start)
	}
	return appendOffsets(b, start, ends)
}

// A FileHeader is what a content object's checksum covers besides the content.
type FileHeader struct {
	UID, GID uint32
	Mode     uint32 // st_mode, type included: ModeRegular or ModeSymlink
	Symlink  string // the target of a symbolic link
	Xattrs   Xattrs
}

// Encode serialises the header. It is part of no file, only of the checksum.
func (h FileHeader) Encode() []byte { return h.append(nil) }

func (h FileHeader) append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, h.UID)
	b = binary.BigEndian.AppendUint32(b, h.GID)
	b = binary.BigEndian.AppendUint32(b, h.Mode)
	b = binary.BigEndian.AppendUint32(b, 0) // rdev
	b = appendString(b, h.Symlink)
	end := len(b) - start
	b = appendXattrs(b, h.Xattrs)
	return appendTupleOffsets(b, start, end)
}

// Check reports what would make the header's object one that libostree refuses.
func (h FileHeader) Check() error {
	switch {
	case h.Mode&ModeType == ModeRegular && h.Symlink != "":
		return errors.New("regular file with a link target")
	case h.Mode&^(ModeType|ModePerm) != 0, h.Mode&ModeType != ModeRegular && h.Mode != SymlinkMode:
		return fmt.Errorf("mode %#o is neither a regular file's nor a symbolic link's", h.Mode)
	case h.Mode&ModeType == ModeSymlink && h.Symlink == "":
		return errors.New("symbolic link without a target")
	}
	return checkText("link target", h.Symlink)
}

var headers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// NewFileHash returns a SHA-256 that has already taken in the header. Write the
// content of a regular file to it, and nothing for a symbolic link; SumOf then
// gives the checksum of the content object.
func NewFileHash(h FileHeader) hash.Hash {
	buf := headers.Get().(*[]byte)
	defer headers.Put(buf)
	b := append((*buf)[:0], 0, 0, 0, 0, 0, 0, 0, 0)
	b = h.append(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-8))
	*buf = b
	d := sha256.New()
	d.Write(b) // a hash never fails
	return d
}

// FileChecksum returns the checksum of a content object that is at hand whole.
func FileChecksum(h FileHeader, content []byte) Checksum {
	d := NewFileHash(h)
	d.Write(content)
	return SumOf(d)
}
