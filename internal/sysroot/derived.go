package sysroot

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aitheros/aither-image/internal/layer"
)

// A derivedLayer is an ordinary container layer while it is read. Its tree has
// the shape that "ostree commit --tree=tar --tar-autocreate-parents" gives the
// filtered archive (on-disk specification 2.4); whiteouts are kept as files.
type derivedLayer struct {
	root      *dir
	links     []hardLink
	stash     map[string]*file  // members of sysroot/ostree/repo, by archive path
	stashed   map[string]string // … and the path that the first link to each got
	allNonUsr bool
	put       func(m *layer.Member, path string, r io.Reader) (*file, error)
}

type hardLink struct{ path, target string }

const repoPrefix = "sysroot/ostree/repo/"

// skip is the path of members that the importer drops.
const skip = "\x00"

// filter maps a clean archive path to its path in the commit, or to skip.
func filter(path string, allNonUsr bool) string {
	first, rest, deep := strings.Cut(path, "/")
	switch first {
	case "", "usr", "var":
		return path
	case "etc":
		if !deep {
			return "usr/etc"
		}
		return "usr/etc/" + rest
	case "run", "tmp", "proc", "sys", "dev":
		if deep {
			return skip
		}
		return path
	}
	if allNonUsr {
		return path
	}
	return skip
}

func (l *derivedLayer) visit(m *layer.Member, r io.Reader) error {
	inRepo := strings.HasPrefix(m.Path, repoPrefix)
	if inRepo && m.MTime > 0 && m.Kind == layer.Regular {
		f, err := l.put(m, m.Path, r)
		if err == nil {
			l.stash[m.Path] = f
		}
		return err
	}
	path := filter(m.Path, l.allNonUsr)
	if path == skip {
		return nil
	}
	switch m.Kind {
	case layer.Directory:
		return l.addDir(m, path)
	case layer.Regular, layer.Symlink:
		if _, err := l.parent(m, path); err != nil {
			return err
		}
		f, err := l.put(m, path, r)
		if err != nil {
			return err
		}
		return l.add(m, path, f)
	case layer.HardLink:
		return l.addLink(m, path)
	}
	return fmt.Errorf("unsupported file type %q: only folders, files and links can be part of an image", m.Type)
}

// addLink keeps a hard link for the end of the layer. Container engines write
// the files of an ostree base again as links into its repository; those get
// the content that was kept aside.
func (l *derivedLayer) addLink(m *layer.Member, path string) error {
	if strings.HasPrefix(m.Link, repoPrefix) && m.MTime > 0 {
		f, ok := l.stash[m.Link]
		if !ok {
			return nil
		}
		if first, ok := l.stashed[m.Link]; ok {
			l.links = append(l.links, hardLink{path, first})
			return nil
		}
		l.stashed[m.Link] = path
		return l.add(m, path, f)
	}
	target := filter(m.Link, l.allNonUsr)
	if target == skip {
		return fmt.Errorf("hard link to %q, which is not part of the image", m.Link)
	}
	if _, err := l.parent(m, path); err != nil {
		return err
	}
	l.links = append(l.links, hardLink{path, target})
	return nil
}

func (l *derivedLayer) addDir(m *layer.Member, path string) error {
	d := l.root
	if path != "" {
		parent, err := l.parent(m, path)
		if err != nil {
			return err
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		n := parent.children[name]
		switch {
		case n == nil:
			n = &node{dir: newDir()}
			parent.children[name] = n
		case n.dir == nil:
			return errors.New("a folder in the place of a file of the same layer")
		}
		d = n.dir
	}
	d.uid, d.gid, d.perm = m.UID, m.GID, m.Perm
	d.xattrs, d.own = splitLabel(m.Xattrs)
	return nil
}

func (l *derivedLayer) add(m *layer.Member, path string, f *file) error {
	parent, err := l.parent(m, path)
	if err != nil {
		return err
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	if n := parent.children[name]; n != nil && n.dir != nil {
		return errors.New("a file in the place of a folder of the same layer")
	}
	parent.children[name] = &node{file: f}
	return nil
}

// parent finds the folder that holds path. When a folder on the way is
// missing, all of them, the root too, take the owner of the entry and mode
// 0755: that is what the real importer does.
func (l *derivedLayer) parent(m *layer.Member, path string) (*dir, error) {
	parts := strings.Split(path, "/")
	parts = parts[:len(parts)-1]
	d, missing := l.root, false
	for _, p := range parts {
		n := d.children[p]
		if n == nil {
			missing = true
			break
		}
		if n.dir == nil {
			return nil, fmt.Errorf("%q on its path is no folder", p)
		}
		d = n.dir
	}
	if !missing {
		return d, nil
	}
	d = l.root
	implicit(d, m)
	for _, p := range parts {
		n := d.children[p]
		if n == nil {
			n = &node{dir: newDir()}
			d.children[p] = n
		}
		if n.dir == nil {
			return nil, fmt.Errorf("%q on its path is no folder", p)
		}
		d = n.dir
		implicit(d, m)
	}
	return d, nil
}

func implicit(d *dir, m *layer.Member) {
	d.uid, d.gid, d.perm, d.xattrs, d.own = m.UID, m.GID, 0o755, nil, ""
}

// finish resolves the hard links by path inside the layer's final tree.
func (l *derivedLayer) finish() error {
	for _, h := range l.links {
		n := l.root.lookup(h.target)
		if n == nil || n.file == nil {
			return fmt.Errorf("hard link %q: its target %q is not in the same layer", h.path, h.target)
		}
		if err := l.add(&layer.Member{}, h.path, n.file); err != nil {
			return fmt.Errorf("hard link %q: %w", h.path, err)
		}
	}
	return nil
}
