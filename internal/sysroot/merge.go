package sysroot

import "strings"

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// union lays the tree of a derived layer over dst as ostree's checkout does in
// union mode with whiteouts (on-disk specification 2.5). It differs from OCI:
// a folder that exists below keeps its own attributes.
func union(dst, src *dir) {
	names := src.names()
	for _, name := range names {
		n := src.children[name]
		if n.dir != nil {
			continue
		}
		if name == opaque {
			continue // done by the parent, before src was entered
		}
		if gone, ok := strings.CutPrefix(name, whiteout); ok && !n.file.symlink {
			delete(dst.children, gone)
			continue
		}
		dst.children[name] = &node{file: n.file}
	}
	for _, name := range names {
		n := src.children[name]
		if n.dir == nil {
			continue
		}
		have := dst.children[name]
		if have == nil || have.dir == nil || isOpaque(n.dir) {
			have = &node{dir: newDir()}
			have.dir.setAttrs(n.dir)
			dst.children[name] = have
		}
		union(have.dir, n.dir)
	}
}

func isOpaque(d *dir) bool {
	n := d.children[opaque]
	return n != nil && n.file != nil && !n.file.symlink
}

// dropLeftovers removes what container engines leave in /etc: they bind-mount
// these files while a build runs, and an empty one stays behind.
func dropLeftovers(root *dir) {
	etc := root.lookup("usr/etc")
	if etc == nil || etc.dir == nil {
		return
	}
	for _, name := range []string{"hostname", "resolv.conf"} {
		if n := etc.dir.children[name]; n != nil && n.file != nil && !n.file.symlink && n.file.size == 0 {
			delete(etc.dir.children, name)
		}
	}
}
