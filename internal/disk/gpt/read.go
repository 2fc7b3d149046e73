package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"

	"github.com/google/uuid"
)

// A DamagedError says that one of the two copies of a table cannot be used.
// Read returns it together with the table of the other copy.
type DamagedError struct {
	Copy string // "primary" or "backup"
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("reading %s partition table: %v", e.Copy, e.Err)
}

// Unwrap returns what is wrong with the copy.
func (e *DamagedError) Unwrap() error { return e.Err }

// ErrNoTable says that a disk has no GUID partition table at all.
var ErrNoTable = errors.New("no GUID partition table")

// Read reads the table of a disk of size bytes, trying sectors of 512 and 4096
// bytes. A table of which one copy is damaged comes with a *DamagedError; two
// copies that differ count as a damaged backup. Without a usable copy the table is nil.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	var seen []error
	for _, sector := range []int64{512, 4096} {
		t, err := readSector(r, size, sector)
		if t != nil {
			return t, err
		}
		if !errors.Is(err, ErrNoTable) {
			seen = append(seen, err)
		}
	}
	if len(seen) > 0 {
		return nil, errors.Join(seen...)
	}
	return nil, fmt.Errorf("reading partition table: %w", ErrNoTable)
}

func readSector(r io.ReaderAt, size, sector int64) (*Table, error) {
	size -= size % sector
	if size < 6*sector {
		return nil, ErrNoTable
	}
	last := size/sector - 1
	primary, perr := readCopy(r, size, sector, 1)
	backup, berr := readCopy(r, size, sector, last)
	switch {
	case perr == nil && berr == nil:
		if err := same(primary, backup); err != nil {
			return primary, &DamagedError{"backup", err}
		}
		return primary, checkMBR(r, primary)
	case perr == nil && errors.Is(berr, ErrNoTable):
		return primary, &DamagedError{"backup", fmt.Errorf("there is none at the disk's end, byte %d", last*sector)}
	case perr == nil:
		return primary, &DamagedError{"backup", berr}
	case berr == nil:
		return backup, &DamagedError{"primary", perr}
	case errors.Is(perr, ErrNoTable) && errors.Is(berr, ErrNoTable):
		return nil, ErrNoTable
	}
	return nil, errors.Join(&DamagedError{"primary", perr}, &DamagedError{"backup", berr})
}

// checkMBR fills in the boot code; a missing protective entry is damage, since
// other systems then take the disk for an empty one.
func checkMBR(r io.ReaderAt, t *Table) error {
	b := make([]byte, 512)
	if _, err := r.ReadAt(b, 0); err != nil {
		return &DamagedError{"primary", fmt.Errorf("reading protective MBR: %w", err)}
	}
	t.BootCode = bytes.TrimRight(b[:bootCodeSize], "\x00")
	if b[510] != 0x55 || b[511] != 0xaa {
		return &DamagedError{"primary", errors.New("the protective MBR has no signature")}
	}
	for i := range 4 {
		if b[mbrPartitionTable+16*i+4] == protectiveType {
			return nil
		}
	}
	return &DamagedError{"primary", errors.New("the protective MBR has no entry of type 0xEE")}
}

func same(a, b *Table) error {
	if a.DiskGUID != b.DiskGUID || len(a.Partitions) != len(b.Partitions) {
		return errors.New("it differs from the primary")
	}
	for i := range a.Partitions {
		if a.Partitions[i] != b.Partitions[i] {
			return fmt.Errorf("it differs from the primary in partition %d", a.Partitions[i].Number)
		}
	}
	return nil
}

// readCopy reads the header at sector lba and the entries that it names.
func readCopy(r io.ReaderAt, size, sector, lba int64) (*Table, error) {
	h := make([]byte, sector)
	if _, err := r.ReadAt(h, lba*sector); err != nil {
		return nil, fmt.Errorf("reading header at byte %d: %w", lba*sector, err)
	}
	if !bytes.Equal(h[:8], headerSignature) {
		return nil, ErrNoTable
	}
	le := binary.LittleEndian
	length := int64(le.Uint32(h[12:]))
	if length < headerSize || length > sector {
		return nil, fmt.Errorf("header size %d is not in %d to %d", length, headerSize, sector)
	}
	sum := le.Uint32(h[16:])
	le.PutUint32(h[16:], 0)
	if got := crc32.ChecksumIEEE(h[:length]); got != sum {
		return nil, fmt.Errorf("header checksum is %08x, its bytes give %08x", sum, got)
	}
	if rev := le.Uint32(h[8:]); rev>>16 != 1 {
		return nil, fmt.Errorf("revision %08x is not 1.x", rev)
	}
	last := size/sector - 1
	if self := le.Uint64(h[24:]); self != uint64(lba) {
		return nil, fmt.Errorf("header at sector %d says it is at sector %d", lba, self)
	}
	if other := le.Uint64(h[32:]); lba == last && other != 1 {
		return nil, fmt.Errorf("header says its twin is at sector %d", other)
	}
	t := &Table{DiskGUID: getGUID(h[56:]), SectorSize: sector, Size: size}
	return t, t.readEntries(r, h)
}

func (t *Table) readEntries(r io.ReaderAt, h []byte) error {
	le := binary.LittleEndian
	n, each := int64(le.Uint32(h[80:])), int64(le.Uint32(h[84:]))
	if each < entrySize || each&(each-1) != 0 || n < 1 || n > maxTableBytes/each {
		return fmt.Errorf("%d entries of %d bytes are no table that can be read", n, each)
	}
	at := le.Uint64(h[72:])
	if at < 2 || at > uint64(t.Size/t.SectorSize) || int64(at)*t.SectorSize > t.Size-n*each {
		return fmt.Errorf("entries at sector %d are outside the disk", at)
	}
	b := make([]byte, n*each)
	if _, err := r.ReadAt(b, int64(at)*t.SectorSize); err != nil {
		return fmt.Errorf("reading entries at sector %d: %w", at, err)
	}
	if sum, got := le.Uint32(h[88:]), crc32.ChecksumIEEE(b); sum != got {
		return fmt.Errorf("checksum of the entries is %08x, their bytes give %08x", sum, got)
	}
	first, last := le.Uint64(h[40:]), le.Uint64(h[48:])
	for i := range n {
		e := b[i*each : (i+1)*each]
		if getGUID(e) == uuid.Nil {
			continue
		}
		from, to := le.Uint64(e[32:]), le.Uint64(e[40:])
		if from < first || to > last || from > to || to >= uint64(t.Size/t.SectorSize) {
			return fmt.Errorf("partition %d (sectors %d to %d) is outside the usable %d to %d", i+1, from, to, first, last)
		}
		t.Partitions = append(t.Partitions, Partition{
			Number: int(i + 1),
			Type:   getGUID(e), GUID: getGUID(e[16:]), Name: getName(e[56:128]), Attrs: le.Uint64(e[48:]),
			Start: int64(from) * t.SectorSize, Size: int64(to-from+1) * t.SectorSize,
		})
	}
	return overlap(t.Partitions)
}

func getName(b []byte) string {
	var u []uint16
	for i := 0; i+1 < len(b); i += 2 {
		c := binary.LittleEndian.Uint16(b[i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}
