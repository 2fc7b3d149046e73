package ext4

import (
	"fmt"
	"io"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// A Device is where the file system lies; offsets are bytes from its start.
// Ranges never written read as zeros. It must be safe for concurrent use on
// disjoint ranges.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// PunchHole makes a range read as zeros again, and gives its space back.
	PunchHole(off, n int64) error
}

// Features is a set of features that can be left out.
type Features uint32

// The features that Options.Without takes.
const (
	// Verity lets files be sealed with fs-verity (Linux 5.4).
	Verity Features = 1 << iota
	// ChecksumSeed keeps the seed of all checksums apart from the UUID, so
	// that a new UUID is one write to the superblock (metadata_csum_seed:
	// Linux 4.4, e2fsprogs 1.43; GRUB since 2.12 and EL9's 2.06).
	ChecksumSeed
	// ResizeInode reserves room for group descriptors, so that the file
	// system can grow up to Options.GrowTo without moving anything.
	ResizeInode
)

// Options are the properties of a new file system. The zero value works.
type Options struct {
	UUID [16]byte
	// HashSeed salts the hashes of names in indexed directories.
	HashSeed [16]byte
	// Label is the volume name, at most 16 bytes.
	Label string
	// Time stands in the superblock, as change and creation time of every
	// inode, and as access and modification time of those without ModTime.
	Time time.Time
	// InodesPerGroup is the number of inodes in each 128 MiB: a multiple of
	// 16, at most 16384. 0 means 8192, one for every 16 KiB.
	InodesPerGroup uint32
	// JournalSize is in bytes; 0 means mke2fs's choice for the final size.
	JournalSize int64
	// GrowTo is the size in bytes up to which resizing stays simple; 0 means
	// 8 TiB, the most that mke2fs provides for. For 8 TiB, 4 MiB are kept free
	// in each of the few groups that hold a copy of the superblock. Below
	// 1 GiB, where the journal is small, less room is kept (Linux must be able
	// to grow the file system while it is mounted): 4 TiB, below 128 MiB 1 TiB.
	GrowTo int64
	// ReservedPercent of the blocks are for root alone; 0 means 5 as in
	// mke2fs, a negative number none.
	ReservedPercent int
	// Without lists features to leave out.
	Without Features
}

const (
	defaultInodesPerGroup = 8192
	defaultGrowTo         = 8 << 40
	maxGrowTo             = 64 << 40
)

func (o *Options) check() error {
	if len(o.Label) > 16 {
		return fmt.Errorf("file system label %q is longer than 16 bytes", o.Label)
	}
	if o.InodesPerGroup == 0 {
		o.InodesPerGroup = defaultInodesPerGroup
	}
	if o.InodesPerGroup%inodesPerBlock != 0 || o.InodesPerGroup > 16384 {
		return fmt.Errorf("%d inodes per group: must be a multiple of %d, at most 16384", o.InodesPerGroup, inodesPerBlock)
	}
	if o.GrowTo == 0 {
		o.GrowTo = defaultGrowTo
	}
	if o.GrowTo < 0 || o.GrowTo > maxGrowTo {
		return fmt.Errorf("room to grow to %d bytes: must be at most %d", o.GrowTo, int64(maxGrowTo))
	}
	if o.JournalSize != 0 && (o.JournalSize < minJournalBlocks*blockSize || o.JournalSize > maxJournalBlocks*blockSize) {
		return fmt.Errorf("journal of %d bytes: must be %d to %d", o.JournalSize, minJournalBlocks*blockSize, int64(maxJournalBlocks)*blockSize)
	}
	if o.ReservedPercent == 0 {
		o.ReservedPercent = 5
	}
	if o.ReservedPercent > 50 {
		return fmt.Errorf("%d percent reserved: must be at most 50", o.ReservedPercent)
	}
	return nil
}

// Usage is what a tree needs, told to the caller of Finish so that it can
// choose the size of the file system.
type Usage struct {
	// MinBytes is the smallest size that holds everything, journal included.
	MinBytes int64
	// DataBytes is what the blocks of files, directories, long symbolic
	// links and attributes take.
	DataBytes int64
	// Inodes is the number of inodes in use.
	Inodes int64
}

// Stats describes a finished file system. Sizes are in bytes.
type Stats struct {
	Size         int64
	FreeBytes    int64
	DataBytes    int64
	JournalBytes int64
	Inodes       int64
	FreeInodes   int64
	// Zero lists the zeros that must be there even where a program that skips
	// holes or zeros copies the image over old contents: the journal, whose
	// old transactions could be taken for new ones after a crash, the first
	// blocks of files that begin with zeros, and bitmaps of empty groups. Everything else that reads as zeros may
	// be left as it is.
	Zero []Range
}

// A Range is n bytes at an offset from the file system's start.
type Range struct{ Off, Len int64 }

// A Patch is bytes to be written at an offset from the file system's start.
type Patch struct {
	Off  int64
	Data []byte
}

var _ tree.Content = (*Data)(nil)
