package composefs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Read reads an image that Write or libcomposefs wrote, and takes back what
// they add: of Write's tree it returns an equal one, children sorted by name.
// It refuses images with content, with hard links or with times, and inodes that
// lie on top of each other; memory stays in proportion to the image.
func Read(src io.ReaderAt) (*Node, error) {
	r := &reader{src: src, seen: map[uint64]bool{}, sharedPairs: map[uint64]attr{}}
	root, err := r.readAll()
	if err != nil {
		return nil, fmt.Errorf("reading composefs image: %w", err)
	}
	return root, nil
}

// maxImage is the largest image in bytes that Read takes: some millions of files.
const maxImage = 1 << 30

type reader struct {
	src         io.ReaderAt
	size        uint64 // of the image in bytes
	budget      uint64 // bytes of attributes, directories and targets still to be read
	inodes      uint64
	xattrBase   uint64
	version     uint32
	seen        map[uint64]bool // inodes by number
	sharedPairs map[uint64]attr // by position
}

func (r *reader) readAll() (*Node, error) {
	root, err := r.readSuper()
	if err != nil {
		return nil, err
	}
	n, err := r.readTree(root)
	if err != nil {
		return nil, err
	}
	if uint64(len(r.seen)) != r.inodes {
		return nil, fmt.Errorf("superblock counts %d inodes, and the tree has %d", r.inodes, len(r.seen))
	}
	return n, restore(n, r.version)
}

func (r *reader) readSuper() (root uint64, err error) {
	b := make([]byte, superOffset+superSize)
	if err := r.read(b, 0); err != nil {
		return 0, err
	}
	h := header{flags: le.Uint32(b[8:]), version: le.Uint32(b[12:])}
	if !bytes.Equal(b[:superOffset], h.encode()) || h.flags&^flagACL != 0 || h.version > 1 {
		return 0, errors.New("not a composefs image, or of an unknown version")
	}
	sb := b[superOffset:]
	s := super{rootNID: le.Uint16(sb[14:]), inodes: le.Uint64(sb[16:]), blocks: le.Uint32(sb[36:]), xattrBlkAdr: le.Uint32(sb[44:])}
	if !bytes.Equal(sb, s.encode()) {
		return 0, errors.New("the superblock is not one that composefs writes")
	}
	r.size, r.inodes, r.version = uint64(s.blocks)*blockSize, s.inodes, h.version
	r.budget, r.xattrBase = r.size, uint64(s.xattrBlkAdr)*blockSize
	if r.size > maxImage {
		return 0, fmt.Errorf("%d bytes are over the limit of %d", r.size, maxImage)
	}
	var last [1]byte
	if err := r.read(last[:], r.size-1); r.size == 0 || err != nil {
		return 0, fmt.Errorf("the image is shorter than its %d blocks", s.blocks)
	}
	return uint64(s.rootNID), nil
}

// read fills b from a position; reading beyond the end is an error.
func (r *reader) read(b []byte, pos uint64) error {
	if pos > 1<<62 {
		return io.ErrUnexpectedEOF
	}
	n, err := r.src.ReadAt(b, int64(pos))
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// take reads size bytes that no other part of the image shares.
func (r *reader) take(pos, size uint64) ([]byte, error) {
	if size > r.budget || pos > r.size || size > r.size-pos {
		return nil, fmt.Errorf("%d bytes at %#x lie outside the image or upon other data", size, pos)
	}
	r.budget -= size
	b := make([]byte, size)
	return b, r.read(b, pos)
}

// A found is a node that was read, with what finding its children needs.
type found struct {
	node   *Node
	nid    uint64
	parent uint64
	raw    rawInode
	tail   uint64 // position behind the attributes
}

// readTree reads the tree level by level; no depth is too much for it.
func (r *reader) readTree(root uint64) (*Node, error) {
	first, err := r.readInode(root, root)
	if err != nil {
		return nil, err
	}
	if !first.node.isDir() {
		return nil, errors.New("the root is not a directory")
	}
	for queue := []found{first}; len(queue) > 0; queue = queue[1:] {
		dir := queue[0]
		entries, err := r.readDir(dir)
		if err != nil {
			return nil, fmt.Errorf("directory %q: %w", dir.node.Name, err)
		}
		for _, e := range entries {
			child, err := r.readInode(e.nid, dir.nid)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", e.name, err)
			}
			if direntType(child.node.Mode) != e.typ {
				return nil, fmt.Errorf("%q: its directory gives another type", e.name)
			}
			child.node.Name = e.name
			dir.node.Children = append(dir.node.Children, child.node)
			if child.node.isDir() {
				queue = append(queue, child)
			}
		}
		if err := checkLinks(dir); err != nil {
			return nil, fmt.Errorf("directory %q: %w", dir.node.Name, err)
		}
	}
	return first.node, nil
}

func checkLinks(dir found) error {
	want := uint32(2)
	for _, c := range dir.node.Children {
		if c.isDir() {
			want++
		}
	}
	if dir.raw.nlink != want {
		return fmt.Errorf("%d links, want %d", dir.raw.nlink, want)
	}
	return nil
}

func (r *reader) readInode(nid, parent uint64) (found, error) {
	f := found{nid: nid, parent: parent}
	if nid > r.size/slotSize || nid*slotSize < superOffset+superSize {
		return f, fmt.Errorf("inode %d lies outside the image", nid)
	}
	if r.seen[nid] {
		return f, fmt.Errorf("inode %d has a second name", nid)
	}
	r.seen[nid] = true
	pos := nid * slotSize
	b, err := r.take(pos, compactSize)
	if err != nil {
		return f, err
	}
	if b[0]&1 != 0 {
		more, err := r.take(pos+compactSize, extendSize-compactSize)
		if err != nil {
			return f, err
		}
		b = append(b, more...)
	}
	if f.raw, err = decodeInode(b); err != nil {
		return f, fmt.Errorf("inode %d: %w", nid, err)
	}
	f.node = &Node{Mode: uint32(f.raw.mode), UID: f.raw.uid, GID: f.raw.gid}
	f.tail = pos + uint64(len(b))
	if f.raw.icount > 0 {
		size := xattrHeaderSize + 4*(uint64(f.raw.icount)-1)
		if f.node.Xattrs, err = r.readXattrs(f.tail, size); err != nil {
			return f, fmt.Errorf("inode %d: %w", nid, err)
		}
		f.tail += size
	}
	if err := r.readBody(&f); err != nil {
		return f, fmt.Errorf("inode %d: %w", nid, err)
	}
	return f, f.node.check()
}

// decodeInode reads an inode, and refuses what encode would have written otherwise.
func decodeInode(b []byte) (rawInode, error) {
	i := rawInode{
		compact: len(b) == compactSize, layout: le.Uint16(b) >> 1, icount: le.Uint16(b[2:]), mode: le.Uint16(b[4:]),
	}
	if i.compact {
		i.nlink, i.size = uint32(le.Uint16(b[6:])), uint64(le.Uint32(b[8:]))
		i.u, i.ino = le.Uint32(b[16:]), le.Uint32(b[20:])
		i.uid, i.gid = uint32(le.Uint16(b[24:])), uint32(le.Uint16(b[26:]))
	} else {
		i.size = le.Uint64(b[8:])
		i.u, i.ino = le.Uint32(b[16:]), le.Uint32(b[20:])
		i.uid, i.gid, i.nlink = le.Uint32(b[24:]), le.Uint32(b[28:]), le.Uint32(b[44:])
	}
	if !bytes.Equal(i.encode(nil), b) {
		return i, errors.New("unknown fields are set, or it has a time")
	}
	return i, nil
}

// readBody reads what an inode has besides its attributes, but for a
// directory's entries.
func (r *reader) readBody(f *found) error {
	n, raw := f.node, f.raw
	if !n.isDir() && raw.nlink != 1 {
		return fmt.Errorf("%d hard links", raw.nlink)
	}
	switch n.typ() {
	case typeRegular:
		n.Size = raw.size
		if raw.size == 0 && raw.layout == layoutPlain {
			return nil
		}
		if raw.layout != layoutChunks || raw.size == 0 || raw.u&0xffff != uint32(chunkBits(raw.size)-blockBits) {
			return errors.New("a regular file with content inside the image")
		}
		return nil
	case typeSymlink:
		b, err := r.data(f)
		n.Target = string(b)
		return err
	case typeChar, typeBlock:
		n.Rdev = raw.u
	}
	if !n.isDir() && (raw.size != 0 || raw.layout != layoutPlain) {
		return errors.New("a special file with content")
	}
	return nil
}

// data reads the content of a directory or a symbolic link.
func (r *reader) data(f *found) ([]byte, error) {
	size := f.raw.size
	switch f.raw.layout {
	case layoutPlain:
		return r.take(uint64(f.raw.u)*blockSize, size)
	case layoutInline:
		if size > r.budget {
			break
		}
		blocks, err := r.take(uint64(f.raw.u)*blockSize, size/blockSize*blockSize)
		if err != nil {
			return nil, err
		}
		tail, err := r.take(f.tail, size%blockSize)
		return append(blocks, tail...), err
	}
	return nil, fmt.Errorf("layout %d with %d bytes is not one that composefs uses here", f.raw.layout, size)
}

// An entry is what a directory says of a child.
type entry struct {
	name string
	nid  uint64
	typ  byte
}

// readDir returns a directory's children. Names must be sorted, and "." and
// ".." among them.
func (r *reader) readDir(f found) ([]entry, error) {
	b, err := r.data(&f)
	if err != nil {
		return nil, err
	}
	var out []entry
	last, dots := "", 0
	for len(b) > 0 {
		block := b[:min(len(b), blockSize)]
		b = b[len(block):]
		list, err := decodeDirents(block)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if e.name <= last {
				return nil, fmt.Errorf("name %q follows %q", e.name, last)
			}
			last = e.name
			switch e.name {
			case ".", "..":
				if dots++; e.typ != direntType(typeDir) || e.nid != map[string]uint64{".": f.nid, "..": f.parent}[e.name] {
					return nil, fmt.Errorf("entry %q leads elsewhere", e.name)
				}
				continue
			}
			if err := checkName(e.name); err != nil {
				return nil, err
			}
			out = append(out, e)
		}
	}
	if dots != 2 {
		return nil, errors.New(`"." or ".." is missing`)
	}
	return out, nil
}

func decodeDirents(b []byte) ([]entry, error) {
	bad := errors.New("malformed directory")
	if len(b) < direntSize {
		return nil, bad
	}
	count := int(le.Uint16(b[8:])) / direntSize
	if count == 0 || count*direntSize != int(le.Uint16(b[8:])) || count*direntSize > len(b) {
		return nil, bad
	}
	out := make([]entry, count)
	end := len(b)
	if len(b) == blockSize {
		end = len(bytes.TrimRight(b, "\x00"))
	}
	for i := range out {
		e := b[i*direntSize:]
		from, to := int(le.Uint16(e[8:])), end
		if i+1 < count {
			to = int(le.Uint16(e[direntSize+8:]))
		}
		if from > to || to > end || from < count*direntSize || e[11] != 0 {
			return nil, bad
		}
		out[i] = entry{name: string(b[from:to]), nid: le.Uint64(e), typ: e[10]}
		if strings.IndexByte(out[i].name, 0) >= 0 {
			return nil, bad
		}
	}
	return out, nil
}
