package sysroot

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// A View is the merged tree as the image's own programs see it: /etc is where
// containers have it. Paths are clean and relative, "" or "." is the root.
type View struct{ root *dir }

// View returns the merged tree of the image.
func (t *Tree) View() *View {
	root := &dir{children: make(map[string]*node, len(t.root.children)+1)}
	root.setAttrs(t.root)
	for name, n := range t.root.children {
		root.children[name] = n
	}
	usr := t.root.children["usr"]
	if usr == nil || usr.dir == nil || usr.dir.children["etc"] == nil {
		return &View{root}
	}
	plain := &dir{children: make(map[string]*node, len(usr.dir.children))}
	plain.setAttrs(usr.dir)
	for name, n := range usr.dir.children {
		if name != "etc" {
			plain.children[name] = n
		}
	}
	root.children["etc"] = usr.dir.children["etc"]
	root.children["usr"] = &node{dir: plain}
	return &View{root}
}

// maxSymlinks is the kernel's limit on links followed for one path.
const maxSymlinks = 40

// resolve finds a path, following symbolic links in all components but the last.
func (v *View) resolve(p string) (*node, error) {
	return v.walk(p, 0)
}

func (v *View) walk(p string, links int) (*node, error) {
	if links > maxSymlinks {
		return nil, fmt.Errorf("%s: too many symbolic links", p)
	}
	clean := strings.TrimPrefix(path.Clean("/"+p), "/")
	n := &node{dir: v.root}
	if clean == "" {
		return n, nil
	}
	parts := strings.Split(clean, "/")
	for i, name := range parts {
		if n.dir == nil {
			return nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
		}
		if n = n.dir.children[name]; n == nil {
			return nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
		}
		if i < len(parts)-1 && n.file != nil && n.file.symlink {
			to := n.file.target
			if !strings.HasPrefix(to, "/") {
				to = "/" + strings.Join(parts[:i], "/") + "/" + to
			}
			return v.walk(to+"/"+strings.Join(parts[i+1:], "/"), links+1)
		}
	}
	return n, nil
}

// Lookup returns the entry of a path, which is not followed when it is a
// symbolic link itself. The error is fs.ErrNotExist where there is nothing.
func (v *View) Lookup(p string) (tree.Entry, error) {
	n, err := v.resolve(p)
	if err != nil {
		return tree.Entry{}, err
	}
	return n.entry(strings.TrimPrefix(path.Clean("/"+p), "/")), nil
}

func (n *node) entry(p string) tree.Entry {
	if p == "" {
		p = "."
	}
	if d := n.dir; d != nil {
		return tree.Entry{Path: p, Mode: fs.ModeDir | fsPerm(d.perm), UID: int(d.uid), GID: int(d.gid), Xattrs: d.xattrs}
	}
	f := n.file
	e := tree.Entry{Path: p, Mode: f.fsMode(), UID: int(f.uid), GID: int(f.gid), Xattrs: f.xattrs, Link: f.target, Content: f.data}
	return e
}

// Lstat returns the type and the permission bits of a path.
func (v *View) Lstat(p string) (fs.FileMode, error) {
	e, err := v.Lookup(p)
	return e.Mode, err
}

// ReadFile returns the content of a regular file of at most 64 MiB.
func (v *View) ReadFile(p string) ([]byte, error) {
	e, err := v.Lookup(p)
	if err != nil {
		return nil, err
	}
	if !e.Mode.IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", p)
	}
	b, err := tree.ReadAll(e.Content, 64<<20)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p, err)
	}
	return b, nil
}

// Open returns a reader over a regular file.
func (v *View) Open(p string) (io.ReadCloser, error) {
	e, err := v.Lookup(p)
	if err != nil {
		return nil, err
	}
	if !e.Mode.IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", p)
	}
	if e.Content == nil {
		return tree.Bytes(nil).Open()
	}
	return e.Content.Open()
}

// ReadDir returns the entries of a folder in byte order of their names.
func (v *View) ReadDir(p string) ([]tree.Entry, error) {
	n, err := v.resolve(p)
	if err != nil {
		return nil, err
	}
	if n.dir == nil {
		return nil, fmt.Errorf("%s is no folder", p)
	}
	clean := strings.TrimPrefix(path.Clean("/"+p), "/")
	out := make([]tree.Entry, 0, len(n.dir.children))
	for _, name := range n.dir.names() {
		out = append(out, n.dir.children[name].entry(join(clean, name)))
	}
	return out, nil
}

// Tree returns everything at and below the root as a stream.
func (v *View) Tree() tree.Stream {
	return func(yield func(tree.Entry, error) bool) { v.emit(&node{dir: v.root}, "", yield) }
}

func (v *View) emit(n *node, p string, yield func(tree.Entry, error) bool) bool {
	if !yield(n.entry(p), nil) {
		return false
	}
	if n.dir == nil {
		return true
	}
	for _, name := range n.dir.names() {
		if !v.emit(n.dir.children[name], join(p, name), yield) {
			return false
		}
	}
	return true
}
