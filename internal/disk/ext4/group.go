package ext4

import (
	"encoding/binary"
	"fmt"
)

// Bits of bg_flags. The inode tables are not marked as zeroed: where an image
// is written over old contents without its holes, they are not.
const (
	groupInodeUninit = 1
	groupBlockUninit = 2
)

// A blockMap is the blocks in use, a bitmap for each group that has any.
type blockMap struct {
	maps  []*[blockSize]byte
	total uint64
}

// mark sets n blocks from at on, and reports the first that was set before.
func (m *blockMap) mark(at, n uint64) error {
	for ; n > 0; at, n = at+1, n-1 {
		g, bit := at/blocksPerGroup, at%blocksPerGroup
		for uint64(len(m.maps)) <= g {
			m.maps = append(m.maps, nil)
		}
		if m.maps[g] == nil {
			m.maps[g] = new([blockSize]byte)
		}
		if bit%8 == 0 && n >= 8 && m.maps[g][bit/8] == 0 { // eight at once
			m.maps[g][bit/8] = 0xff
			at, n, m.total = at+7, n-7, m.total+8
			continue
		}
		if m.maps[g][bit/8]&(1<<(bit%8)) != 0 {
			return fmt.Errorf("internal error: block %d is used twice", at)
		}
		m.maps[g][bit/8] |= 1 << (bit % 8)
		m.total++
	}
	return nil
}

func (m *blockMap) has(at uint64) bool {
	g, bit := at/blocksPerGroup, at%blocksPerGroup
	return g < uint64(len(m.maps)) && m.maps[g] != nil && m.maps[g][bit/8]&(1<<(bit%8)) != 0
}

func (m *blockMap) group(g uint64) *[blockSize]byte {
	if g < uint64(len(m.maps)) {
		return m.maps[g]
	}
	return nil
}

// gaps calls f with each run of unused blocks in [start, end).
func (m *blockMap) gaps(s span, f func(block, n uint64) error) error {
	for at := s.start; at < s.end; at++ {
		from := at
		for at < s.end && !m.has(at) {
			at++
		}
		if at > from {
			if err := f(from, at-from); err != nil {
				return err
			}
		}
	}
	return nil
}

// A group is the numbers of one group's descriptor.
type group struct {
	flags      uint16
	freeBlocks uint32
	usedInodes uint32
	dirs       uint32
	blockSum   uint32
	inodeSum   uint32
}

// encodeGroup writes a descriptor ("Block Group Descriptors" in the kernel's
// description) to b, which must be 64 zeros.
func (l *layout) encodeGroup(b []byte, g uint64, d *group, fsSeed uint32) {
	free := l.inodesPer - d.usedInodes
	put64(b[0x00:], b[0x20:], l.blockBitmap(g))
	put64(b[0x04:], b[0x24:], l.inodeBitmap(g))
	put64(b[0x08:], b[0x28:], l.inodeTable(g))
	put32(b[0x0C:], b[0x2C:], d.freeBlocks)
	put32(b[0x0E:], b[0x2E:], free)
	put32(b[0x10:], b[0x30:], d.dirs)
	binary.LittleEndian.PutUint16(b[0x12:], d.flags)
	put32(b[0x18:], b[0x38:], d.blockSum)
	put32(b[0x1A:], b[0x3A:], d.inodeSum)
	put32(b[0x1C:], b[0x32:], free) // bg_itable_unused: inodes are used in order
	binary.LittleEndian.PutUint16(b[0x1E:], groupSum(b, g, fsSeed))
}

// groupSum is over the group's number and the descriptor with an empty checksum.
func groupSum(b []byte, g uint64, fsSeed uint32) uint16 {
	sum := crc32c(crc32c32(fsSeed, uint32(g)), b[:0x1E])
	return uint16(crc32c(crc32c(sum, []byte{0, 0}), b[0x20:]))
}

// put32 writes a number whose halves lie apart.
func put32(low, high []byte, v uint32) {
	binary.LittleEndian.PutUint16(low, uint16(v))
	binary.LittleEndian.PutUint16(high, uint16(v>>16))
}
