package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"strings"
)

// An FS reads an ext4 file system. It may be used by several goroutines.
type FS struct {
	r        io.ReaderAt
	info     Info
	seed     uint32
	sums     bool // checksums are checked
	inodes   uint32
	perGroup uint32
	inodeLen int64
	descLen  int64
	descAt   int64 // offset of the group descriptors
	groups   uint64
	filetype bool
}

// Info is what a superblock says of its file system. Sizes are in bytes.
type Info struct {
	UUID      [16]byte
	Label     string
	Size      int64
	FreeBytes int64
	BlockSize int64
	Inodes    int64
	// Features are the names of all features, as tune2fs has them.
	Features []string
}

// An UnsupportedError names a feature that the reader does not know.
type UnsupportedError struct{ Feature string }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("ext4 feature %s is not supported", e.Feature)
}

var errCorrupt = errors.New("the file system is damaged")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errCorrupt, fmt.Sprintf(format, args...))
}

type feature struct {
	bit  uint32
	name string
	// known says that the reader understands it, or need not.
	known bool
}

var (
	compatFeatures = []feature{
		{compatHasJournal, "has_journal", true}, {compatExtAttr, "ext_attr", true}, {compatResizeInode, "resize_inode", true},
		{compatDirIndex, "dir_index", true}, {0x200, "sparse_super2", true}, {0x400, "fast_commit", true}, {0x1000, "orphan_file", true},
	}
	incompatFeatures = []feature{
		{incompatFiletype, "filetype", true}, {incompatRecover, "needs_recovery", false}, {0x8, "journal_dev", false}, {0x10, "meta_bg", false},
		{incompatExtents, "extent", true}, {incompat64bit, "64bit", true}, {0x100, "mmp", false}, {incompatFlexBG, "flex_bg", true},
		{0x400, "ea_inode", false}, {0x1000, "dirdata", false}, {incompatCsumSeed, "metadata_csum_seed", true},
		{0x4000, "large_dir", false}, {0x8000, "inline_data", false}, {0x10000, "encrypt", false}, {0x20000, "casefold", false},
	}
	roCompatFeatures = []feature{
		{roCompatSparseSuper, "sparse_super", true}, {roCompatLargeFile, "large_file", true}, {roCompatHugeFile, "huge_file", true},
		{0x10, "uninit_bg", true}, {roCompatDirNlink, "dir_nlink", true}, {roCompatExtraIsize, "extra_isize", true},
		{0x100, "quota", true}, {0x200, "bigalloc", true}, {roCompatMetadataCsum, "metadata_csum", true}, {0x1000, "read-only", true},
		{0x2000, "project", true}, {roCompatVerity, "verity", true}, {0x10000, "orphan_present", true},
	}
)

// Open reads the superblock of a file system. It refuses file systems whose
// journal must be replayed first.
func Open(r io.ReaderAt) (*FS, error) {
	f, err := open(r, checkSums)
	if err != nil {
		return nil, fmt.Errorf("opening an ext4 file system: %w", err)
	}
	return f, nil
}

type sumChecks int

const (
	checkSums sumChecks = iota
	ignoreSums
)

func open(r io.ReaderAt, checks sumChecks) (*FS, error) {
	b := make([]byte, superSize)
	if _, err := r.ReadAt(b, superOffset); err != nil {
		return nil, fmt.Errorf("reading the superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint16(b[0x38:]) != superMagic {
		return nil, errors.New("there is no ext4 superblock")
	}
	f := &FS{r: r}
	incompat, roCompat := le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
	if err := f.takeFeatures(le.Uint32(b[0x5C:]), incompat, roCompat); err != nil {
		return nil, err
	}
	f.filetype = incompat&incompatFiletype != 0
	f.sums = roCompat&roCompatMetadataCsum != 0 && checks == checkSums
	if f.sums && crc32c(1<<32-1, b[:0x3FC]) != le.Uint32(b[0x3FC:]) {
		return nil, corrupt("the superblock's checksum is wrong")
	}
	copy(f.info.UUID[:], b[0x68:])
	f.info.Label = strings.TrimRight(string(b[0x78:0x88]), "\x00")
	f.seed = crc32c(1<<32-1, f.info.UUID[:])
	if incompat&incompatCsumSeed != 0 {
		f.seed = le.Uint32(b[0x270:])
	}
	return f, f.takeGeometry(b, incompat&incompat64bit != 0)
}

func (f *FS) takeFeatures(compat, incompat, roCompat uint32) error {
	for i, set := range []struct {
		bits  uint32
		names []feature
	}{{compat, compatFeatures}, {incompat, incompatFeatures}, {roCompat, roCompatFeatures}} {
		rest := set.bits
		for _, x := range set.names {
			if set.bits&x.bit == 0 {
				continue
			}
			rest &^= x.bit
			f.info.Features = append(f.info.Features, x.name)
			if !x.known {
				return &UnsupportedError{x.name}
			}
		}
		if rest != 0 && i == 1 {
			return &UnsupportedError{fmt.Sprintf("FEATURE_I%d", 31-bits.LeadingZeros32(rest))}
		}
	}
	return nil
}

func (f *FS) takeGeometry(b []byte, wide bool) error {
	le := binary.LittleEndian
	logBlock, logCluster := le.Uint32(b[0x18:]), le.Uint32(b[0x1C:])
	if logBlock > 6 || logCluster > 20 {
		return corrupt("the size of blocks is impossible")
	}
	f.info.BlockSize = 1024 << logBlock
	blocks, free := uint64(le.Uint32(b[0x04:])), uint64(le.Uint32(b[0x0C:]))
	f.descLen, f.inodeLen = 32, 128
	if wide {
		blocks |= uint64(le.Uint32(b[0x150:])) << 32
		free |= uint64(le.Uint32(b[0x158:])) << 32
		f.descLen = int64(le.Uint16(b[0xFE:]))
	}
	if le.Uint32(b[0x4C:]) > 0 {
		f.inodeLen = int64(le.Uint16(b[0x58:]))
	}
	perGroup := uint64(le.Uint32(b[0x20:]))
	f.inodes, f.perGroup = le.Uint32(b[0:]), le.Uint32(b[0x28:])
	first := uint64(le.Uint32(b[0x14:]))
	switch {
	case blocks == 0 || blocks > 1<<47 || free > blocks || first > 1 || first >= blocks:
		return corrupt("the number of blocks is impossible")
	case f.inodeLen < 128 || f.inodeLen > f.info.BlockSize || f.inodeLen&(f.inodeLen-1) != 0:
		return corrupt("inodes of %d bytes", f.inodeLen)
	case f.descLen < 32 || f.descLen > f.info.BlockSize || f.descLen&(f.descLen-1) != 0 || wide && f.descLen < 64:
		return corrupt("group descriptors of %d bytes", f.descLen)
	case perGroup == 0 || f.perGroup == 0 || f.inodes == 0:
		return corrupt("groups are empty")
	}
	f.groups = (blocks - first + perGroup - 1) / perGroup
	f.descAt = int64(first+1) * f.info.BlockSize
	f.info.Size, f.info.FreeBytes, f.info.Inodes = int64(blocks)*f.info.BlockSize, int64(free)*f.info.BlockSize, int64(f.inodes)
	return nil
}

// Info is what the superblock says.
func (f *FS) Info() Info { return f.info }

// readAt fills b from the device; what lies behind its end is damage.
func (f *FS) readAt(b []byte, off int64) error {
	if off < 0 || off > f.info.Size-int64(len(b)) {
		return corrupt("a reference behind the end")
	}
	n, err := f.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at offset %d of the file system: %w", len(b), off, err)
}

// readBlock returns a block's content.
func (f *FS) readBlock(block uint64) ([]byte, error) {
	if block == 0 || block >= uint64(f.info.Size/f.info.BlockSize) {
		return nil, corrupt("a reference to block %d", block)
	}
	b := make([]byte, f.info.BlockSize)
	return b, f.readAt(b, int64(block)*f.info.BlockSize)
}

// notExist is the error of a path that is not there.
func notExist(path string) error {
	return &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
}
