package ext4

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// A File is the content of a regular file of an FS. It implements tree.Content.
type File struct {
	f    *FS
	ino  uint32
	size int64
}

// Size is the number of bytes.
func (x *File) Size() int64 { return x.size }

// Open returns a reader that is also an io.ReaderAt and io.Seeker.
func (x *File) Open() (io.ReadCloser, error) {
	n, err := x.f.inode(x.ino)
	if err != nil {
		return nil, fmt.Errorf("opening a file of an ext4 file system: %w", err)
	}
	ext, err := x.f.extents(n)
	if err != nil {
		return nil, fmt.Errorf("opening inode %d: %w", x.ino, err)
	}
	return content{x.f.section(ext, x.size)}, nil
}

type content struct{ *io.SectionReader }

func (content) Close() error { return nil }

func (f *FS) section(ext []extent, size int64) *io.SectionReader {
	return io.NewSectionReader(&extentReader{r: f.r, ext: ext, bits: uint(bits.TrailingZeros64(uint64(f.info.BlockSize)))}, 0, size)
}

// Lookup returns the entry at a path ("." is the root). Symbolic links are not
// followed. What is not there gives fs.ErrNotExist.
func (f *FS) Lookup(path string) (tree.Entry, error) {
	n, err := f.find(path)
	if err != nil {
		return tree.Entry{}, err
	}
	e, err := f.entry(n, path)
	if err != nil {
		return e, fmt.Errorf("reading %q: %w", path, err)
	}
	return e, nil
}

const maxFollow = 40

// Follow is Lookup along symbolic links, which end inside the file system; the
// entry's Path is where it was found.
func (f *FS) Follow(path string) (tree.Entry, error) {
	done, rest := []string{}, strings.Split(path, "/")
	for hops := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			done = done[:max(len(done)-1, 0)]
			continue
		}
		e, err := f.Lookup(strings.Join(append(done, name), "/"))
		if err != nil {
			return e, err
		}
		if e.Mode.Type() != fs.ModeSymlink {
			done = append(done, name)
			continue
		}
		if hops++; hops > maxFollow {
			return tree.Entry{}, fmt.Errorf("following %q: more than %d symbolic links", path, maxFollow)
		}
		if strings.HasPrefix(e.Link, "/") {
			done = done[:0]
		}
		rest = append(strings.Split(e.Link, "/"), rest...)
	}
	if len(done) == 0 {
		return f.Lookup(".")
	}
	return f.Lookup(strings.Join(done, "/"))
}

func (f *FS) find(path string) (*rawInode, error) {
	n, err := f.inode(rootIno)
	if err != nil {
		return nil, fmt.Errorf("reading the root directory: %w", err)
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "." {
			continue
		}
		if name == "" || name == ".." {
			return nil, fmt.Errorf("looking up %q: not a clean path", path)
		}
		if !n.isDir() {
			return nil, notExist(path)
		}
		ino := uint32(0)
		err := f.eachName(n, func(d []byte, i uint32) bool {
			if string(d) == name {
				ino = i
			}
			return ino == 0
		})
		if err == nil && ino == 0 {
			return nil, notExist(path)
		}
		if err == nil {
			n, err = f.inode(ino)
		}
		if err != nil {
			return nil, fmt.Errorf("looking up %q: %w", path, err)
		}
	}
	return n, nil
}

// entry describes an inode.
func (f *FS) entry(n *rawInode, path string) (tree.Entry, error) {
	mode, ok := fromMode(n.mode())
	if !ok {
		return tree.Entry{}, corrupt("a mode of %#o", n.mode())
	}
	size, err := n.size()
	if err != nil {
		return tree.Entry{}, err
	}
	t := n.mtime()
	e := tree.Entry{
		Path: path, Mode: mode, UID: n.uid(), GID: n.gid(),
		ModTime:   time.Unix(t.sec, int64(t.nsec)),
		Immutable: n.flags()&flagImmutable != 0,
	}
	if e.Xattrs, err = f.xattrs(n); err != nil {
		return e, err
	}
	switch n.mode() & modeType {
	case modeRegular:
		e.Content = &File{f, n.ino, size}
	case modeSymlink:
		e.Link, err = f.target(n, size)
	case modeChar, modeBlock:
		e.Rdev = deviceNumber(n.root())
	}
	return e, err
}

func (f *FS) target(n *rawInode, size int64) (string, error) {
	if size == 0 || size >= f.info.BlockSize {
		return "", corrupt("a symbolic link of %d bytes", size)
	}
	if size < int64(len(n.root())) && n.flags()&flagExtents == 0 {
		return string(n.root()[:size]), nil
	}
	ext, err := f.extents(n)
	if err != nil {
		return "", err
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f.section(ext, size), b); err != nil {
		return "", err
	}
	return string(bytes.TrimRight(b, "\x00")), nil
}

// ReadDir returns the entries of a directory in byte order of their names,
// without "." and "..". A further name of a file is not told apart from the first.
func (f *FS) ReadDir(path string) ([]tree.Entry, error) {
	n, err := f.find(path)
	if err != nil {
		return nil, err
	}
	list, err := f.names(n)
	if err != nil {
		return nil, fmt.Errorf("reading directory %q: %w", path, err)
	}
	entries := make([]tree.Entry, 0, len(list))
	for _, d := range list {
		p := join(path, d.name)
		n, err := f.inode(d.ino)
		if err == nil {
			var e tree.Entry
			e, err = f.entry(n, p)
			entries = append(entries, e)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", p, err)
		}
	}
	return entries, nil
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// Tree streams the tree below root, whose own entry comes first as "."; paths
// are relative to it. Further names of a file are hard links to the first.
// Contents are read when they are opened.
func (f *FS) Tree(root string) tree.Stream {
	return func(yield func(tree.Entry, error) bool) {
		n, err := f.find(root)
		if err != nil {
			yield(tree.Entry{}, err)
			return
		}
		w := treeWalk{f: f, yield: yield, seen: map[uint32]string{}}
		w.walk(n, ".")
	}
}

// maxPath bounds how deep a tree is walked.
const maxPath = 1 << 16

type treeWalk struct {
	f     *FS
	yield func(tree.Entry, error) bool
	seen  map[uint32]string // directories, and files with several names
}

// walk yields an inode and what is below it, and reports whether to go on.
func (w *treeWalk) walk(n *rawInode, path string) bool {
	if first, ok := w.seen[n.ino]; ok {
		if n.isDir() {
			return w.fail(path, corrupt("directory %q has two names", first))
		}
		mode, _ := fromMode(n.mode())
		return w.yield(tree.Entry{Path: path, Mode: mode &^ fs.ModeType, Link: first}, nil)
	}
	if n.isDir() || n.links() > 1 {
		w.seen[n.ino] = path
	}
	if len(path) > maxPath {
		return w.fail(path[:64]+"…", corrupt("a path of %d bytes", len(path)))
	}
	e, err := w.f.entry(n, path)
	if err != nil {
		return w.fail(path, err)
	}
	if !w.yield(e, nil) {
		return false
	}
	if !n.isDir() {
		return true
	}
	list, err := w.f.names(n)
	if err != nil {
		return w.fail(path, err)
	}
	for _, d := range list {
		p := join(path, d.name)
		child, err := w.f.inode(d.ino)
		if err != nil {
			return w.fail(p, err)
		}
		if !w.walk(child, p) {
			return false
		}
	}
	return true
}

func (w *treeWalk) fail(path string, err error) bool {
	w.yield(tree.Entry{}, fmt.Errorf("reading %q: %w", path, err))
	return false
}

// A named is a directory entry.
type named struct {
	name string
	ino  uint32
}

// names returns a directory's entries in byte order.
func (f *FS) names(n *rawInode) ([]named, error) {
	var list []named
	err := f.eachName(n, func(name []byte, ino uint32) bool {
		list = append(list, named{string(name), ino})
		return true
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b named) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(list); i++ {
		if list[i].name == list[i-1].name {
			return nil, corrupt("the name %q is there twice", list[i].name)
		}
	}
	return list, nil
}

// eachName calls visit with each name but "." and ".." until it returns false.
// It reads block by block, index or not: the index's blocks look like empty ones.
func (f *FS) eachName(n *rawInode, visit func(name []byte, ino uint32) bool) error {
	if !n.isDir() {
		return errors.New("not a directory")
	}
	size, err := n.size()
	if err != nil {
		return err
	}
	ext, err := f.extents(n)
	if err != nil {
		return err
	}
	if err := disjoint(ext); err != nil {
		return err
	}
	seed := inodeSeed(f.seed, n.ino, n.u32(0x64))
	for _, e := range ext {
		for i := range uint64(e.len) {
			if int64(uint64(e.logical)+i) >= size/f.info.BlockSize {
				break
			}
			b, err := f.readBlock(e.phys + i)
			if err != nil {
				return err
			}
			if more, err := f.blockNames(b, seed, visit); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// disjoint refuses extents that share blocks, which could make a small image
// describe a huge directory.
func disjoint(ext []extent) error {
	s := slices.Clone(ext)
	slices.SortFunc(s, func(a, b extent) int { return cmp.Compare(a.phys, b.phys) })
	for i := 1; i < len(s); i++ {
		if s[i-1].phys+uint64(s[i-1].len) > s[i].phys {
			return corrupt("a directory has the same block twice")
		}
	}
	return nil
}

func (f *FS) blockNames(b []byte, seed uint32, visit func([]byte, uint32) bool) (more bool, err error) {
	le := binary.LittleEndian
	tail := len(b) - dirTail
	if t := b[tail:]; f.sums && t[7] == dirTailType && le.Uint32(t) == 0 && crc32c(seed, b[:tail]) != le.Uint32(t[8:]) {
		return false, corrupt("the checksum of a directory block is wrong")
	}
	for len(b) > 0 {
		if len(b) < direntHeader {
			return false, corrupt("a directory block")
		}
		ino, room, n := le.Uint32(b), int(le.Uint16(b[4:])), int(b[6])
		if room == 0 && len(b) == 65536 || room == 65535 {
			room = 65536 // how 16 bits say it
		}
		if !f.filetype {
			n |= int(b[7]) << 8
		}
		if room < direntHeader || room > len(b) || ino != 0 && direntHeader+n > room {
			return false, corrupt("a directory entry")
		}
		name := b[direntHeader : direntHeader+min(n, room-direntHeader)]
		if ino != 0 && (n == 0 || bytes.ContainsAny(name, "/\x00")) {
			return false, corrupt("the name %q", name)
		}
		if ino != 0 && string(name) != "." && string(name) != ".." && !visit(name, ino) {
			return false, nil
		}
		b = b[room:]
	}
	return true, nil
}

var _ tree.Content = (*File)(nil)
