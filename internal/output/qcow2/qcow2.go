// Package qcow2 writes QEMU's copy-on-write image format, version 3, from
// ranges of a disk in one pass, and reads versions 2 and 3. It refuses backing
// files, encryption, external data files and extended L2 entries.
//
// The format is docs/interop/qcow2.txt of QEMU, here called "the format".
package qcow2

import (
	"bytes"
	"fmt"
)

// Compression is how clusters are stored.
type Compression string

// The compressions of the format. Zstd needs QEMU 5.1 or later to read.
const (
	None Compression = ""
	Zlib Compression = "zlib"
	Zstd Compression = "zstd"
)

// ClusterSize is the size in bytes of the clusters that Writer makes.
const ClusterSize = 1 << clusterBits

const (
	clusterBits   = 16
	l2Entries     = ClusterSize / 8
	refsPerBlock  = ClusterSize / 2 // 16 bit reference counts
	headerLength  = 112
	magic         = 0x514649fb
	copiedFlag    = uint64(1) << 63
	compressed    = uint64(1) << 62
	zeroFlag      = uint64(1)
	offsetMask    = uint64(0x00fffffffffffe00)
	csizeShift    = 62 - (clusterBits - 8)
	maxVirtual    = int64(l2Entries) * ClusterSize * (32 << 20 / 8) // the format's largest L1 table, 32 MiB
	incompatDirty = uint64(1) << 0
	incompatBad   = uint64(1) << 1
	incompatData  = uint64(1) << 2
	incompatComp  = uint64(1) << 3
	incompatExtL2 = uint64(1) << 4
)

// typeByte is the compression_type field of the header.
func (c Compression) typeByte() (byte, error) {
	switch c {
	case None, Zlib:
		return 0, nil
	case Zstd:
		return 1, nil
	}
	return 0, fmt.Errorf("qcow2 has no compression %q\nhint: zstd and zlib are known", string(c))
}

var zeros [ClusterSize]byte

// isZero compares at the speed of memory; the first bytes decide for most data.
func isZero(b []byte) bool {
	for len(b) > ClusterSize {
		if !isZero(b[:ClusterSize]) {
			return false
		}
		b = b[ClusterSize:]
	}
	n := min(len(b), 32)
	return bytes.Equal(b[:n], zeros[:n]) && bytes.Equal(b[n:], zeros[:len(b)-n])
}
