package ext4

import "encoding/binary"

// Bits of i_flags.
const (
	flagImmutable  = 0x00000010
	flagEncrypted  = 0x00000800
	flagIndex      = 0x00001000
	flagHugeFile   = 0x00040000
	flagExtents    = 0x00080000
	flagVerity     = 0x00100000
	flagEAInode    = 0x00200000
	flagInlineData = 0x10000000
	flagCasefold   = 0x40000000
)

const sectorsPerBlock = blockSize / 512

// An inodeImage is what an inode has beyond its node: the places of things.
type inodeImage struct {
	mode      uint16
	flags     uint32
	uid, gid  uint32
	links     uint32
	size      int64
	blocks    uint64 // data, extent tree and attribute blocks
	mtime     stamp
	born      stamp    // change and creation time
	root      [60]byte // i_block: extent root, target or device number
	fileACL   uint64
	xattrBody []byte
}

// encode writes the inode's 256 bytes ("Index nodes" in the kernel's
// description) to b, which must be zeros.
func (i *inodeImage) encode(b []byte, ino, fsSeed uint32) {
	le := binary.LittleEndian
	le.PutUint16(b[0x00:], i.mode)
	le.PutUint16(b[0x02:], uint16(i.uid))
	le.PutUint32(b[0x04:], uint32(i.size)) // i_size_lo
	putStamp(b[0x08:], b[0x8C:], i.mtime)  // i_atime
	putStamp(b[0x0C:], b[0x84:], i.born)   // i_ctime
	putStamp(b[0x10:], b[0x88:], i.mtime)  // i_mtime
	le.PutUint16(b[0x18:], uint16(i.gid))
	le.PutUint16(b[0x1A:], uint16(i.links))
	flags, blocks := i.flags, i.blocks*sectorsPerBlock
	if blocks >= 1<<48 {
		flags, blocks = flags|flagHugeFile, i.blocks
	}
	le.PutUint32(b[0x1C:], uint32(blocks)) // i_blocks_lo
	le.PutUint32(b[0x20:], flags)
	copy(b[0x28:0x64], i.root[:]) // i_block
	le.PutUint32(b[0x68:], uint32(i.fileACL))
	le.PutUint32(b[0x6C:], uint32(i.size>>32)) // i_size_high
	le.PutUint16(b[0x74:], uint16(blocks>>32)) // l_i_blocks_high
	le.PutUint16(b[0x76:], uint16(i.fileACL>>32))
	le.PutUint16(b[0x78:], uint16(i.uid>>16))
	le.PutUint16(b[0x7A:], uint16(i.gid>>16))
	le.PutUint16(b[0x80:], extraSize)
	putStamp(b[0x90:], b[0x94:], i.born) // i_crtime
	copy(b[inodeXattrs:], i.xattrBody)
	setInodeSum(b, ino, fsSeed)
}

// setInodeSum stores the checksum over number, generation and the inode itself
// with empty checksum fields.
func setInodeSum(b []byte, ino, fsSeed uint32) {
	sum := inodeSum(b, ino, fsSeed)
	binary.LittleEndian.PutUint16(b[0x7C:], uint16(sum))     // l_i_checksum_lo
	binary.LittleEndian.PutUint16(b[0x82:], uint16(sum>>16)) // i_checksum_hi
}

func inodeSum(b []byte, ino, fsSeed uint32) uint32 {
	binary.LittleEndian.PutUint16(b[0x7C:], 0)
	binary.LittleEndian.PutUint16(b[0x82:], 0)
	return crc32c(inodeSeed(fsSeed, ino, binary.LittleEndian.Uint32(b[0x64:])), b)
}

// putStamp writes a time: 32 bits of seconds, and in the extra field two more
// and the nanoseconds.
func putStamp(low, extra []byte, t stamp) {
	binary.LittleEndian.PutUint32(low, uint32(t.sec))
	epoch := uint32((t.sec - int64(int32(t.sec))) >> 32)
	binary.LittleEndian.PutUint32(extra, t.nsec<<2|epoch&3)
}

func getStamp(low, extra uint32) stamp {
	return stamp{int64(int32(low)) + int64(extra&3)<<32, extra >> 2}
}

// deviceRoot is the i_block of a device node: the short form where it fits, else
// the long one in the second word.
func deviceRoot(major, minor uint32) (root [60]byte) {
	if major < 256 && minor < 256 {
		binary.LittleEndian.PutUint32(root[0:], major<<8|minor)
	} else {
		binary.LittleEndian.PutUint32(root[4:], minor&0xff|major<<8|(minor&^0xff)<<12)
	}
	return root
}

func deviceNumber(root []byte) [2]uint32 {
	if v := binary.LittleEndian.Uint32(root); v != 0 {
		return [2]uint32{v >> 8 & 0xff, v & 0xff}
	}
	v := binary.LittleEndian.Uint32(root[4:])
	return [2]uint32{v >> 8 & 0xfff, v&0xff | v>>12&^0xff}
}
