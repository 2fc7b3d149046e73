package ext4

import (
	"encoding/binary"
	"slices"
)

// A rawInode is an inode's bytes as read.
type rawInode struct {
	ino uint32
	b   []byte
	off int64 // on the device
}

func (f *FS) inode(ino uint32) (*rawInode, error) {
	if ino == 0 || ino > f.inodes {
		return nil, corrupt("a reference to inode %d", ino)
	}
	g := uint64(ino-1) / uint64(f.perGroup)
	if g >= f.groups {
		return nil, corrupt("inode %d is in no group", ino)
	}
	desc := make([]byte, f.descLen)
	if err := f.readAt(desc, f.descAt+int64(g)*f.descLen); err != nil {
		return nil, err
	}
	if f.sums && f.descLen >= descSize && groupSum(desc, g, f.seed) != binary.LittleEndian.Uint16(desc[0x1E:]) {
		return nil, corrupt("the checksum of group %d is wrong", g)
	}
	table := uint64(binary.LittleEndian.Uint32(desc[0x08:]))
	if f.descLen >= descSize {
		table |= uint64(binary.LittleEndian.Uint32(desc[0x28:])) << 32
	}
	if table >= uint64(f.info.Size/f.info.BlockSize) {
		return nil, corrupt("the inode table of group %d is at block %d", g, table)
	}
	n := &rawInode{ino: ino, b: make([]byte, f.inodeLen)}
	n.off = int64(table)*f.info.BlockSize + int64(uint64(ino-1)%uint64(f.perGroup))*f.inodeLen
	if err := f.readAt(n.b, n.off); err != nil {
		return nil, err
	}
	if f.sums && !n.sumRight(f.seed) {
		return nil, corrupt("the checksum of inode %d is wrong", ino)
	}
	if n.mode() == 0 || n.links() == 0 {
		return nil, corrupt("inode %d is not in use", ino)
	}
	return n, nil
}

func (n *rawInode) sumRight(seed uint32) bool {
	b := slices.Clone(n.b)
	high := n.extra() >= 4
	want := uint32(n.u16(0x7C))
	if high {
		want |= uint32(n.u16(0x82)) << 16
	}
	binary.LittleEndian.PutUint16(b[0x7C:], 0)
	if high {
		binary.LittleEndian.PutUint16(b[0x82:], 0)
	}
	sum := crc32c(inodeSeed(seed, n.ino, n.u32(0x64)), b)
	if !high {
		sum &= 0xffff
	}
	return sum == want
}

func (n *rawInode) u16(off int) uint16 { return binary.LittleEndian.Uint16(n.b[off:]) }
func (n *rawInode) u32(off int) uint32 { return binary.LittleEndian.Uint32(n.b[off:]) }
func (n *rawInode) mode() uint16       { return n.u16(0) }
func (n *rawInode) links() uint16      { return n.u16(0x1A) }
func (n *rawInode) flags() uint32      { return n.u32(0x20) }
func (n *rawInode) root() []byte       { return n.b[0x28:0x64] }
func (n *rawInode) isDir() bool        { return n.mode()&modeType == modeDir }
func (n *rawInode) uid() int           { return int(uint32(n.u16(0x02)) | uint32(n.u16(0x78))<<16) }
func (n *rawInode) gid() int           { return int(uint32(n.u16(0x18)) | uint32(n.u16(0x7A))<<16) }
func (n *rawInode) fileACL() uint64    { return uint64(n.u32(0x68)) | uint64(n.u16(0x76))<<32 }

func (n *rawInode) size() (int64, error) {
	s := int64(n.u32(0x04)) | int64(n.u32(0x6C))<<32
	if s < 0 || s > 1<<60 {
		return 0, corrupt("inode %d has a size of %d", n.ino, s)
	}
	return s, nil
}

// extra is i_extra_isize: how much of what follows the first 128 bytes is fields.
func (n *rawInode) extra() int {
	if len(n.b) < 128+4 {
		return 0
	}
	return int(n.u16(0x80))
}

func (n *rawInode) mtime() stamp {
	if n.extra() >= 0x8C-0x80 {
		return getStamp(n.u32(0x10), n.u32(0x88))
	}
	return getStamp(n.u32(0x10), 0)
}

// extents returns where an inode's content lies. What is allocated but not
// written reads as zeros, as holes do.
func (f *FS) extents(n *rawInode) ([]extent, error) {
	if n.flags()&flagExtents == 0 {
		return nil, &UnsupportedError{"block-mapped files (ext3)"}
	}
	if n.flags()&(flagInlineData|flagEncrypted) != 0 {
		return nil, &UnsupportedError{"inline or encrypted data"}
	}
	w := extentWalk{f: f, seed: inodeSeed(f.seed, n.ino, n.u32(0x64))}
	if err := w.node(n.root(), -1); err != nil {
		return nil, err
	}
	return w.ext, nil
}

type extentWalk struct {
	f    *FS
	seed uint32
	next uint64 // the first logical block that may come
	ext  []extent
}

// node walks one node of the extent tree. Logical blocks only ever grow, so
// that a tree cannot cost more than the blocks it is made of.
func (w *extentWalk) node(b []byte, depth int) error {
	le := binary.LittleEndian
	count, d := int(le.Uint16(b[2:])), int(le.Uint16(b[6:]))
	if le.Uint16(b) != extentMagic || count > int(le.Uint16(b[4:])) || (count+1)*extentEntry > len(b) {
		return corrupt("an extent node")
	}
	if d > maxExtentDepth || depth >= 0 && (d != depth || count == 0) {
		return corrupt("an extent node at the wrong depth")
	}
	for i := 1; i <= count; i++ {
		e := b[i*extentEntry : (i+1)*extentEntry]
		logical := uint64(le.Uint32(e))
		if logical < w.next {
			return corrupt("extents overlap")
		}
		var err error
		if d == 0 {
			err = w.leaf(logical, e)
		} else {
			err = w.child(uint64(le.Uint32(e[4:]))|uint64(le.Uint16(e[8:]))<<32, d-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *extentWalk) leaf(logical uint64, e []byte) error {
	n := uint32(binary.LittleEndian.Uint16(e[4:]))
	phys := uint64(binary.LittleEndian.Uint16(e[6:]))<<32 | uint64(binary.LittleEndian.Uint32(e[8:]))
	hole := n > extentMaxLen // allocated, not written
	if hole {
		n -= extentMaxLen
	}
	if n == 0 || phys == 0 || phys+uint64(n) > uint64(w.f.info.Size/w.f.info.BlockSize) || logical+uint64(n) > 1<<32 {
		return corrupt("an extent")
	}
	w.next = logical + uint64(n)
	if !hole {
		w.ext = append(w.ext, extent{uint32(logical), n, phys})
	}
	return nil
}

func (w *extentWalk) child(block uint64, depth int) error {
	b, err := w.f.readBlock(block)
	if err != nil {
		return err
	}
	if w.f.sums {
		tail := extentEntry * (1 + int(binary.LittleEndian.Uint16(b[4:])))
		if tail+4 > len(b) || crc32c(w.seed, b[:tail]) != binary.LittleEndian.Uint32(b[tail:]) {
			return corrupt("the checksum of extent block %d is wrong", block)
		}
	}
	return w.node(b, depth)
}
