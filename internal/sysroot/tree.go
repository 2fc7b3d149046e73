package sysroot

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/selinux"
	"github.com/aitheros/aither-image/internal/tree"
)

// A Tree is what the layers of an image add up to, with its content in a Store.
type Tree struct {
	Image   *layer.Image
	store   Store
	layers  []*layerTree
	kinds   []layerKind
	base    *base // nil for a plain image
	root    *dir  // the merged tree
	policy  *selinux.Policy
	workers int
	sums    map[labelled]ostree.Checksum // of the deployed repository
}

// base is the ostree commit that an encapsulated image is made of.
type base struct {
	sum   ostree.Checksum
	files map[ostree.Checksum]*file
	metas map[ostree.Checksum]metaObject
	det   []byte
}

// Read reads all layers of an image into the store and merges them.
func Read(ctx context.Context, im *layer.Image, store Store, opts ReadOptions) (*Tree, error) {
	if err := checkBootable(im); err != nil {
		return nil, err
	}
	kinds, err := classify(im)
	if err != nil {
		return nil, err
	}
	if opts.Workers <= 0 {
		opts.Workers = 4
	}
	in := &ingest{im: im, store: store, opts: opts, kinds: kinds, report: &meter{r: progress.From(ctx)}}
	for _, l := range im.Layers {
		in.report.total += l.Size
	}
	in.report.start(len(im.Layers))
	layers, err := in.readLayers(ctx)
	if err != nil {
		return nil, err
	}
	t := &Tree{Image: im, store: store, layers: layers, kinds: kinds, workers: opts.Workers}
	if err := t.merge(); err != nil {
		return nil, err
	}
	t.policy, err = loadPolicy(func(path string) ([]byte, error) { return t.root.read(path, maxPolicy) })
	if err != nil {
		return nil, fmt.Errorf("reading the SELinux policy of the image: %w", err)
	}
	return t, nil
}

func (t *Tree) merge() error {
	if t.kinds[0] == baseCommit {
		if err := t.mergeBase(); err != nil {
			return err
		}
	}
	for i, l := range t.layers {
		if t.kinds[i] != derived {
			continue
		}
		if t.root == nil {
			t.root = newDir()
			t.root.setAttrs(l.root)
		}
		union(t.root, l.root)
	}
	dropLeftovers(t.root)
	return nil
}

func (t *Tree) mergeBase() error {
	b := &base{files: map[ostree.Checksum]*file{}, metas: map[ostree.Checksum]metaObject{}}
	for i, l := range t.layers {
		if t.kinds[i] == derived {
			continue
		}
		for sum, f := range l.encap.files {
			if b.files[sum] == nil {
				b.files[sum] = f
			}
		}
		for sum, m := range l.encap.metas {
			b.metas[sum] = m
		}
	}
	b.sum, b.det = *t.layers[0].encap.commit, t.layers[0].encap.detach
	t.base = b
	c, err := ostree.ParseCommit(b.metas[b.sum].data)
	if err != nil {
		return fmt.Errorf("reading base commit %s: %w", b.sum, err)
	}
	left := maxTreeDirs
	if t.root, err = b.dir(c.Root, c.RootMeta, 0, &left); err != nil {
		return fmt.Errorf("reading the tree of base commit %s: %w", b.sum, err)
	}
	if !t.allowsNonUsr() {
		for i, l := range t.layers {
			if t.kinds[i] == derived {
				keepUsr(l.root)
			}
		}
	}
	return nil
}

// Trees refer to trees, so that a few small objects can describe a tree that
// is larger than any memory: depth and number of folders are bounded.
const (
	maxTreeDepth = 512
	maxTreeDirs  = 2_000_000
)

func (b *base) dir(treeSum, metaSum ostree.Checksum, depth int, left *int) (*dir, error) {
	if depth > maxTreeDepth {
		return nil, fmt.Errorf("more than %d folders deep", maxTreeDepth)
	}
	if *left--; *left < 0 {
		return nil, fmt.Errorf("more than %d folders", maxTreeDirs)
	}
	m, err := ostree.ParseDirMeta(b.metas[metaSum].data)
	if err != nil {
		return nil, fmt.Errorf("dirmeta %s: %w", metaSum, err)
	}
	dt, err := ostree.ParseDirTree(b.metas[treeSum].data)
	if err != nil {
		return nil, fmt.Errorf("dirtree %s: %w", treeSum, err)
	}
	d := &dir{uid: m.UID, gid: m.GID, perm: m.Mode & 0o7777, children: make(map[string]*node, len(dt.Files)+len(dt.Dirs))}
	d.xattrs, d.own = splitLabel(m.Xattrs)
	for _, f := range dt.Files {
		obj := b.files[f.File]
		if obj == nil {
			return nil, fmt.Errorf("object %s of %q is in no layer", f.File, f.Name)
		}
		d.children[f.Name] = &node{file: obj}
	}
	for _, e := range dt.Dirs {
		sub, err := b.dir(e.Tree, e.Meta, depth+1, left)
		if err != nil {
			return nil, fmt.Errorf("%s/%w", e.Name, err)
		}
		d.children[e.Name] = &node{dir: sub}
	}
	return d, nil
}

// allowsNonUsr tells whether folders beside /usr of derived layers are kept:
// only where the base shows them, which takes composefs or a transient root.
func (t *Tree) allowsNonUsr() bool {
	b, err := t.root.read("usr/lib/ostree/prepare-root.conf", 1<<20)
	if err != nil {
		return false
	}
	c := parseKeyFile(b)
	switch strings.ToLower(c["composefs"]["enabled"]) {
	case "yes", "true", "1", "maybe", "verity", "signed":
		return true
	}
	switch strings.ToLower(c["root"]["transient"]) {
	case "yes", "true", "1":
		return true
	}
	return false
}

func keepUsr(d *dir) {
	for name := range d.children {
		if filter(name, false) == skip {
			delete(d.children, name)
		}
	}
}

// parseKeyFile reads the groups of a GKeyFile; later keys win.
func parseKeyFile(b []byte) map[string]map[string]string {
	out := map[string]map[string]string{}
	group := ""
	for _, line := range bytes.Split(b, []byte("\n")) {
		l := strings.TrimSpace(string(line))
		if l == "" || l[0] == '#' {
			continue
		}
		if l[0] == '[' && l[len(l)-1] == ']' {
			group = l[1 : len(l)-1]
			continue
		}
		k, v, ok := strings.Cut(l, "=")
		if !ok {
			continue
		}
		if out[group] == nil {
			out[group] = map[string]string{}
		}
		out[group][strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	return out
}

// label is the raw security.selinux value for a path of the tree, "" for
// none; own is what the layer brought, which stays where there is no policy. A
// base commit without derived layers is labelled anew too, as ostree-ext does.
func (t *Tree) label(path string, mode modeBits, own string) string {
	if t.policy == nil {
		return own
	}
	return t.policyLabel("/"+path, mode)
}

func (t *Tree) policyLabel(path string, mode modeBits) string {
	if t.policy == nil {
		return ""
	}
	l, ok := t.policy.Label(path, mode)
	if !ok {
		return ""
	}
	return l + "\x00"
}

// discardUnused gives back the content that no object of the repository holds.
func (t *Tree) discardUnused(used map[tree.Content]bool) error {
	for _, l := range t.layers {
		for _, c := range l.created {
			if used[c] {
				continue
			}
			if err := t.store.Discard(c); err != nil {
				return fmt.Errorf("giving back content that the image does not show: %w", err)
			}
		}
	}
	return nil
}
