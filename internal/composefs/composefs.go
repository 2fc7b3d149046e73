// Package composefs writes and reads the metadata images that composefs mounts:
// EROFS file systems whose regular files point into an object store. What it
// writes equals libcomposefs' output byte for byte. It refuses file content
// within the image, hard links and time stamps other than zero.
//
// Formats: libcomposefs 1.0 (format version 1, image versions 0 and 1) on top of
// the kernel's Documentation/filesystems/erofs.rst.
package composefs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Node is one file, directory, symbolic link or device of the tree.
type Node struct {
	Name     string // within the parent; the root has none
	Mode     uint32 // st_mode: type and permissions
	UID, GID uint32
	// Xattrs maps full names to values. Trees may share one map between nodes;
	// it is never changed.
	Xattrs map[string][]byte
	// Size of a regular file in bytes; of other types it is not read.
	Size uint64
	// Payload is where a regular file's content lies below the object store,
	// such as "aa/bb….file"; "" for none. Empty files need none.
	Payload string
	// Target of a symbolic link.
	Target string
	// Rdev is a device's number as Linux encodes it in 32 bits. A character
	// device with number 0 is a whiteout, and stored as overlayfs wants it escaped.
	Rdev uint32
	// Children of a directory, in any order.
	Children []*Node
}

// File types of Node.Mode, as in st_mode.
const (
	typeMask    = 0o170000
	typeSocket  = 0o140000
	typeSymlink = 0o120000
	typeRegular = 0o100000
	typeBlock   = 0o060000
	typeDir     = 0o040000
	typeChar    = 0o020000
	typeFIFO    = 0o010000
)

const (
	maxName   = 255
	maxTarget = 4095
)

func (n *Node) typ() uint32      { return n.Mode & typeMask }
func (n *Node) isDir() bool      { return n.typ() == typeDir }
func (n *Node) isWhiteout() bool { return n.typ() == typeChar && n.Rdev == 0 }

// External reports whether the node is a regular file with content, which the
// image does not hold.
func (n *Node) External() bool { return n.typ() == typeRegular && n.Size > 0 }

// Child returns the child with a name, or nil.
func (n *Node) Child(name string) *Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// EnsureDirs adds the empty directories that are missing below n, with mode 0755
// and owner root. A deployment's image has "usr", "etc", "boot", "var" and "sysroot".
func (n *Node) EnsureDirs(names ...string) {
	for _, name := range names {
		if n.Child(name) == nil {
			n.Children = append(n.Children, &Node{Name: name, Mode: typeDir | 0o755})
		}
	}
}

// DeploymentDirs are the directories that ostree adds to a deployment's image.
func DeploymentDirs() []string { return []string{"usr", "etc", "boot", "var", "sysroot"} }

// check reports why the format cannot hold a node.
func (n *Node) check() error {
	switch n.typ() {
	case typeRegular:
		if bits := chunkBits(n.Size); n.External() && (n.Size-1)>>bits >= maxChunks {
			return fmt.Errorf("%d bytes are more than the format can describe", n.Size)
		}
	case typeSymlink:
		if n.Target == "" || len(n.Target) > maxTarget || strings.IndexByte(n.Target, 0) >= 0 {
			return fmt.Errorf("target %.100q (%d bytes) is not one that a link can have", n.Target, len(n.Target))
		}
	case typeDir, typeChar, typeBlock, typeFIFO, typeSocket:
	default:
		return fmt.Errorf("mode %#o has no file type", n.Mode)
	}
	switch {
	case n.Mode > 0xffff:
		return fmt.Errorf("mode %#o has unknown bits", n.Mode)
	case len(n.Children) > 0 && !n.isDir():
		return errors.New("it has children and is not a directory")
	case strings.IndexByte(n.Payload, 0) >= 0:
		return fmt.Errorf("payload %.100q holds a NUL", n.Payload)
	}
	size := xattrHeaderSize
	for name, value := range n.Xattrs {
		size += xattrWorst + len(name) + len(value)
	}
	if len(n.Xattrs) > 0 && size > maxXattrs {
		return fmt.Errorf("extended attributes of %d bytes, and libcomposefs takes %d", size, maxXattrs)
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "", name == ".", name == "..":
		return fmt.Errorf("%q is not a file name", name)
	case len(name) > maxName:
		return fmt.Errorf("file name %.40q… has %d bytes, and %d are allowed", name, len(name), maxName)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("file name %q holds a slash or a NUL", name)
	}
	return nil
}

// sorted returns the children in byte order of their names, checked.
func (n *Node) sorted() ([]*Node, error) {
	list := n.Children
	byName := func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(list, byName) {
		list = slices.SortedFunc(slices.Values(list), byName)
	}
	for i, c := range list {
		if err := checkName(c.Name); err != nil {
			return nil, err
		}
		if i > 0 && list[i-1].Name == c.Name {
			return nil, fmt.Errorf("file name %q occurs twice", c.Name)
		}
	}
	return list, nil
}
