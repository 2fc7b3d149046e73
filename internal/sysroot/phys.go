package sysroot

import (
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// A phys is one name of the physical root while it is put together. The large
// parts, the deployment and the objects, are not held but emitted.
type phys struct {
	entry    tree.Entry // Path is set when the entry is emitted
	labelled bool       // the entry has the label that it shall have, or none
	children map[string]*phys
	// emit writes everything below this folder instead of children.
	emit func(path string, yield func(tree.Entry) bool) bool
	// late makes the last change to the entry when it is emitted.
	late func(tree.Entry) tree.Entry
}

func physDir(perm uint32) *phys {
	return &phys{entry: tree.Entry{Mode: fs.ModeDir | fsPerm(perm)}, children: map[string]*phys{}}
}

func physFile(perm uint32, c tree.Content) *phys {
	return &phys{entry: tree.Entry{Mode: fsPerm(perm), Content: c}}
}

func physLink(target string) *phys {
	return &phys{entry: tree.Entry{Mode: fs.ModeSymlink | 0o777, Link: target}}
}

// add puts p at path below d, making folders of mode 0755 on the way.
func (d *phys) add(path string, p *phys) {
	dir, name, ok := strings.Cut(path, "/")
	if !ok {
		d.children[path] = p
		return
	}
	sub := d.children[dir]
	if sub == nil || sub.children == nil {
		sub = physDir(0o755)
		d.children[dir] = sub
	}
	sub.add(name, p)
}

// get finds path below d; nil where there is nothing.
func (d *phys) get(path string) *phys {
	if path == "" {
		return d
	}
	for _, name := range strings.Split(path, "/") {
		if d = d.children[name]; d == nil {
			return nil
		}
	}
	return d
}

// A finisher fills in what entries lack when they are emitted.
type finisher func(e *tree.Entry, labelled bool)

// walk emits d and everything below it, parents first, names in byte order.
func (d *phys) walk(path string, finish finisher, yield func(tree.Entry) bool) bool {
	e := d.entry
	e.Path = path
	if path == "" {
		e.Path = "."
	}
	finish(&e, d.labelled)
	if d.late != nil {
		e = d.late(e)
	}
	if !yield(e) {
		return false
	}
	if d.emit != nil {
		return d.emit(path, yield)
	}
	names := make([]string, 0, len(d.children))
	for n := range d.children {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if !d.children[n].walk(join(path, n), finish, yield) {
			return false
		}
	}
	return true
}

// stream makes the folder a stream of its own, with finish applied to the
// entries that it holds itself.
func (d *phys) stream(finish finisher) tree.Stream {
	return func(yield func(tree.Entry, error) bool) {
		d.walk("", finish, func(e tree.Entry) bool { return yield(e, nil) })
	}
}

// labeller returns a finish function: entries without a label get the one that
// the policy has for their physical path, entries without a time get mtime.
func (t *Tree) labeller(mtime time.Time) finisher {
	return func(e *tree.Entry, labelled bool) {
		if e.ModTime.IsZero() {
			e.ModTime = mtime
		}
		if labelled || t.policy == nil {
			return
		}
		p := "/" + e.Path
		if e.Path == "." {
			p = "/"
		}
		if p == "/ostree" { // bootc labels the folder itself like /usr
			p = "/usr"
		}
		if l := t.policyLabel(p, e.Mode); l != "" {
			e.Xattrs = withLabel(e.Xattrs, l)
		}
	}
}

// labelAs gives p the label that the policy has for another path.
func (t *Tree) labelAs(p *phys, path string) *phys {
	p.labelled = true
	if l := t.policyLabel(path, p.entry.Mode); l != "" {
		p.entry.Xattrs = withLabel(p.entry.Xattrs, l)
	}
	return p
}
