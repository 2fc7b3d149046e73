package gpt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"unicode/utf16"

	"github.com/google/uuid"
)

// Write writes the protective MBR, the table at the disk's start and its backup
// at the disk's end. It writes no other bytes.
func (t *Table) Write(w io.WriterAt) error {
	if err := t.Check(); err != nil {
		return err
	}
	s := t.sector()
	entries := t.entries()
	last := t.Size/s - 1
	primary := t.header(entries, 1, last, 2)
	backup := t.header(entries, last, 1, last-t.entryBytes()/s)
	for _, part := range []struct {
		name string
		off  int64
		data []byte
	}{
		{"protective MBR", 0, t.protectiveMBR()},
		{"primary header", s, primary},
		{"primary entries", 2 * s, entries},
		{"backup entries", t.LastUsable(), entries},
		{"backup header", last * s, backup},
	} {
		if _, err := w.WriteAt(part.data, part.off); err != nil {
			return fmt.Errorf("writing partition table: %s: %w", part.name, err)
		}
	}
	return nil
}

// protectiveMBR is UEFI 2.10, 5.2.3: one partition of type 0xEE over the disk.
func (t *Table) protectiveMBR() []byte {
	b := make([]byte, t.sector())
	copy(b, t.BootCode)
	e := b[mbrPartitionTable:]
	e[2] = 2 // first sector 0/0/2
	e[4] = protectiveType
	e[5], e[6], e[7] = 0xff, 0xff, 0xff
	binary.LittleEndian.PutUint32(e[8:], 1)
	binary.LittleEndian.PutUint32(e[12:], uint32(min(t.Size/t.sector()-1, math.MaxUint32)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// header is UEFI 2.10, table 5-5.
func (t *Table) header(entries []byte, self, other, entriesLBA int64) []byte {
	s := t.sector()
	b := make([]byte, s)
	le := binary.LittleEndian
	copy(b, headerSignature)
	le.PutUint32(b[8:], headerRevision)
	le.PutUint32(b[12:], uint32(headerSize))
	le.PutUint64(b[24:], uint64(self))
	le.PutUint64(b[32:], uint64(other))
	le.PutUint64(b[40:], uint64(t.FirstUsable()/s))
	le.PutUint64(b[48:], uint64(t.LastUsable()/s-1))
	putGUID(b[56:], t.DiskGUID)
	le.PutUint64(b[72:], uint64(entriesLBA))
	le.PutUint32(b[80:], uint32(entryCount))
	le.PutUint32(b[84:], uint32(entrySize))
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entries[:entryCount*entrySize]))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerSize]))
	return b
}

// entries is UEFI 2.10, table 5-6, padded to whole sectors.
func (t *Table) entries() []byte {
	b := make([]byte, t.entryBytes())
	le := binary.LittleEndian
	s := t.sector()
	for _, p := range t.numbered() {
		e := b[int64(p.Number-1)*entrySize:]
		putGUID(e, p.Type)
		putGUID(e[16:], p.GUID)
		le.PutUint64(e[32:], uint64(p.Start/s))
		le.PutUint64(e[40:], uint64(p.End()/s-1))
		le.PutUint64(e[48:], p.Attrs)
		for i, u := range utf16.Encode([]rune(p.Name)) {
			le.PutUint16(e[56+2*i:], u)
		}
	}
	return b
}

// putGUID stores the first three fields little-endian (UEFI 2.10, appendix A).
func putGUID(b []byte, g uuid.UUID) {
	b[0], b[1], b[2], b[3] = g[3], g[2], g[1], g[0]
	b[4], b[5] = g[5], g[4]
	b[6], b[7] = g[7], g[6]
	copy(b[8:16], g[8:])
}

func getGUID(b []byte) (g uuid.UUID) {
	putGUID(g[:], uuid.UUID(b[:16]))
	return g
}
