// Package ostree encodes and decodes the objects, references and configuration
// of an ostree repository as plain bytes. It does no input or output of its
// own, and refuses serialised data that is not in normal form.
//
// Formats: the ostree repository format as libostree writes it, serialised with
// GVariant (https://docs.gtk.org/glib/gvariant-specification-1.0.html).
package ostree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
)

// A Checksum is a SHA-256 digest that names an object.
type Checksum [sha256.Size]byte

// String returns 64 lower-case hexadecimal digits.
func (c Checksum) String() string { return hex.EncodeToString(c[:]) }

// IsZero reports whether c was never set.
func (c Checksum) IsZero() bool { return c == Checksum{} }

// ParseChecksum reads 64 lower-case hexadecimal digits.
func ParseChecksum(s string) (Checksum, error) {
	var c Checksum
	if len(s) != 2*len(c) {
		return c, fmt.Errorf("checksum %.80q: want %d hexadecimal digits, have %d characters", s, 2*len(c), len(s))
	}
	for i := range len(s) {
		if !('0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f') {
			return c, fmt.Errorf("checksum %q: character %d is not a lower-case hexadecimal digit", s, i+1)
		}
	}
	if _, err := hex.Decode(c[:], []byte(s)); err != nil {
		return c, fmt.Errorf("checksum %q: %w", s, err)
	}
	return c, nil
}

// ChecksumOf returns the checksum of a metadata object's bytes.
func ChecksumOf(object []byte) Checksum { return sha256.Sum256(object) }

// SumOf returns the digest of a hash that NewFileHash made.
func SumOf(h hash.Hash) Checksum {
	var c Checksum
	h.Sum(c[:0])
	return c
}

// A Kind is the type of an object, as the file name's extension spells it.
type Kind string

// The kinds of object that a repository in mode "bare" may hold.
const (
	KindCommit     Kind = "commit"
	KindDirTree    Kind = "dirtree"
	KindDirMeta    Kind = "dirmeta"
	KindFile       Kind = "file"
	KindCommitMeta Kind = "commitmeta"
)

// LoosePath returns the path of an object below "objects/": two hexadecimal
// digits, a slash, the other 62, a dot and the kind.
func (c Checksum) LoosePath(k Kind) string {
	const digits = 2 * sha256.Size
	buf := make([]byte, 0, digits+2+len(k))
	buf = hex.AppendEncode(buf, c[:1])
	buf = append(buf, '/')
	buf = hex.AppendEncode(buf, c[1:])
	buf = append(buf, '.')
	return string(append(buf, k...))
}

// ObjectPath returns the path of an object below the repository.
func (c Checksum) ObjectPath(k Kind) string { return "objects/" + c.LoosePath(k) }

// File types and permissions as ostree stores them: the values of Linux's st_mode.
const (
	ModeType    = 0o170000
	ModeRegular = 0o100000
	ModeSymlink = 0o120000
	ModeDir     = 0o040000
	ModePerm    = 0o007777
	// SymlinkMode is the mode of every symbolic link.
	SymlinkMode = ModeSymlink | 0o777
)

// ModeOf converts a mode to st_mode. Only regular files, symbolic links and
// directories have one in ostree; any other type is an error.
func ModeOf(m fs.FileMode) (uint32, error) {
	out := uint32(m.Perm())
	for _, bit := range []struct {
		from fs.FileMode
		to   uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&bit.from != 0 {
			out |= bit.to
		}
	}
	switch m.Type() {
	case 0:
		return out | ModeRegular, nil
	case fs.ModeDir:
		return out | ModeDir, nil
	case fs.ModeSymlink:
		return SymlinkMode, nil
	}
	return 0, fmt.Errorf("file type %v has no place in an ostree repository", m.Type())
}

// FileMode converts st_mode to a mode; it is the inverse of ModeOf.
func FileMode(mode uint32) fs.FileMode {
	out := fs.FileMode(mode & 0o777)
	if mode&0o4000 != 0 {
		out |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		out |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		out |= fs.ModeSticky
	}
	switch mode & ModeType {
	case ModeRegular:
		return out
	case ModeDir:
		return out | fs.ModeDir
	case ModeSymlink:
		return out | fs.ModeSymlink
	}
	return out | fs.ModeIrregular
}

// MaxMetadata is the largest metadata object, in bytes, that libostree reads.
const MaxMetadata = 128 << 20

var errTooLarge = errors.New("metadata object is over the limit of 128 MiB")
