package fat

import (
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// A node is a file or a directory with its place.
type node struct {
	path    string
	name    name
	dir     bool
	kids    []*node
	parent  *node // nil for the root
	content tree.Content
	time    time.Time
	first   int64 // number of the first cluster; 0 for none
	size    int64 // bytes: of a file its own, of a directory its entries'
	namer   *namer
}

// collect reads a whole stream; only contents stay where they are.
func collect(s tree.Stream, o Options) (root *node, all []*node, err error) {
	root = &node{path: ".", dir: true, time: o.Time, namer: newNamer()}
	all = []*node{root}
	byPath := map[string]*node{".": root}
	for e, err := range s {
		if err != nil {
			return nil, nil, err
		}
		if e.Path == "." {
			continue
		}
		if len(all) > maxEntries {
			return nil, nil, fmt.Errorf("the tree has more than %d entries", maxEntries)
		}
		n, err := newNode(e, o, byPath)
		if err != nil {
			return nil, nil, fmt.Errorf("placing %q: %w", e.Path, err)
		}
		byPath[e.Path] = n
		all = append(all, n)
	}
	for _, n := range all {
		if n.dir {
			n.size = n.dirBytes(o)
		}
	}
	return root, all, nil
}

func newNode(e tree.Entry, o Options, byPath map[string]*node) (*node, error) {
	parent := byPath[path.Dir(e.Path)]
	if parent == nil || !parent.dir {
		return nil, fmt.Errorf("its folder is not in the tree before it")
	}
	n := &node{path: e.Path, parent: parent, time: e.ModTime, dir: e.Mode.IsDir(), content: e.Content}
	if n.time.IsZero() {
		n.time = o.Time
	}
	switch {
	case n.dir:
		n.namer, n.content = newNamer(), nil
	case e.IsHardLink():
		target := byPath[e.Link]
		if target == nil || target.dir {
			return nil, fmt.Errorf("it is a further name of %q, which is no file before it", e.Link)
		}
		n.content = target.content // FAT has no links: a copy
	case !e.Mode.IsRegular():
		return nil, fmt.Errorf("FAT cannot hold a %s", kind(e.Mode))
	}
	if n.content != nil {
		n.size = n.content.Size()
	}
	if n.size > maxFile {
		return nil, fmt.Errorf("%d bytes are more than a file on FAT can have (%d)", n.size, maxFile)
	}
	var err error
	if n.name, err = parent.namer.add(path.Base(e.Path)); err != nil {
		return nil, err
	}
	parent.kids = append(parent.kids, n)
	return n, nil
}

func kind(m fs.FileMode) string {
	switch m.Type() {
	case fs.ModeSymlink:
		return "symbolic link"
	case fs.ModeNamedPipe:
		return "named pipe"
	case fs.ModeSocket:
		return "socket"
	}
	return "device"
}

// dirBytes is the size of a directory's entries.
func (n *node) dirBytes(o Options) int64 {
	count := int64(2) // "." and ".."
	if n.parent == nil {
		count = 0
		if o.Label != "" {
			count = 1
		}
	}
	for _, k := range n.kids {
		count += k.name.entries()
	}
	return count * dirEntrySize
}

// place gives every node its clusters, one file after the other, and returns
// the number of clusters in use.
func (g *geometry) place(root *node, all []*node) (int64, error) {
	next := int64(2)
	for _, n := range all {
		if n.dir && n.size > maxDirEntries*dirEntrySize {
			return 0, fmt.Errorf("folder %q: its entries take %d bytes, FAT allows %d", n.path, n.size, maxDirEntries*dirEntrySize)
		}
		count := g.clustersFor(n.size)
		if n == root && g.bits == 32 || n != root && n.dir {
			count = max(count, 1)
		}
		if n == root && g.bits != 32 {
			if n.size > g.rootEntries*dirEntrySize {
				return 0, fmt.Errorf("the top folder's entries take %d bytes, FAT%d allows %d", n.size, g.bits, g.rootEntries*dirEntrySize)
			}
			count = 0
		}
		if count > 0 {
			n.first = next
		}
		next += count
	}
	if used := next - 2; used > g.clusters {
		return 0, &FullError{Needed: used * g.cluster, Free: g.clusters * g.cluster}
	}
	return next - 2, nil
}
