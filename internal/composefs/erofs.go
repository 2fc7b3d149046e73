package composefs

import (
	"encoding/binary"
	"math/bits"
)

// Numbers of the format; sizes in bytes, all integers little-endian.
const (
	blockSize   = 4096
	blockBits   = 12
	slotSize    = 32
	superOffset = 1024
	superSize   = 128
	compactSize = 32
	extendSize  = 64
	direntSize  = 12

	headerMagic   = 0xd078629a
	headerVersion = 1
	flagACL       = 1
	superMagic    = 0xe0f5e1e2
	// featureCompat is modification times in inodes, and the attribute filter.
	featureCompat = 6

	layoutPlain  = 0
	layoutInline = 2
	layoutChunks = 4

	maxChunkBits = 31 + blockBits
	maxChunks    = 1024
	chunkNull    = 0xffffffff
)

var le = binary.LittleEndian

func roundUp(n, align uint64) uint64 { return (n + align - 1) / align * align }

// chunkBits returns the binary logarithm of the chunk size for a file: few
// chunks, no larger than needed.
func chunkBits(size uint64) int {
	if size == 0 {
		return blockBits
	}
	return min(max(bits.Len64(size-1), blockBits), maxChunkBits)
}

func chunkCount(size uint64) uint64 {
	if size == 0 {
		return 0
	}
	return (size-1)>>chunkBits(size) + 1
}

// direntType is the type byte of directory entries.
func direntType(mode uint32) byte {
	switch mode & typeMask {
	case typeRegular:
		return 1
	case typeDir:
		return 2
	case typeChar:
		return 3
	case typeBlock:
		return 4
	case typeFIFO:
		return 5
	case typeSocket:
		return 6
	case typeSymlink:
		return 7
	}
	return 0
}

// header is the part of the image before the superblock.
type header struct {
	flags   uint32
	version uint32 // of the image: 1 if it has whiteouts
}

func (h header) encode() []byte {
	b := make([]byte, superOffset)
	le.PutUint32(b[0:], headerMagic)
	le.PutUint32(b[4:], headerVersion)
	le.PutUint32(b[8:], h.flags)
	le.PutUint32(b[12:], h.version)
	return b
}

// super is the superblock; the fields that are missing are zero.
type super struct {
	rootNID     uint16
	inodes      uint64
	blocks      uint32 // of the whole image
	xattrBlkAdr uint32 // the block that offsets of shared attributes count from
}

func (s super) encode() []byte {
	b := make([]byte, superSize)
	le.PutUint32(b[0:], superMagic)
	le.PutUint32(b[8:], featureCompat)
	b[12] = blockBits
	le.PutUint16(b[14:], s.rootNID)
	le.PutUint64(b[16:], s.inodes)
	le.PutUint32(b[36:], s.blocks)
	le.PutUint32(b[44:], s.xattrBlkAdr)
	return b
}

// rawInode is an inode as it lies in the image, compact or extended.
type rawInode struct {
	compact bool
	layout  uint16
	icount  uint16 // 0, or the attribute area's words of 4 bytes less 2
	mode    uint16
	nlink   uint32
	size    uint64
	u       uint32 // block address, chunk format or device number
	ino     uint32
	uid     uint32
	gid     uint32
}

func (i *rawInode) encode(b []byte) []byte {
	if i.compact {
		b = le.AppendUint16(b, i.layout<<1)
		b = le.AppendUint16(b, i.icount)
		b = le.AppendUint16(b, i.mode)
		b = le.AppendUint16(b, uint16(i.nlink))
		b = le.AppendUint32(b, uint32(i.size))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, i.u)
		b = le.AppendUint32(b, i.ino)
		b = le.AppendUint16(b, uint16(i.uid))
		b = le.AppendUint16(b, uint16(i.gid))
		return le.AppendUint32(b, 0)
	}
	b = le.AppendUint16(b, i.layout<<1|1)
	b = le.AppendUint16(b, i.icount)
	b = le.AppendUint16(b, i.mode)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, i.size)
	b = le.AppendUint32(b, i.u)
	b = le.AppendUint32(b, i.ino)
	b = le.AppendUint32(b, i.uid)
	b = le.AppendUint32(b, i.gid)
	b = le.AppendUint64(b, 0) // mtime
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, i.nlink)
	return append(b, make([]byte, 16)...)
}

// xxh32 is the 32-bit xxHash (https://xxhash.com), which picks the bits of the
// attribute filter.
func xxh32(s string, seed uint32) uint32 {
	const p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
	word := func(i int) uint32 {
		return uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24
	}
	h := seed + p5
	i := 0
	if len(s) >= 16 {
		lanes := [4]uint32{seed, seed + p2, seed, seed}
		lanes[0] += p1
		lanes[0] += p2
		lanes[3] -= p1
		for ; i+16 <= len(s); i += 16 {
			for k := range lanes {
				lanes[k] = bits.RotateLeft32(lanes[k]+word(i+4*k)*p2, 13) * p1
			}
		}
		h = bits.RotateLeft32(lanes[0], 1) + bits.RotateLeft32(lanes[1], 7) + bits.RotateLeft32(lanes[2], 12) + bits.RotateLeft32(lanes[3], 18)
	}
	h += uint32(len(s))
	for ; i+4 <= len(s); i += 4 {
		h = bits.RotateLeft32(h+word(i)*p3, 17) * p4
	}
	for ; i < len(s); i++ {
		h = bits.RotateLeft32(h+uint32(s[i])*p5, 11) * p1
	}
	h ^= h >> 15
	h *= p2
	h ^= h >> 13
	h *= p3
	return h ^ h>>16
}
