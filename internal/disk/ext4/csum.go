package ext4

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues a checksum as the kernel's crc32c_le does: without the
// inversions at both ends that hash/crc32 adds.
func crc32c(sum uint32, p []byte) uint32 { return ^crc32.Update(^sum, castagnoli, p) }

func crc32c32(sum, v uint32) uint32 {
	return crc32c(sum, binary.LittleEndian.AppendUint32(nil, v))
}

// inodeSeed is where the checksums of an inode's own blocks start; all inodes
// written here have generation 0.
func inodeSeed(fsSeed, ino, generation uint32) uint32 {
	return crc32c32(crc32c32(fsSeed, ino), generation)
}

// nameHash is the hash of a name in an indexed directory: half of MD4, over the
// name as signed characters (superblock flag 1, "signed_directory_hash").
func nameHash(name []byte, seed [4]uint32) (major, minor uint32) {
	sum := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if seed != [4]uint32{} {
		sum = seed
	}
	for len(name) > 0 {
		halfMD4(&sum, hashInput(name))
		name = name[min(len(name), 32):]
	}
	major = sum[1] &^ 1
	if major == 0xfffffffe { // marks the end of a directory
		major -= 2
	}
	return major, sum[2]
}

// hashInput packs up to 32 characters; what is missing is filled with the length.
func hashInput(name []byte) (in [8]uint32) {
	n := uint32(len(name))
	pad := n | n<<8
	pad |= pad << 16
	name = name[:min(len(name), 32)]
	for i := range in {
		v := pad
		for j := 4 * i; j < min(4*i+4, len(name)); j++ {
			v = v<<8 + uint32(int8(name[j]))
		}
		in[i] = v
	}
	return in
}

func halfMD4(sum *[4]uint32, in [8]uint32) {
	const k2, k3 = 0x5a827999, 0x6ed9eba1 // the square roots of 2 and 3, as in MD4
	rounds := [3]struct {
		f     func(x, y, z uint32) uint32
		k     uint32
		order [8]int
		shift [4]int
	}{
		{func(x, y, z uint32) uint32 { return z ^ x&(y^z) }, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{func(x, y, z uint32) uint32 { return x&y + (x^y)&z }, k2, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{func(x, y, z uint32) uint32 { return x ^ y ^ z }, k3, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	}
	a, b, c, d := sum[0], sum[1], sum[2], sum[3]
	for _, r := range rounds {
		for i, word := range r.order {
			a += r.f(b, c, d) + in[word] + r.k
			a = bits.RotateLeft32(a, r.shift[i%4])
			a, b, c, d = d, a, b, c
		}
	}
	sum[0] += a
	sum[1] += b
	sum[2] += c
	sum[3] += d
}
