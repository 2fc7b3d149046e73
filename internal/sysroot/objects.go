package sysroot

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/tree"
)

type modeBits = fs.FileMode

// An object is one file object of the repository.
type object struct {
	sum   ostree.Checksum
	file  *file
	label string
	// name is the path of the first name of the inode, once it has one, and
	// links how many names it has.
	name  string
	links int
}

// A repository collects the objects of all commits of the image.
type repository struct {
	t       *Tree
	objects map[ostree.Checksum]*object
	metas   map[ostree.Checksum]metaObject
	refs    map[string]ostree.Checksum
	sums    map[labelled]ostree.Checksum // of files whose label was guessed wrong
	content map[tree.Content]bool
}

// labelled is a file under a label: what a checksum is of.
type labelled struct {
	f     *file
	label string
}

func newRepository(t *Tree) *repository {
	return &repository{t: t, objects: map[ostree.Checksum]*object{}, metas: map[ostree.Checksum]metaObject{},
		refs: map[string]ostree.Checksum{}, sums: map[labelled]ostree.Checksum{}, content: map[tree.Content]bool{}}
}

// hash computes the checksums that reading the layers left open, on all cores.
func (r *repository) hash(ctx context.Context, trees ...*dir) error {
	var todo []labelled
	for _, d := range trees {
		r.collect(d, "", &todo)
	}
	sums := make([]ostree.Checksum, len(todo))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.t.workers)
	const batch = 64
	for at := 0; at < len(todo); at += batch {
		part := todo[at:min(at+batch, len(todo))]
		g.Go(func() error {
			for i, l := range part {
				var err error
				if sums[at+i], err = l.f.rehash(ctx, l.label); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, l := range todo {
		r.sums[l] = sums[i]
	}
	return nil
}

func (r *repository) collect(d *dir, path string, todo *[]labelled) {
	for name, n := range d.children {
		p := join(path, name)
		if n.dir != nil {
			r.collect(n.dir, p, todo)
			continue
		}
		l := labelled{n.file, r.t.label(p, n.file.fsMode(), n.file.own)}
		if n.file.hashed && n.file.guess == l.label {
			continue
		}
		if _, done := r.sums[l]; !done {
			r.sums[l] = ostree.Checksum{}
			*todo = append(*todo, l)
		}
	}
}

// object returns the object of a file under a label, adding it when new.
func (r *repository) object(f *file, label string) *object {
	sum, ok := f.sum, f.hashed && f.guess == label
	if !ok {
		sum = r.sums[labelled{f, label}]
	}
	o := r.objects[sum]
	if o == nil {
		o = &object{sum: sum, file: f, label: label}
		r.objects[sum] = o
		if f.data != nil {
			r.content[f.data] = true
		}
	}
	if f.data != nil && !r.content[f.data] {
		f.data = o.file.data // the same bytes, and the ones that stay
	}
	return o
}

// addTree adds all objects of a tree and returns its root's checksums. Folders
// are entered in order, so that the first name decides about shared content.
func (r *repository) addTree(d *dir, path string) (root, meta ostree.Checksum) {
	var dt ostree.DirTree
	for _, name := range d.names() {
		n, p := d.children[name], join(path, name)
		if n.dir != nil {
			t, m := r.addTree(n.dir, p)
			dt.Dirs = append(dt.Dirs, ostree.DirEntry{Name: name, Tree: t, Meta: m})
			continue
		}
		o := r.object(n.file, r.t.label(p, n.file.fsMode(), n.file.own))
		dt.Files = append(dt.Files, ostree.FileEntry{Name: name, File: o.sum})
	}
	dm := ostree.DirMeta{UID: d.uid, GID: d.gid, Mode: sIFDIR | d.perm, Xattrs: withLabel(d.xattrs, r.t.dirLabel(d, path))}
	return r.addMeta(ostree.KindDirTree, dt.Encode()), r.addMeta(ostree.KindDirMeta, dm.Encode())
}

func (t *Tree) dirLabel(d *dir, path string) string {
	return t.label(path, fs.ModeDir|fsPerm(d.perm), d.own)
}

func (r *repository) addMeta(kind ostree.Kind, b []byte) ostree.Checksum {
	sum := ostree.ChecksumOf(b)
	if _, ok := r.metas[sum]; !ok {
		r.metas[sum] = metaObject{kind, b}
	}
	return sum
}

func (r *repository) addCommit(c ostree.Commit) ostree.Checksum {
	return r.addMeta(ostree.KindCommit, c.Encode())
}

// addEncap adds the objects of the base and of its chunks as they are.
func (r *repository) addEncap() error {
	t := r.t
	for i, l := range t.layers {
		if t.kinds[i] == derived {
			continue
		}
		ref, err := ostree.BlobRef(t.Image.Layers[i].Digest.String())
		if err != nil {
			return err
		}
		if t.kinds[i] == baseCommit {
			r.refs[ref] = t.base.sum
			for sum, m := range l.encap.metas {
				r.metas[sum] = m
			}
		} else {
			r.refs[ref] = r.addChunk(l.encap)
		}
		for _, sum := range sortedSums(l.encap.files) {
			f := t.base.files[sum]
			if o := r.object(f, f.own); o.sum != sum {
				return fmt.Errorf("internal error: object %s was filed as %s", sum, o.sum)
			}
		}
	}
	return nil
}

// addChunk makes the synthetic commit of a chunk layer (2.3): a folder of its
// objects, named by their checksums.
func (r *repository) addChunk(l *encapLayer) ostree.Checksum {
	var dt ostree.DirTree
	for _, sum := range sortedSums(l.files) {
		dt.Files = append(dt.Files, ostree.FileEntry{Name: sum.String(), File: sum})
	}
	root := ostree.DirMeta{Mode: sIFDIR | 0o755}
	return r.addCommit(ostree.Commit{
		Root:     r.addMeta(ostree.KindDirTree, dt.Encode()),
		RootMeta: r.addMeta(ostree.KindDirMeta, root.Encode()),
	})
}

func sortedSums[V any](m map[ostree.Checksum]V) []ostree.Checksum {
	s := make([]ostree.Checksum, 0, len(m))
	for sum := range m {
		s = append(s, sum)
	}
	slices.SortFunc(s, func(a, b ostree.Checksum) int { return bytes.Compare(a[:], b[:]) })
	return s
}
