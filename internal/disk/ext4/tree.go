package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// Bits of i_mode.
const (
	modeFIFO    = 0x1000
	modeChar    = 0x2000
	modeDir     = 0x4000
	modeBlock   = 0x6000
	modeRegular = 0x8000
	modeSymlink = 0xA000
	modeSocket  = 0xC000
	modeType    = 0xF000
	modeSetuid  = 0o4000
	modeSetgid  = 0o2000
	modeSticky  = 0o1000
)

// A node is one inode while its tree is being read.
type node struct {
	mode   uint16
	flags  uint32
	uid    uint32
	gid    uint32
	links  uint32
	mtime  stamp
	size   int64
	ext    []extent
	link   string // target of a symbolic link
	rdev   [2]uint32
	xattrs int32 // number of the attribute set, or noXattrs
}

// A stamp is a time as inodes keep it: seconds since 1970 and nanoseconds.
type stamp struct {
	sec  int64
	nsec uint32
}

// The range of times with 34 bits of seconds, biased by 32-bit signed ones.
const (
	minSec = -1 << 31
	maxSec = 1<<34 - 1<<31 - 1
)

func newStamp(t time.Time) stamp {
	if t.IsZero() {
		return stamp{}
	}
	switch s := t.Unix(); {
	case s < minSec:
		return stamp{sec: minSec}
	case s > maxSec:
		return stamp{sec: maxSec}
	default:
		return stamp{s, uint32(t.Nanosecond())}
	}
}

const (
	rootIno  = 2
	rootNode = 0
	lostNode = 1
	lostName = "lost+found"
)

// inodeNumber is the inode of a node: the root's is fixed, the others follow
// the reserved ones in the order of the tree.
func inodeNumber(n int32) uint32 {
	if n == rootNode {
		return rootIno
	}
	return firstIno + uint32(n) - 1
}

// A collector turns a stream into nodes and directories, and places contents
// that are not placed yet.
type collector struct {
	w      *Writer
	tail   *Arena
	nodes  []node
	dirs   []dir
	byPath map[string]int32 // index into dirs
	lastIn string           // the path of the directory of the last entry,
	last   int32            // and its index
	hasTop bool
	xattrs xattrs
	zero   []Range // blocks of zeros that are part of files
}

func newCollector(w *Writer, tail *Arena) *collector {
	c := &collector{w: w, tail: tail, byPath: map[string]int32{".": 0}, lastIn: "."}
	t := newStamp(w.opt.Time)
	c.nodes = []node{
		{mode: modeDir | 0o755, mtime: t, xattrs: noXattrs},
		{mode: modeDir | 0o700, mtime: t, xattrs: noXattrs},
	}
	c.dirs = []dir{{node: rootNode}, {node: lostNode}}
	return c
}

// add takes one entry.
func (c *collector) add(e *tree.Entry) error {
	if e.Path == "." {
		if c.hasTop || len(c.nodes) > 2 || len(c.dirs[0].ents) > 0 {
			return errors.New("the root must come first, and once")
		}
		c.hasTop = true
		return c.takeDir(e, rootNode)
	}
	d, name, err := c.place(e.Path)
	if err != nil {
		return err
	}
	if e.IsHardLink() {
		return c.addLink(d, name, e.Link)
	}
	if e.Path == lostName {
		if err := c.takeDir(e, lostNode); err != nil {
			return err
		}
		c.byPath[lostName] = 1
		c.dirs[0].subdirs++
		return c.dirs[0].add(name, lostNode, ftDir)
	}
	if len(c.nodes) >= 1<<31-firstIno {
		return errors.New("too many files")
	}
	n := int32(len(c.nodes))
	c.nodes = append(c.nodes, node{xattrs: noXattrs, links: 1})
	if err := c.fill(&c.nodes[n], e); err != nil {
		return err
	}
	kind := fileType(c.nodes[n].mode)
	if kind == ftDir {
		c.byPath[e.Path] = int32(len(c.dirs))
		c.dirs = append(c.dirs, dir{node: n, parent: d})
		c.dirs[d].subdirs++
	}
	return c.dirs[d].add(name, n, kind)
}

func (c *collector) takeDir(e *tree.Entry, n int32) error {
	if !e.Mode.IsDir() {
		return errors.New("must be a directory")
	}
	return c.fill(&c.nodes[n], e)
}

// place finds the directory of a path and the name in it.
func (c *collector) place(path string) (int32, string, error) {
	parent, name := ".", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		parent, name = path[:i], path[i+1:]
	}
	if name == "" || name == "." || name == ".." || strings.IndexByte(name, 0) >= 0 || strings.HasPrefix(path, "./") {
		return 0, "", errors.New("not a clean path")
	}
	if len(name) > maxName {
		return 0, "", fmt.Errorf("a name of %d bytes: ext4 takes at most %d", len(name), maxName)
	}
	if parent != c.lastIn {
		d, ok := c.byPath[parent]
		if !ok {
			return 0, "", fmt.Errorf("there is no directory %q before it", parent)
		}
		c.lastIn, c.last = parent, d
	}
	return c.last, name, nil
}

// addLink gives the file at path target another name.
func (c *collector) addLink(d int32, name, target string) error {
	in, base, err := c.place(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	i, ok := c.dirs[in].search(base)
	if !ok {
		return fmt.Errorf("hard link to %q: no such file before it", target)
	}
	to := c.dirs[in].ents[i]
	if to.kind == ftDir {
		return fmt.Errorf("hard link to %q: is a directory", target)
	}
	n := &c.nodes[to.node]
	if n.links >= maxLinks {
		return fmt.Errorf("hard link to %q: the file has %d links, more than ext4 keeps", target, maxLinks)
	}
	n.links++
	return c.dirs[d].add(name, to.node, to.kind)
}

// fill sets a node's attributes and places its content.
func (c *collector) fill(n *node, e *tree.Entry) (err error) {
	if n.mode, err = toMode(e.Mode); err != nil {
		return err
	}
	if int64(e.UID) != int64(uint32(e.UID)) || int64(e.GID) != int64(uint32(e.GID)) {
		return fmt.Errorf("owner %d:%d does not fit 32 bits", e.UID, e.GID)
	}
	n.uid, n.gid = uint32(e.UID), uint32(e.GID)
	n.mtime = newStamp(c.w.opt.Time)
	if !e.ModTime.IsZero() {
		n.mtime = newStamp(e.ModTime)
	}
	if e.Immutable {
		if !e.Mode.IsRegular() && !e.Mode.IsDir() {
			return errors.New("only files and directories can be immutable")
		}
		n.flags |= flagImmutable
	}
	if n.xattrs, err = c.xattrs.add(e.Xattrs); err != nil {
		return err
	}
	switch n.mode & modeType {
	case modeRegular:
		return c.takeContent(n, e.Content)
	case modeSymlink:
		if len(e.Link) == 0 || len(e.Link) >= blockSize || strings.IndexByte(e.Link, 0) >= 0 {
			return fmt.Errorf("a target of %d bytes: symbolic links have 1 to %d, none of them zero", len(e.Link), blockSize-1)
		}
		n.link, n.size = e.Link, int64(len(e.Link))
	case modeChar, modeBlock:
		if e.Rdev[0] >= 1<<12 || e.Rdev[1] >= 1<<20 {
			return fmt.Errorf("device number %d:%d does not fit ext4", e.Rdev[0], e.Rdev[1])
		}
		n.rdev = e.Rdev
	}
	return nil
}

// takeContent gives a node the blocks of its content, which are placed first
// where they are not stored yet.
func (c *collector) takeContent(n *node, content tree.Content) error {
	n.flags |= flagExtents
	if content == nil {
		return nil
	}
	d, ok := content.(*Data)
	if ok && d.w == c.w && d.state == discarded {
		return errors.New("internal error: its content was discarded")
	}
	if !ok || d.w != c.w || d.state == inUse {
		var err error
		if d, err = c.copyIn(content); err != nil {
			return err
		}
	}
	d.state = inUse
	n.size, n.ext = d.size, d.ext
	if d.zeros {
		c.zero = append(c.zero, Range{int64(d.ext[0].phys) << blockBits, blockSize})
	}
	return nil
}

func (c *collector) copyIn(content tree.Content) (*Data, error) {
	r, err := content.Open()
	if err != nil {
		return nil, fmt.Errorf("opening its content: %w", err)
	}
	d, err := c.tail.Put(r, content.Size())
	return d, errors.Join(err, closing(r))
}

func closing(r io.Closer) error {
	if err := r.Close(); err != nil {
		return fmt.Errorf("closing its content: %w", err)
	}
	return nil
}

var fileTypes = []struct {
	mode uint16
	fs   fs.FileMode
	kind uint8
}{
	{modeRegular, 0, ftRegular},
	{modeDir, fs.ModeDir, ftDir},
	{modeSymlink, fs.ModeSymlink, ftSymlink},
	{modeFIFO, fs.ModeNamedPipe, ftFIFO},
	{modeSocket, fs.ModeSocket, ftSocket},
	{modeBlock, fs.ModeDevice, ftBlock},
	{modeChar, fs.ModeDevice | fs.ModeCharDevice, ftChar},
}

var fileBits = []struct {
	mode uint16
	fs   fs.FileMode
}{{modeSetuid, fs.ModeSetuid}, {modeSetgid, fs.ModeSetgid}, {modeSticky, fs.ModeSticky}}

func fileType(mode uint16) uint8 {
	for _, t := range fileTypes {
		if mode&modeType == t.mode {
			return t.kind
		}
	}
	return ftUnknown
}

func toMode(m fs.FileMode) (uint16, error) {
	out := uint16(m.Perm())
	for _, b := range fileBits {
		if m&b.fs != 0 {
			out |= b.mode
		}
	}
	for _, t := range fileTypes {
		if m.Type() == t.fs {
			return out | t.mode, nil
		}
	}
	return 0, fmt.Errorf("ext4 has no files of type %v", m.Type())
}

func fromMode(mode uint16) (fs.FileMode, bool) {
	out := fs.FileMode(mode & 0o777)
	for _, b := range fileBits {
		if mode&b.mode != 0 {
			out |= b.fs
		}
	}
	for _, t := range fileTypes {
		if mode&modeType == t.mode {
			return out | t.fs, true
		}
	}
	return 0, false
}
