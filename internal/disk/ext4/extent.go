package ext4

import "encoding/binary"

const (
	extentMagic    = 0xF30A
	extentMaxLen   = 32768
	extentEntry    = 12 // header, index entry and extent alike
	rootExtents    = 4
	blockExtents   = (blockSize - extentEntry - 4) / extentEntry
	extentTailOff  = extentEntry * (1 + blockExtents)
	maxExtentDepth = 5
)

// countExtents is the number of extents after splitting at ext4's limit.
func countExtents(ext []extent) int {
	n := 0
	for _, e := range ext {
		n += int((e.len + extentMaxLen - 1) / extentMaxLen)
	}
	return n
}

// encodeExtents returns the i_block of a file with the given extents, and how
// many blocks place was called for to hold what does not fit into it.
func encodeExtents(ext []extent, seed uint32, place func([]byte) (uint64, error)) (root [60]byte, treeBlocks uint64, err error) {
	var entries []byte
	for _, e := range ext {
		for e.len > 0 {
			n := min(e.len, extentMaxLen)
			entries = appendExtent(entries, e.logical, n, e.phys)
			e = extent{e.logical + n, e.len - n, e.phys + uint64(n)}
		}
	}
	depth := uint16(0)
	for len(entries) > rootExtents*extentEntry {
		var above []byte
		for len(entries) > 0 {
			n := min(len(entries), blockExtents*extentEntry)
			b := make([]byte, blockSize)
			putExtentHeader(b, n/extentEntry, blockExtents, depth)
			copy(b[extentEntry:], entries[:n])
			binary.LittleEndian.PutUint32(b[extentTailOff:], crc32c(seed, b[:extentTailOff]))
			at, err := place(b)
			if err != nil {
				return root, 0, err
			}
			treeBlocks++
			above = appendIndex(above, binary.LittleEndian.Uint32(entries), at)
			entries = entries[n:]
		}
		entries = above
		depth++
	}
	putExtentHeader(root[:], len(entries)/extentEntry, rootExtents, depth)
	copy(root[extentEntry:], entries)
	return root, treeBlocks, nil
}

// putExtentHeader writes struct ext4_extent_header.
func putExtentHeader(b []byte, entries, limit int, depth uint16) {
	binary.LittleEndian.PutUint16(b[0:], extentMagic)
	binary.LittleEndian.PutUint16(b[2:], uint16(entries))
	binary.LittleEndian.PutUint16(b[4:], uint16(limit))
	binary.LittleEndian.PutUint16(b[6:], depth)
}

// appendExtent appends a struct ext4_extent.
func appendExtent(b []byte, logical, n uint32, phys uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, logical)
	b = binary.LittleEndian.AppendUint16(b, uint16(n))
	b = binary.LittleEndian.AppendUint16(b, uint16(phys>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(phys))
}

// appendIndex appends a struct ext4_extent_idx.
func appendIndex(b []byte, logical uint32, at uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, logical)
	b = binary.LittleEndian.AppendUint32(b, uint32(at))
	b = binary.LittleEndian.AppendUint16(b, uint16(at>>32))
	return append(b, 0, 0)
}
