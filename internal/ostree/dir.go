package ostree

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A DirMeta holds the attributes of a directory.
type DirMeta struct {
	UID, GID uint32
	Mode     uint32 // st_mode, ModeDir included
	Xattrs   Xattrs
}

const typeDirMeta = "(uuua(ayay))"

// Encode serialises the object.
func (d DirMeta) Encode() []byte {
	b := make([]byte, 0, 128)
	b = binary.BigEndian.AppendUint32(b, d.UID)
	b = binary.BigEndian.AppendUint32(b, d.GID)
	b = binary.BigEndian.AppendUint32(b, d.Mode)
	return appendXattrs(b, d.Xattrs)
}

// Checksum returns the object's name.
func (d DirMeta) Checksum() Checksum { return ChecksumOf(d.Encode()) }

// ParseDirMeta reads an object of kind dirmeta.
func ParseDirMeta(b []byte) (DirMeta, error) {
	m, err := open(typeDirMeta, b)
	if err != nil {
		return DirMeta{}, fmt.Errorf("reading dirmeta: %w", err)
	}
	d := DirMeta{UID: binary.BigEndian.Uint32(m[0]), GID: binary.BigEndian.Uint32(m[1]), Mode: binary.BigEndian.Uint32(m[2])}
	if d.Mode&^ModePerm != ModeDir {
		return DirMeta{}, fmt.Errorf("reading dirmeta: mode %#o is not a directory's", d.Mode)
	}
	if d.Xattrs, err = ParseXattrs(m[3]); err != nil {
		return DirMeta{}, fmt.Errorf("reading dirmeta: %w", err)
	}
	return d, nil
}

// A FileEntry is a regular file or symbolic link of a directory.
type FileEntry struct {
	Name string
	File Checksum // of the content object
}

// A DirEntry is a subdirectory.
type DirEntry struct {
	Name string
	Tree Checksum // of the dirtree object
	Meta Checksum // of the dirmeta object
}

// A DirTree is the list of one directory's entries.
type DirTree struct {
	Files []FileEntry
	Dirs  []DirEntry
}

const typeDirTree = "(a(say)a(sayay))"

// Encode serialises the object, its entries sorted by name; d is not changed.
// The names must be what Check accepts.
func (d DirTree) Encode() []byte {
	size := 16
	files, dirs := d.Files, d.Dirs
	byFile := func(a, b FileEntry) int { return cmp.Compare(a.Name, b.Name) }
	byDir := func(a, b DirEntry) int { return cmp.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(files, byFile) {
		files = slices.SortedFunc(slices.Values(files), byFile)
	}
	if !slices.IsSortedFunc(dirs, byDir) {
		dirs = slices.SortedFunc(slices.Values(dirs), byDir)
	}
	for _, f := range files {
		size += len(f.Name) + 48
	}
	for _, d := range dirs {
		size += len(d.Name) + 80
	}
	b := make([]byte, 0, size)
	ends := make([]int, 0, max(len(files), len(dirs)))
	for _, f := range files {
		start := len(b)
		b = appendString(b, f.Name)
		end := len(b) - start
		b = append(b, f.File[:]...)
		b = appendTupleOffsets(b, start, end)
		ends = append(ends, len(b))
	}
	b = appendOffsets(b, 0, ends)
	filesEnd := len(b)
	ends = ends[:0]
	for _, d := range dirs {
		start := len(b)
		b = appendString(b, d.Name)
		end := len(b) - start
		b = append(b, d.Tree[:]...)
		b = append(b, d.Meta[:]...)
		b = appendTupleOffsets(b, start, end, end+len(d.Tree))
		ends = append(ends, len(b)-filesEnd)
	}
	b = appendOffsets(b, filesEnd, ends)
	return appendTupleOffsets(b, 0, filesEnd)
}

// Checksum returns the object's name.
func (d DirTree) Checksum() Checksum { return ChecksumOf(d.Encode()) }

// Check reports the first name that no tree may have, or that occurs twice.
func (d DirTree) Check() error {
	seen := make(map[string]struct{}, len(d.Files)+len(d.Dirs))
	check := func(name string) error {
		if err := CheckName(name); err != nil {
			return err
		}
		if _, dup := seen[name]; dup {
			return fmt.Errorf("name %q occurs twice", name)
		}
		seen[name] = struct{}{}
		return nil
	}
	for _, f := range d.Files {
		if err := check(f.Name); err != nil {
			return err
		}
	}
	for _, d := range d.Dirs {
		if err := check(d.Name); err != nil {
			return err
		}
	}
	return nil
}

// ParseDirTree reads an object of kind dirtree.
func ParseDirTree(b []byte) (DirTree, error) {
	d, err := parseDirTree(b)
	if err != nil {
		return DirTree{}, fmt.Errorf("reading dirtree: %w", err)
	}
	return d, nil
}

func parseDirTree(b []byte) (DirTree, error) {
	var d DirTree
	m, err := open(typeDirTree, b)
	if err != nil {
		return d, err
	}
	err = children("a(say)", m[0], func(e member) error {
		p, err := split(e.typ, e.b)
		if err != nil {
			return err
		}
		f := FileEntry{Name: text(p[0])}
		d.Files = append(d.Files, f)
		return copyChecksum(&d.Files[len(d.Files)-1].File, p[1], f.Name)
	})
	if err != nil {
		return d, err
	}
	err = children("a(sayay)", m[1], func(e member) error {
		p, err := split(e.typ, e.b)
		if err != nil {
			return err
		}
		sub := DirEntry{Name: text(p[0])}
		if err := copyChecksum(&sub.Tree, p[1], sub.Name); err != nil {
			return err
		}
		if err := copyChecksum(&sub.Meta, p[2], sub.Name); err != nil {
			return err
		}
		d.Dirs = append(d.Dirs, sub)
		return nil
	})
	if err != nil {
		return d, err
	}
	if !slices.IsSortedFunc(d.Files, func(a, b FileEntry) int { return cmp.Compare(a.Name, b.Name) }) ||
		!slices.IsSortedFunc(d.Dirs, func(a, b DirEntry) int { return cmp.Compare(a.Name, b.Name) }) {
		return d, fmt.Errorf("names are not sorted")
	}
	return d, d.Check()
}

// CheckName reports why libostree would refuse a file of this name: names are
// UTF-8, not empty, and neither ".", ".." nor with a slash or a NUL.
func CheckName(name string) error {
	switch {
	case name == "", name == ".", name == "..":
		return fmt.Errorf("%q is not a file name", name)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("file name %q holds a slash or a NUL", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("file name %q is not UTF-8: an ostree repository cannot hold it", name)
	}
	return nil
}

func checkText(what, s string) error {
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return fmt.Errorf("%s %.200q is not UTF-8 without NUL: an ostree repository cannot hold it", what, s)
	}
	return nil
}

// text returns a verified string without its NUL.
func text(b []byte) string { return string(b[:len(b)-1]) }

func copyChecksum(dst *Checksum, b []byte, of string) error {
	if len(b) != len(dst) {
		return fmt.Errorf("checksum of %q has %d bytes", of, len(b))
	}
	copy(dst[:], b)
	return nil
}
