package composefs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
)

// Write writes the image of a tree. The tree is not changed, and equal trees
// give equal bytes. Memory beyond the tree is about 150 bytes for each file.
func Write(dst io.Writer, root *Node) error {
	w := &writer{pairs: newPairs()}
	if err := w.plan(root); err != nil {
		return fmt.Errorf("writing composefs image: %w", err)
	}
	w.out = bufio.NewWriterSize(dst, 1<<16)
	if err := w.emit(); err != nil {
		return fmt.Errorf("writing composefs image: %w", err)
	}
	return nil
}

// A writer first places every inode (plan), then writes in one pass (emit).
type writer struct {
	pairs   *pairs
	inodes  []inode
	ids     []uint32 // pairs of all inodes, one after the other
	attrs   []attr   // scratch of overlayXattrs
	version uint32
	shields []*Node

	inodesEnd  uint64
	shared     []uint32
	sharedSize uint64
	dataBlocks uint64

	out     *bufio.Writer
	pos     uint64
	nextBlk uint64 // address of the next inode's data blocks
	buf     []byte
	group   []dirent // scratch of appendDir
}

// An inode is a node with its place in the image. Children follow each other.
type inode struct {
	node    *Node
	slot    uint32 // position in units of slotSize
	parent  uint32
	first   uint32 // child
	count   uint32 // of children
	ids     uint32 // first of its attributes
	nlink   uint32
	xsize   uint32 // of the attribute area
	blocks  uint32
	tail    uint16
	nids    uint16
	nshared uint8
	compact bool
	// whiteout nodes are regular files in the image, with marks among the attributes.
	whiteout bool
}

// mode returns st_mode in the image.
func (ino *inode) mode() uint32 {
	if ino.whiteout {
		return ino.node.Mode&^typeMask | typeRegular
	}
	return ino.node.Mode
}

func (w *writer) plan(root *Node) error {
	if !root.isDir() {
		return errors.New("the root is not a directory")
	}
	if err := w.walk(root); err != nil {
		return err
	}
	w.shared, w.sharedSize = w.pairs.share()
	pos := uint64(superOffset + superSize)
	for i := range w.inodes {
		var err error
		if pos, err = w.place(&w.inodes[i], pos); err != nil {
			return fmt.Errorf("%s: %w", w.path(uint32(i)), err)
		}
	}
	w.inodesEnd = roundUp(pos, slotSize)
	return nil
}

// walk lists the inodes breadth first, and interns their attributes.
func (w *writer) walk(root *Node) error {
	w.inodes = append(w.inodes, inode{node: root})
	for i := 0; i < len(w.inodes); i++ {
		if err := w.visit(uint32(i)); err != nil {
			return fmt.Errorf("%s: %w", w.path(uint32(i)), err)
		}
	}
	return nil
}

func (w *writer) visit(i uint32) error {
	n := w.inodes[i].node
	if err := n.check(); err != nil {
		return err
	}
	children, err := n.sorted()
	if err != nil {
		return err
	}
	if i == 0 {
		w.shields = shields(n)
		all := Node{Children: append(append([]*Node{}, children...), w.shields...)}
		if children, err = all.sorted(); err != nil {
			return err
		}
	}
	if uint64(len(w.inodes))+uint64(len(children)) > math.MaxUint32 {
		return errors.New("too many files")
	}
	first, subdirs, whiteouts := len(w.inodes), uint32(0), false
	for _, c := range children {
		if c.isDir() {
			subdirs++
		}
		w.inodes = append(w.inodes, inode{node: c, parent: i})
	}
	for _, c := range n.Children {
		whiteouts = whiteouts || c.isWhiteout()
	}
	if whiteouts {
		w.version = 1
	}
	ino := &w.inodes[i]
	ino.first, ino.count, ino.nlink = uint32(first), uint32(len(children)), 1
	if n.isDir() {
		ino.nlink = 2 + subdirs
	}
	shield := i > 0 && ino.parent == 0 && slices.Contains(w.shields, n)
	if n.isWhiteout() && !shield {
		ino.whiteout = true
	}
	return w.intern(ino, role{root: i == 0, shield: shield, whiteouts: whiteouts})
}

func (w *writer) path(i uint32) string {
	if i == 0 {
		return "/"
	}
	p := ""
	for ; i != 0; i = w.inodes[i].parent {
		p = "/" + w.inodes[i].node.Name + p
	}
	return p
}

// place decides the layout of one inode and where it begins, at or after pos. It
// returns where it ends.
func (w *writer) place(ino *inode, pos uint64) (uint64, error) {
	n := ino.node
	size := n.Size
	switch {
	case n.isDir():
		ino.blocks, ino.tail = w.dirSize(ino)
		size = uint64(ino.blocks)*blockSize + uint64(ino.tail)
	case n.typ() == typeSymlink:
		size = uint64(len(n.Target))
		ino.tail = uint16(size)
	case n.External():
		ino.tail = uint16(4 * chunkCount(size))
	default:
		size = 0
	}
	ino.compact = ino.nlink <= math.MaxUint16 && n.UID <= math.MaxUint16 && n.GID <= math.MaxUint16 && size <= math.MaxUint32
	w.xattrSize(ino)
	fixed := ino.headSize() + uint64(ino.xsize)
	pos = roundUp(pos, slotSize)
	pos += ino.pad(pos, fixed)
	if pos/slotSize > math.MaxUint32 {
		return 0, errors.New("the image is too large")
	}
	ino.slot = uint32(pos / slotSize)
	w.dataBlocks += uint64(ino.blocks)
	return pos + fixed + uint64(ino.tail), nil
}

func (ino *inode) headSize() uint64 {
	if ino.compact {
		return compactSize
	}
	return extendSize
}

// pad returns the bytes to leave free before an inode so that its tail does not
// cross into another block; where that cannot be, the tail becomes a block.
func (ino *inode) pad(pos, fixed uint64) uint64 {
	tail := uint64(ino.tail)
	if ino.node.typ() == typeSymlink {
		total := fixed + tail
		if total >= blockSize {
			ino.blocks, ino.tail = ino.blocks+1, 0
		}
		if pos/blockSize != (pos+total-1)/blockSize {
			return roundUp(pos, blockSize) - pos
		}
		return 0
	}
	left := blockSize - (pos+fixed)%blockSize
	if left >= tail {
		return 0
	}
	extra := roundUp(left, slotSize)
	if tail <= blockSize-(pos+fixed+extra)%blockSize {
		return extra
	}
	ino.blocks, ino.tail = ino.blocks+1, 0
	return roundUp(pos, blockSize) - pos
}

// xattrSize sums up the attribute area of an inode.
func (w *writer) xattrSize(ino *inode) {
	if ino.nids == 0 {
		return
	}
	size := uint64(xattrHeaderSize)
	for _, id := range w.idsOf(ino) {
		p := &w.pairs.list[id]
		if p.shared >= 0 && ino.nshared < maxShared {
			ino.nshared++
			size += xattrEntrySize
		} else {
			size += p.size()
		}
	}
	ino.xsize = uint32(size)
}

func (w *writer) idsOf(ino *inode) []uint32 { return w.ids[ino.ids:][:ino.nids] }

// A dirent is an entry of a directory: a child, or the directory or its parent.
type dirent struct {
	name string
	ino  *inode
}

// entries yields a directory's entries, "." and ".." among them, in byte order.
func (w *writer) entries(ino *inode, yield func(dirent) error) error {
	children := w.inodes[ino.first:][:ino.count]
	dots := []dirent{{".", ino}, {"..", &w.inodes[ino.parent]}}
	for i := range children {
		for len(dots) > 0 && dots[0].name < children[i].node.Name {
			if err := yield(dots[0]); err != nil {
				return err
			}
			dots = dots[1:]
		}
		if err := yield(dirent{children[i].node.Name, &children[i]}); err != nil {
			return err
		}
	}
	for _, d := range dots {
		if err := yield(d); err != nil {
			return err
		}
	}
	return nil
}

// dirSize returns the full blocks of a directory and the bytes that remain. A
// remainder of over half a block is a block, too.
func (w *writer) dirSize(ino *inode) (blocks uint32, tail uint16) {
	used := 0
	w.entries(ino, func(d dirent) error { // never fails
		size := direntSize + len(d.name)
		if used+size > blockSize {
			blocks, used = blocks+1, 0
		}
		used += size
		return nil
	})
	if used > blockSize/2 {
		return blocks + 1, 0
	}
	return blocks, uint16(used)
}

// intern records the attributes that an inode has in the image.
func (w *writer) intern(ino *inode, place role) error {
	n := ino.node
	ino.ids = uint32(len(w.ids))
	for _, a := range w.overlayXattrs(n, place) {
		id, err := w.pairs.add(a.name, a.value)
		if err != nil {
			return err
		}
		w.ids = append(w.ids, id)
	}
	if n.External() && n.Payload != "" {
		id, err := w.pairs.addRedirect(n.Payload)
		if err != nil {
			return err
		}
		list := w.ids[ino.ids:]
		at := sort.Search(len(list), func(i int) bool { return w.pairs.list[list[i]].name > xattrRedirect })
		w.ids = append(w.ids, 0)
		list = w.ids[ino.ids:]
		copy(list[at+1:], list[at:])
		list[at] = id
	}
	if len(w.ids) > math.MaxUint32 || len(w.ids)-int(ino.ids) > math.MaxUint16 {
		return errors.New("too many extended attributes")
	}
	ino.nids = uint16(len(w.ids) - int(ino.ids))
	return nil
}
