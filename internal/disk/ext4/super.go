package ext4

import "encoding/binary"

// Feature bits of the superblock.
const (
	compatHasJournal  = 0x0004
	compatExtAttr     = 0x0008
	compatResizeInode = 0x0010
	compatDirIndex    = 0x0020

	incompatFiletype = 0x0002
	incompatRecover  = 0x0004
	incompatExtents  = 0x0040
	incompat64bit    = 0x0080
	incompatFlexBG   = 0x0200
	incompatCsumSeed = 0x2000

	roCompatSparseSuper  = 0x0001
	roCompatLargeFile    = 0x0002
	roCompatHugeFile     = 0x0008
	roCompatDirNlink     = 0x0020
	roCompatExtraIsize   = 0x0040
	roCompatMetadataCsum = 0x0400
	roCompatVerity       = 0x8000
)

const (
	superOffset = 1024
	superSize   = 1024
	superMagic  = 0xEF53
)

// geometry is what is known once the final size is.
type geometry struct {
	blocks   uint64
	groups   uint64
	desc     uint64 // descriptor blocks in use
	reserved uint64 // and reserved behind them
	journal  uint64
}

// A superblock is the numbers of a superblock that are not options.
type superblock struct {
	geo         geometry
	freeBlocks  uint64
	freeInodes  uint64
	journalRoot [60]byte
	overhead    uint64
}

// encodeSuper writes the superblock as group g has it ("Super Block" in the
// kernel's description) to b, which must be 1024 zeros.
func (w *Writer) encodeSuper(b []byte, s *superblock, g uint64) {
	le, o := binary.LittleEndian, &w.opt
	now := newStamp(o.Time).sec
	reserved := s.geo.blocks * uint64(max(o.ReservedPercent, 0)) / 100
	le.PutUint32(b[0x00:], uint32(s.geo.groups*uint64(w.lay.inodesPer)))
	put64(b[0x04:], b[0x150:], s.geo.blocks)
	put64(b[0x08:], b[0x154:], reserved)     // s_r_blocks_count
	put64(b[0x0C:], b[0x158:], s.freeBlocks) // s_free_blocks_count
	le.PutUint32(b[0x10:], uint32(s.freeInodes))
	le.PutUint32(b[0x18:], blockBits-10) // s_log_block_size
	le.PutUint32(b[0x1C:], blockBits-10) // s_log_cluster_size
	le.PutUint32(b[0x20:], blocksPerGroup)
	le.PutUint32(b[0x24:], blocksPerGroup) // s_clusters_per_group
	le.PutUint32(b[0x28:], w.lay.inodesPer)
	putSuperTime(b, 0x30, 0x274, now) // s_wtime
	le.PutUint16(b[0x36:], 0xffff)    // s_max_mnt_count: never
	le.PutUint16(b[0x38:], superMagic)
	le.PutUint16(b[0x3A:], 1)         // s_state: clean
	le.PutUint16(b[0x3C:], 1)         // s_errors: continue
	putSuperTime(b, 0x40, 0x277, now) // s_lastcheck
	le.PutUint32(b[0x4C:], 1)         // s_rev_level: dynamic
	le.PutUint32(b[0x54:], firstIno)  // s_first_ino
	le.PutUint16(b[0x58:], inodeSize) // s_inode_size
	le.PutUint16(b[0x5A:], uint16(g)) // s_block_group_nr
	compat, incompat, roCompat := w.features(&s.geo)
	le.PutUint32(b[0x5C:], compat)
	le.PutUint32(b[0x60:], incompat)
	le.PutUint32(b[0x64:], roCompat)
	copy(b[0x68:], o.UUID[:])
	copy(b[0x78:0x88], o.Label)
	le.PutUint16(b[0xCE:], uint16(s.geo.reserved)) // s_reserved_gdt_blocks
	le.PutUint32(b[0xE0:], journalIno)
	copy(b[0xEC:], o.HashSeed[:])
	b[0xFC] = dxHalfMD4 // s_def_hash_version
	b[0xFD] = 1         // s_jnl_backup_type: inode blocks
	le.PutUint16(b[0xFE:], descSize)
	le.PutUint32(b[0x100:], 0x000C)    // s_default_mount_opts: user_xattr, acl
	putSuperTime(b, 0x108, 0x276, now) // s_mkfs_time
	copy(b[0x10C:], s.journalRoot[:])  // s_jnl_blocks: i_block and i_size
	put64(b[0x14C:], b[0x148:], s.geo.journal<<blockBits)
	le.PutUint16(b[0x15C:], extraSize) // s_min_extra_isize
	le.PutUint16(b[0x15E:], extraSize) // s_want_extra_isize
	le.PutUint32(b[0x160:], 1)         // s_flags: signed directory hash
	b[0x174] = flexBits                // s_log_groups_per_flex
	b[0x175] = 1                       // s_checksum_type: crc32c
	le.PutUint32(b[0x248:], uint32(min(s.overhead, 1<<32-1)))
	if incompat&incompatCsumSeed != 0 {
		le.PutUint32(b[0x270:], w.fsSeed())
	}
	le.PutUint32(b[0x3FC:], crc32c(1<<32-1, b[:0x3FC]))
}

func put64(low, high []byte, v uint64) {
	binary.LittleEndian.PutUint32(low, uint32(v))
	binary.LittleEndian.PutUint32(high, uint32(v>>32))
}

// putSuperTime writes 40 bits of a time that is not negative.
func putSuperTime(b []byte, low, high int, sec int64) {
	sec = max(sec, 0)
	binary.LittleEndian.PutUint32(b[low:], uint32(sec))
	b[high] = uint8(sec >> 32)
}

// fsSeed is where metadata checksums start.
func (w *Writer) fsSeed() uint32 { return crc32c(1<<32-1, w.opt.UUID[:]) }

func (w *Writer) features(g *geometry) (compat, incompat, roCompat uint32) {
	compat = compatHasJournal | compatExtAttr | compatDirIndex
	incompat = incompatFiletype | incompatExtents | incompat64bit | incompatFlexBG
	roCompat = roCompatSparseSuper | roCompatLargeFile | roCompatHugeFile | roCompatDirNlink |
		roCompatExtraIsize | roCompatMetadataCsum
	if g.reserved > 0 {
		compat |= compatResizeInode
	}
	if w.opt.Without&ChecksumSeed == 0 {
		incompat |= incompatCsumSeed
	}
	if w.opt.Without&Verity == 0 {
		roCompat |= roCompatVerity
	}
	return compat, incompat, roCompat
}

func (w *Writer) hashSeed() (seed [4]uint32) {
	for i := range seed {
		seed[i] = binary.LittleEndian.Uint32(w.opt.HashSeed[4*i:])
	}
	return seed
}
