// Package tree is the one language in which stages hand file trees to each
// other: a stream of entries, parents before children. It holds no content and
// refuses nothing but malformed paths; what a tree means is its users' business.
package tree

import (
	"io"
	"io/fs"
	"iter"
	"time"
)

// An Entry is one name in a tree.
type Entry struct {
	// Path is clean, slash-separated and relative; "." is the root.
	Path string
	// Mode is the type and the permission bits, setuid, setgid and sticky
	// included, in the encoding of package io/fs.
	Mode    fs.FileMode
	UID     int
	GID     int
	ModTime time.Time
	// Xattrs maps full names ("security.selinux") to raw values.
	Xattrs map[string][]byte
	// Link is the target of a symbolic link, or for a hard link the Path of
	// the entry that came earlier in the stream and whose inode this shares.
	// A hard link has the Mode of a regular file and a non-empty Link; what it
	// shares may be a regular file or a symbolic link.
	Link string
	// Rdev is the device number of a device node: major, minor.
	Rdev [2]uint32
	// Immutable asks the file system for its immutable flag.
	Immutable bool
	// Content is the bytes of a regular file; nil is the empty file.
	Content Content
}

// Content is the bytes of one regular file. A sink that has already stored a
// content (see disk/ext4) recognises its own value by type and does not read it again.
type Content interface {
	Size() int64
	// Open may be called more than once, and from several goroutines.
	Open() (io.ReadCloser, error)
}

// A Stream yields parents before children and siblings in byte order of their
// names, starting with ".". It stops at the first error it yields.
type Stream = iter.Seq2[Entry, error]

// IsHardLink reports whether e is a further name of an earlier file or symbolic link.
func (e *Entry) IsHardLink() bool { return e.Mode.IsRegular() && e.Link != "" }
