// Package gpt writes and reads GUID partition tables (UEFI 2.10, chapter 5). It
// refuses tables that overlap, overflow or repeat an identifier, and knows
// nothing of what a partition holds or how large it should be.
package gpt

import (
	"fmt"
	"slices"
	"unicode/utf16"

	"github.com/google/uuid"
)

// Partition types used by this project and by the disks it inspects.
var (
	TypeBIOSBoot      = uuid.MustParse("21686148-6449-6e6f-744e-656564454649")
	TypeESP           = uuid.MustParse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	TypeXBOOTLDR      = uuid.MustParse("bc13c2ff-59e6-4262-a352-b275fd6f7172")
	TypeLinux         = uuid.MustParse("0fc63daf-8483-4772-8e79-3d69d8477de4")
	TypeRootX86_64    = uuid.MustParse("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
	TypeRootAArch64   = uuid.MustParse("b921b045-1df0-41c3-af44-4c6f280d3fae")
	AttrLegacyBoot    = uint64(1 << 2)  // legacy BIOS bootable
	AttrGrowFS        = uint64(1 << 59) // systemd grows the file system at mount
	AttrNoAutomount   = uint64(1 << 63) // systemd-gpt-auto-generator leaves it alone
	headerSize        = int64(92)
	entrySize         = int64(128)
	entryCount        = int64(128)
	maxNameUnits      = 36
	bootCodeSize      = 440
	maxTableBytes     = int64(1 << 20)
	headerSignature   = []byte("EFI PART")
	headerRevision    = uint32(0x00010000)
	protectiveType    = byte(0xee)
	mbrPartitionTable = 446
)

// A Table is the partition table of one disk.
type Table struct {
	DiskGUID uuid.UUID
	// SectorSize is the logical sector size in bytes: 512 or 4096; 0 is 512.
	SectorSize int64
	// Size is the size of the whole disk in bytes, a multiple of SectorSize.
	Size int64
	// Partitions are in the order of their numbers.
	Partitions []Partition
	// BootCode goes to the first bytes of the protective MBR; at most 440 bytes.
	BootCode []byte
}

// A Partition is one entry of a table.
type Partition struct {
	// Number is the partition's number, from 1; 0 is one more than the
	// number of the partition before it.
	Number int
	Type   uuid.UUID
	GUID   uuid.UUID
	// Name is at most 36 UTF-16 units.
	Name  string
	Attrs uint64
	// Start and Size are in bytes, multiples of the sector size.
	Start int64
	Size  int64
}

// End is the first byte after the partition.
func (p Partition) End() int64 { return p.Start + p.Size }

// FirstUsable is the first byte that a partition may use.
func (t *Table) FirstUsable() int64 { return 2*t.sector() + t.entryBytes() }

// LastUsable is the first byte after the last that a partition may use.
func (t *Table) LastUsable() int64 { return t.Size - t.sector() - t.entryBytes() }

// Tail is the number of bytes that the backup table takes at the disk's end.
func Tail(sectorSize int64) int64 {
	t := Table{SectorSize: sectorSize}
	return t.sector() + t.entryBytes()
}

func (t *Table) sector() int64 {
	if t.SectorSize == 0 {
		return 512
	}
	return t.SectorSize
}

func (t *Table) entryBytes() int64 {
	s := t.sector()
	return (entryCount*entrySize + s - 1) / s * s
}

// numbered returns the partitions with their numbers filled in.
func (t *Table) numbered() []Partition {
	ps := slices.Clone(t.Partitions)
	last := 0
	for i := range ps {
		if ps[i].Number == 0 {
			ps[i].Number = last + 1
		}
		last = ps[i].Number
	}
	return ps
}

// Check reports the first thing that makes the table one that Write refuses.
func (t *Table) Check() error {
	s := t.sector()
	if s != 512 && s != 4096 {
		return fmt.Errorf("checking partition table: sector size %d is neither 512 nor 4096", s)
	}
	if t.Size%s != 0 {
		return fmt.Errorf("checking partition table: disk size %d is not a multiple of the sector size %d", t.Size, s)
	}
	if t.LastUsable() <= t.FirstUsable() {
		return fmt.Errorf("checking partition table: a disk of %d bytes is too small for a table", t.Size)
	}
	if len(t.BootCode) > bootCodeSize {
		return fmt.Errorf("checking partition table: boot code of %d bytes is over %d", len(t.BootCode), bootCodeSize)
	}
	if t.DiskGUID == uuid.Nil {
		return fmt.Errorf("checking partition table: the disk has no identifier")
	}
	guids := map[uuid.UUID]int{t.DiskGUID: 0}
	ps := t.numbered()
	for i, p := range ps {
		if err := t.checkPartition(p); err != nil {
			return fmt.Errorf("checking partition %d (%q): %w", p.Number, p.Name, err)
		}
		if i > 0 && p.Number <= ps[i-1].Number {
			return fmt.Errorf("checking partition %d (%q): numbers do not rise", p.Number, p.Name)
		}
		if n, ok := guids[p.GUID]; ok {
			return fmt.Errorf("checking partition %d (%q): identifier %s is taken by %s", p.Number, p.Name, p.GUID, owner(n))
		}
		guids[p.GUID] = p.Number
	}
	return overlap(ps)
}

func owner(number int) string {
	if number == 0 {
		return "the disk"
	}
	return fmt.Sprintf("partition %d", number)
}

func (t *Table) checkPartition(p Partition) error {
	s := t.sector()
	switch {
	case p.Number < 1 || int64(p.Number) > entryCount:
		return fmt.Errorf("number is not in 1 to %d", entryCount)
	case p.Type == uuid.Nil || p.GUID == uuid.Nil:
		return fmt.Errorf("type or identifier is missing")
	case len(utf16.Encode([]rune(p.Name))) > maxNameUnits:
		return fmt.Errorf("name is longer than %d UTF-16 units", maxNameUnits)
	case p.Start%s != 0 || p.Size%s != 0:
		return fmt.Errorf("start %d or size %d is not a multiple of the sector size %d", p.Start, p.Size, s)
	case p.Size <= 0:
		return fmt.Errorf("size %d is not positive", p.Size)
	case p.Start < t.FirstUsable() || p.Start > t.LastUsable() || p.Size > t.LastUsable()-p.Start:
		return fmt.Errorf("bytes %d+%d are outside the usable %d to %d", p.Start, p.Size, t.FirstUsable(), t.LastUsable())
	}
	return nil
}

func overlap(ps []Partition) error {
	ps = slices.Clone(ps)
	slices.SortFunc(ps, func(a, b Partition) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	for i := 1; i < len(ps); i++ {
		if ps[i].Start < ps[i-1].End() {
			return fmt.Errorf("checking partition table: partitions %d and %d overlap", ps[i-1].Number, ps[i].Number)
		}
	}
	return nil
}
