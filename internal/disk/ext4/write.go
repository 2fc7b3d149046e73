package ext4

import (
	"encoding/binary"
	"math/bits"
)

const (
	resizeIno  = 7
	resizeDind = 13 // i_block's double indirect block
)

// writeReserved writes the journal and the resize inode's blocks, and makes
// their inodes.
func (f *finisher) writeReserved() error {
	if err := f.writeJournal(); err != nil {
		return err
	}
	if f.dind == 0 {
		return nil
	}
	return f.writeResize()
}

func (f *finisher) writeJournal() error {
	for _, e := range f.journal {
		if err := f.used.mark(e.phys, uint64(e.len)); err != nil {
			return err
		}
	}
	place := func(b []byte) (uint64, error) {
		if err := f.used.mark(f.jtree, 1); err != nil {
			return 0, err
		}
		return f.jtree, f.w.write(f.jtree, b)
	}
	root, blocks, err := encodeExtents(f.journal, inodeSeed(f.seed, journalIno, 0), place)
	if err != nil {
		return err
	}
	now := newStamp(f.w.opt.Time)
	f.head[journalIno] = inodeImage{
		mode: modeRegular | 0o600, flags: flagExtents, links: 1, mtime: now, born: now,
		size: int64(f.geo.journal) << blockBits, blocks: f.geo.journal + blocks, root: root,
	}
	f.super.journalRoot = root
	return f.w.write(f.journal[0].phys, journalSuper(f.geo.journal, f.w.opt.UUID))
}

// writeResize writes the resize inode's blocks: a double indirect block that
// points to the reserved descriptor blocks of the first group, which as
// indirect blocks point to their copies.
func (f *finisher) writeResize() error {
	backups := f.geo.backups()
	first := 1 + f.geo.desc
	dind := make([]byte, blockSize)
	all := make([]byte, f.geo.reserved*blockSize)
	for i := range f.geo.reserved {
		at := first + i
		binary.LittleEndian.PutUint32(dind[(f.geo.desc+i)%addrPerBlock*4:], uint32(at))
		b := all[i*blockSize:]
		for k, g := range backups {
			binary.LittleEndian.PutUint32(b[4*k:], uint32(at+g*blocksPerGroup))
		}
	}
	if err := f.w.write(first, all); err != nil {
		return err
	}
	if err := f.used.mark(f.dind, 1); err != nil {
		return err
	}
	now := newStamp(f.w.opt.Time)
	img := inodeImage{
		mode: modeRegular | 0o600, links: 1, mtime: now, born: now,
		size:   (addrPerBlock*addrPerBlock + addrPerBlock + 12) * blockSize, // all that it could point to
		blocks: 1 + f.geo.reserved*uint64(1+len(backups)),
	}
	binary.LittleEndian.PutUint32(img.root[4*resizeDind:], uint32(f.dind))
	f.head[resizeIno] = img
	return f.w.write(f.dind, dind)
}

// freeUnused punches what arenas wrote and no file has.
func (f *finisher) freeUnused() error {
	for _, a := range f.w.arenas {
		for _, s := range a.spans {
			if err := f.used.gaps(s, f.w.punch); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeInodes writes the inode tables as far as they are used.
func (f *finisher) writeInodes() error {
	last, per := uint64(f.lastInode()), uint64(f.w.lay.inodesPer)
	buf := make([]byte, f.w.lay.tableBlocks*blockSize)
	for g := uint64(0); g*per < last; g++ {
		n := min(per, last-g*per)
		size := (n*inodeSize + blockSize - 1) &^ (blockSize - 1)
		clear(buf[:size])
		for i := range n {
			f.encodeInode(buf[i*inodeSize:(i+1)*inodeSize], uint32(g*per+i+1))
		}
		if err := f.w.write(f.w.lay.inodeTable(g), buf[:size]); err != nil {
			return err
		}
	}
	return nil
}

// encodeInode writes one inode; it must be called in the order of inodes, in
// which attribute blocks are given out.
func (f *finisher) encodeInode(b []byte, ino uint32) {
	if ino < firstIno && ino != rootIno {
		if f.head[ino].mode != 0 {
			f.head[ino].encode(b, ino, f.seed)
		}
		return
	}
	i := int32(rootNode)
	if ino != rootIno {
		i = int32(ino - firstIno + 1)
	}
	n := &f.c.nodes[i]
	img := inodeImage{
		mode: n.mode, flags: n.flags, uid: n.uid, gid: n.gid, links: n.links, size: n.size,
		mtime: n.mtime, born: newStamp(f.w.opt.Time),
	}
	img.root, img.blocks = f.root(i, n)
	if n.xattrs != noXattrs {
		set := &f.c.xattrs.sets[n.xattrs]
		img.xattrBody = set.body
		if set.block >= 0 {
			img.fileACL = f.c.xattrs.blocks[set.block].take()
			img.blocks++
		}
	}
	img.encode(b, ino, f.seed)
}

// root returns a node's i_block, and how many blocks its content takes.
func (f *finisher) root(i int32, n *node) (root [60]byte, blocks uint64) {
	switch {
	case n.flags&flagExtents != 0:
		deep, ok := f.deep[i]
		if root, blocks = deep.root, deep.blocks; !ok {
			root, _, _ = encodeExtents(n.ext, 0, nil) // nothing to place
		}
		for _, e := range n.ext {
			blocks += uint64(e.len)
		}
	case n.link != "":
		copy(root[:], n.link)
	default:
		root = deviceRoot(n.rdev[0], n.rdev[1])
	}
	return root, blocks
}

// writeGroups writes the bitmaps that are not as the kernel would make them
// itself, and collects the descriptors.
func (f *finisher) writeGroups() error {
	dirs := make(map[uint64]uint32)
	for i := range f.c.dirs {
		dirs[uint64(inodeNumber(f.c.dirs[i].node)-1)/uint64(f.w.lay.inodesPer)]++
	}
	if err := f.markTables(); err != nil {
		return err
	}
	f.desc = make([]byte, f.geo.desc*blockSize)
	for g := range f.geo.groups {
		d := group{dirs: dirs[g]}
		if err := f.blockBitmap(g, &d); err != nil {
			return err
		}
		if err := f.inodeBitmap(g, &d); err != nil {
			return err
		}
		f.super.freeBlocks += uint64(d.freeBlocks)
		f.super.freeInodes += uint64(f.w.lay.inodesPer - d.usedInodes)
		f.w.lay.encodeGroup(f.desc[g*descSize:(g+1)*descSize], g, &d, f.seed)
	}
	return nil
}

// markTables marks the bitmaps and inode tables of all groups.
func (f *finisher) markTables() error {
	data := f.used.total
	l := &f.w.lay
	for g := uint64(0); g < f.geo.groups; g += flexSize {
		n := min(flexSize, f.geo.groups-g)
		for _, e := range []span{
			{l.blockBitmap(g), n}, {l.inodeBitmap(g), n}, {l.inodeTable(g), n * uint64(l.tableBlocks)},
		} {
			if err := f.used.mark(e.start, e.end); err != nil {
				return err
			}
		}
	}
	f.super.overhead = f.used.total - data + f.geo.journal
	f.used.total = data
	return nil
}

func (f *finisher) blockBitmap(g uint64, d *group) error {
	size := min(blocksPerGroup, f.geo.blocks-g*blocksPerGroup)
	super := f.geo.superUsed(g)
	f.super.overhead += super
	if f.used.group(g) == nil && g < f.geo.groups-1 {
		d.flags |= groupBlockUninit
		d.freeBlocks = uint32(size - super)
		return nil
	}
	data := f.used.total
	if err := f.used.mark(g*blocksPerGroup, super); err != nil {
		return err
	}
	if err := f.used.mark(g*blocksPerGroup+size, blocksPerGroup-size); err != nil {
		return err
	}
	f.used.total = data
	m := f.bitmapOf(g)
	if isZero(m[:]) { // must not be taken for a hole
		f.zero = append(f.zero, Range{int64(f.w.lay.blockBitmap(g)) << blockBits, blockSize})
	}
	for i := 0; i < blockSize; i += 8 {
		d.freeBlocks += 64 - uint32(bits.OnesCount64(binary.LittleEndian.Uint64(m[i:])))
	}
	d.blockSum = crc32c(f.seed, m[:])
	return f.w.write(f.w.lay.blockBitmap(g), m[:])
}

// bitmapOf is a group's bitmap, empty where nothing was marked.
func (f *finisher) bitmapOf(g uint64) *[blockSize]byte {
	if m := f.used.group(g); m != nil {
		return m
	}
	return new([blockSize]byte)
}

func (f *finisher) inodeBitmap(g uint64, d *group) error {
	per := uint64(f.w.lay.inodesPer)
	if last := uint64(f.lastInode()); last > g*per {
		d.usedInodes = uint32(min(per, last-g*per))
	} else {
		d.flags |= groupInodeUninit
		return nil
	}
	m := make([]byte, blockSize)
	fillBits(m, 0, uint64(d.usedInodes))
	d.inodeSum = crc32c(f.seed, m[:per/8])
	fillBits(m, per, blocksPerGroup)
	return f.w.write(f.w.lay.inodeBitmap(g), m)
}

func fillBits(m []byte, from, to uint64) {
	for ; from < to; from++ {
		m[from/8] |= 1 << (from % 8)
	}
}

// writeSupers writes the descriptors and superblocks, the first one last: until
// then nothing takes the device for a file system.
func (f *finisher) writeSupers() error {
	f.super.geo = f.geo
	for _, g := range f.geo.backups() {
		if err := f.writeSuper(g, 0); err != nil {
			return err
		}
	}
	return f.writeSuper(0, superOffset)
}

func (f *finisher) writeSuper(g uint64, off int) error {
	if err := f.w.write(g*blocksPerGroup+1, f.desc); err != nil {
		return err
	}
	b := make([]byte, blockSize)
	f.w.encodeSuper(b[off:off+superSize], &f.super, g)
	return f.w.write(g*blocksPerGroup, b)
}
