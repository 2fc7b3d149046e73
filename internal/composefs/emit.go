package composefs

import (
	"errors"
	"math"
)

var errPlan = errors.New("internal error: an inode is not where it was planned")

// emit writes what plan laid out.
func (w *writer) emit() error {
	dataStart := roundUp(w.inodesEnd+w.sharedSize, blockSize)
	blocks := dataStart/blockSize + w.dataBlocks
	if blocks > math.MaxUint32 {
		return errors.New("the image is too large")
	}
	h := header{version: w.version}
	if w.pairs.acl {
		h.flags |= flagACL
	}
	s := super{
		rootNID: uint16(w.inodes[0].slot), inodes: uint64(len(w.inodes)),
		blocks: uint32(blocks), xattrBlkAdr: uint32(w.inodesEnd / blockSize),
	}
	w.write(h.encode())
	w.write(s.encode())
	w.nextBlk = dataStart / blockSize
	for i := range w.inodes {
		if err := w.emitInode(uint32(i)); err != nil {
			return err
		}
	}
	w.padTo(w.inodesEnd)
	for _, id := range w.shared {
		w.write(w.pairs.list[id].encode(w.buf[:0]))
	}
	w.padTo(dataStart)
	for i := range w.inodes {
		if w.inodes[i].blocks > 0 {
			w.emitBlocks(&w.inodes[i])
		}
	}
	if w.pos != blocks*blockSize {
		return errPlan
	}
	return w.out.Flush()
}

// write writes b. Errors stick to the buffered writer, and Flush returns them.
func (w *writer) write(b []byte) {
	w.out.Write(b)
	w.pos += uint64(len(b))
}

var zeros [blockSize]byte

func (w *writer) padTo(end uint64) {
	for w.pos < end {
		w.write(zeros[:min(end-w.pos, blockSize)])
	}
}

func (w *writer) emitInode(i uint32) error {
	ino := &w.inodes[i]
	w.padTo(uint64(ino.slot) * slotSize)
	if w.pos != uint64(ino.slot)*slotSize {
		return errPlan
	}
	n := ino.node
	raw := rawInode{compact: ino.compact, mode: uint16(ino.mode()), nlink: ino.nlink, ino: i, uid: n.UID, gid: n.GID}
	if ino.tail > 0 {
		raw.layout = layoutInline
	}
	if ino.xsize > 0 {
		raw.icount = uint16((ino.xsize-xattrHeaderSize)/4 + 1)
	}
	if ino.blocks > 0 {
		raw.u = uint32(w.nextBlk)
		w.nextBlk += uint64(ino.blocks)
	}
	switch {
	case n.isDir():
		raw.size = uint64(ino.blocks)*blockSize + uint64(ino.tail)
	case n.typ() == typeSymlink:
		raw.size = uint64(len(n.Target))
	case n.External():
		raw.size, raw.layout = n.Size, layoutChunks
		// The format of chunks takes 16 bits; libcomposefs leaves the upper half alone.
		raw.u = raw.u&^0xffff | uint32(chunkBits(n.Size)-blockBits)
	case !ino.whiteout && (n.typ() == typeChar || n.typ() == typeBlock):
		raw.u = n.Rdev
	}
	w.buf = w.appendTail(w.appendXattrs(raw.encode(w.buf[:0]), ino), ino)
	w.write(w.buf)
	return nil
}

func (w *writer) appendXattrs(b []byte, ino *inode) []byte {
	if ino.nids == 0 {
		return b
	}
	ids := w.idsOf(ino)
	filter := uint32(math.MaxUint32)
	for _, id := range ids {
		filter &^= 1 << w.pairs.list[id].filter
	}
	b = le.AppendUint32(b, filter)
	b = append(b, ino.nshared, 0, 0, 0, 0, 0, 0, 0)
	isShared := func(nth *uint8, p *pair) bool {
		if p.shared < 0 || *nth >= ino.nshared {
			return false
		}
		*nth++
		return true
	}
	var nth uint8
	for _, id := range ids {
		if p := &w.pairs.list[id]; isShared(&nth, p) {
			b = le.AppendUint32(b, uint32((w.inodesEnd%blockSize+uint64(p.shared))/4))
		}
	}
	nth = 0
	for _, id := range ids {
		if p := &w.pairs.list[id]; !isShared(&nth, p) {
			b = p.encode(b)
		}
	}
	return b
}

func (w *writer) appendTail(b []byte, ino *inode) []byte {
	if ino.tail == 0 {
		return b
	}
	n := ino.node
	switch {
	case n.isDir():
		return w.appendDir(b, ino, true)
	case n.typ() == typeSymlink:
		return append(b, n.Target...)
	}
	for range ino.tail {
		b = append(b, 0xff)
	}
	return b
}

// appendDir appends a directory's entries: those of the tail, or the blocks.
func (w *writer) appendDir(b []byte, ino *inode, tail bool) []byte {
	group := w.group[:0]
	used, blocks := 0, uint32(0)
	flush := func(inTail bool) {
		if inTail == tail {
			b = appendDirents(b, group)
			if !tail {
				b = append(b, zeros[:roundUp(uint64(used), blockSize)-uint64(used)]...)
			}
		}
		group, used = group[:0], 0
	}
	w.entries(ino, func(d dirent) error { // never fails
		size := direntSize + len(d.name)
		if used+size > blockSize {
			flush(false)
			blocks++
		}
		group, used = append(group, d), used+size
		return nil
	})
	if len(group) > 0 {
		flush(blocks >= ino.blocks)
	}
	w.group = group
	return b
}

func appendDirents(b []byte, group []dirent) []byte {
	offset := direntSize * len(group)
	for _, d := range group {
		b = le.AppendUint64(b, uint64(d.ino.slot))
		b = le.AppendUint16(b, uint16(offset))
		b = append(b, direntType(d.ino.mode()), 0)
		offset += len(d.name)
	}
	for _, d := range group {
		b = append(b, d.name...)
	}
	return b
}

// emitBlocks writes the data blocks of an inode.
func (w *writer) emitBlocks(ino *inode) {
	switch {
	case ino.node.isDir():
		w.buf = w.appendDir(w.buf[:0], ino, false)
		w.write(w.buf)
	case ino.node.typ() == typeSymlink:
		w.write(append(w.buf[:0], ino.node.Target...))
		w.padTo(roundUp(w.pos, blockSize))
	default:
		b := w.buf[:0]
		for range blockSize {
			b = append(b, 0xff) // chunkNull, 1024 times
		}
		w.write(b)
	}
}
