package sysroot

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/tree"
)

// Types of files as stat(2) has them.
const (
	sIFREG = 0o100000
	sIFLNK = 0o120000
	sIFDIR = 0o040000
)

const selinuxXattr = "security.selinux"

// A file is one regular file or symbolic link as a layer brought it.
type file struct {
	uid, gid uint32
	perm     uint32 // 07777
	symlink  bool
	target   string
	xattrs   map[string][]byte // without security.selinux
	own      string            // the raw security.selinux of the layer, "" for none
	size     int64
	data     tree.Content // nil for symbolic links and empty files

	// sum is the object's checksum under the raw label guess, if hashed.
	hashed bool
	guess  string
	sum    ostree.Checksum
}

func (f *file) mode() uint32 {
	if f.symlink {
		return sIFLNK | 0o777
	}
	return sIFREG | f.perm
}

func (f *file) fsMode() fs.FileMode {
	if f.symlink {
		return fs.ModeSymlink | 0o777
	}
	return fsPerm(f.perm)
}

// header is what ostree hashes before the content.
func (f *file) header(label string) ostree.FileHeader {
	return ostree.FileHeader{UID: f.uid, GID: f.gid, Mode: f.mode(), Symlink: f.target, Xattrs: withLabel(f.xattrs, label)}
}

// A dir is one folder; it owns its map of children, files are shared.
type dir struct {
	uid, gid uint32
	perm     uint32
	xattrs   map[string][]byte // without security.selinux
	own      string
	children map[string]*node
}

// A node is a folder or a file; exactly one field is set.
type node struct {
	dir  *dir
	file *file
}

func newDir() *dir { return &dir{perm: 0o755, children: make(map[string]*node)} }

// names returns the children in byte order.
func (d *dir) names() []string {
	ns := make([]string, 0, len(d.children))
	for n := range d.children {
		ns = append(ns, n)
	}
	slices.Sort(ns)
	return ns
}

// setAttrs takes over everything but the children.
func (d *dir) setAttrs(from *dir) {
	d.uid, d.gid, d.perm, d.xattrs, d.own = from.uid, from.gid, from.perm, from.xattrs, from.own
}

// lookup finds path below d without following symbolic links.
func (d *dir) lookup(path string) *node {
	n := &node{dir: d}
	if path == "" || path == "." {
		return n
	}
	for _, p := range strings.Split(path, "/") {
		if n.dir == nil {
			return nil
		}
		if n = n.dir.children[p]; n == nil {
			return nil
		}
	}
	return n
}

func withLabel(x map[string][]byte, label string) map[string][]byte {
	if label == "" {
		return x
	}
	out := make(map[string][]byte, len(x)+1)
	for k, v := range x {
		out[k] = v
	}
	out[selinuxXattr] = []byte(label)
	return out
}

// splitLabel takes security.selinux out of a layer's attributes.
func splitLabel(x map[string][]byte) (rest map[string][]byte, own string) {
	l, ok := x[selinuxXattr]
	if !ok {
		return x, ""
	}
	rest = make(map[string][]byte, len(x)-1)
	for k, v := range x {
		if k != selinuxXattr {
			rest[k] = v
		}
	}
	if len(rest) == 0 {
		rest = nil
	}
	return rest, string(l)
}

// fsPerm turns 07777 bits into io/fs's encoding.
func fsPerm(p uint32) fs.FileMode {
	m := fs.FileMode(p & 0o777)
	if p&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if p&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if p&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
