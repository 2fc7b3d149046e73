package ext4

import "encoding/binary"

const (
	minJournalBlocks = 1024
	maxJournalBlocks = 1 << 18
	journalIno       = 8
	journalMagic     = 0xC03B3998
)

// journalRule is the journal that mke2fs makes for a file system, both in blocks.
var journalRule = []struct{ below, journal uint64 }{
	{1 << 15, 1 << 10},
	{1 << 18, 1 << 12},
	{1 << 19, 1 << 13},
	{1 << 22, 1 << 14},
	{1 << 23, 1 << 15},
	{1 << 24, 1 << 16},
	{1 << 25, 1 << 17},
	{1 << 63, 1 << 18},
}

func journalBlocks(blocks uint64) uint64 {
	for _, r := range journalRule {
		if blocks < r.below {
			return r.journal
		}
	}
	return maxJournalBlocks
}

// journalSuper is the first block of an empty journal (jbd2's superblock,
// version 2, big endian).
func journalSuper(blocks uint64, uuid [16]byte) []byte {
	b := make([]byte, blockSize)
	be := binary.BigEndian
	be.PutUint32(b[0x00:], journalMagic)
	be.PutUint32(b[0x04:], 4) // h_blocktype: superblock version 2
	be.PutUint32(b[0x0C:], blockSize)
	be.PutUint32(b[0x10:], uint32(blocks)) // s_maxlen
	be.PutUint32(b[0x14:], 1)              // s_first
	be.PutUint32(b[0x18:], 1)              // s_sequence; s_start 0 says empty
	copy(b[0x30:], uuid[:])
	be.PutUint32(b[0x40:], 1) // s_nr_users
	return b
}
