package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// An Image is a disk inside a qcow2 file. It is safe for concurrent use.
type Image struct {
	r      io.ReaderAt
	info   Info
	bits   uint
	l1     []uint64
	expand decompressor

	mu     sync.Mutex
	tables recent[[]byte] // L2 tables by offset in the file
	blocks recent[[]byte] // decompressed clusters by L2 entry
}

// Info is what the header of an image says.
type Info struct {
	Version     int
	Size        int64 // of the disk, in bytes
	ClusterSize int64
	Compression Compression // of compressed clusters, if there are any
	Dirty       bool        // it was not closed; its reference counts may be wrong
}

// Info returns what the header says.
func (m *Image) Info() Info { return m.info }

// Size is the size of the disk in bytes.
func (m *Image) Size() int64 { return m.info.Size }

// Is reports whether b, the first bytes of a file, begin a qcow2 image.
func Is(b []byte) bool { return len(b) >= 4 && binary.BigEndian.Uint32(b) == magic }

const maxL1 = 32 << 20 / 8

// Open reads the header and the L1 table of an image.
func Open(r io.ReaderAt) (*Image, error) {
	m := &Image{r: r}
	if err := m.open(); err != nil {
		return nil, fmt.Errorf("opening qcow2 image: %w", err)
	}
	return m, nil
}

func (m *Image) open() error {
	h := make([]byte, 112)
	n, err := m.r.ReadAt(h, 0)
	if n < 72 {
		return fmt.Errorf("reading header: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	be := binary.BigEndian
	if !Is(h) {
		return errors.New("it does not begin with the mark of qcow2")
	}
	bits := be.Uint32(h[20:])
	size := be.Uint64(h[24:])
	switch {
	case bits < 9 || bits > 21:
		return fmt.Errorf("cluster bits %d are not in 9 to 21", bits)
	case be.Uint64(h[8:]) != 0:
		return errors.New("it has a backing file, which is not read\nhint: qemu-img convert -O qcow2 makes it stand alone")
	case be.Uint32(h[32:]) != 0:
		return errors.New("it is encrypted, which is not read")
	case size > 1<<56:
		return fmt.Errorf("disk size %d is too large", size)
	}
	m.bits = uint(bits)
	m.info = Info{Version: int(be.Uint32(h[4:])), Size: int64(size), ClusterSize: 1 << bits, Compression: Zlib}
	kind, err := m.features(h[:n])
	if err != nil {
		return err
	}
	if m.expand, err = newDecompressor(kind); err != nil {
		return err
	}
	if kind == 1 {
		m.info.Compression = Zstd
	}
	return m.readL1(be.Uint32(h[36:]), be.Uint64(h[40:]))
}

// features reads what version 3 added to the header.
func (m *Image) features(h []byte) (kind byte, err error) {
	switch m.info.Version {
	case 2:
		return 0, nil
	case 3:
	default:
		return 0, fmt.Errorf("version %d is not 2 or 3", m.info.Version)
	}
	if len(h) < 104 {
		return 0, fmt.Errorf("reading header: %w", io.ErrUnexpectedEOF)
	}
	f := binary.BigEndian.Uint64(h[72:])
	m.info.Dirty = f&incompatDirty != 0
	switch {
	case f&incompatBad != 0:
		return 0, errors.New("it is marked corrupt\nhint: qemu-img check -r all may repair it")
	case f&incompatData != 0:
		return 0, errors.New("its data is in another file, which is not read")
	case f&incompatExtL2 != 0:
		return 0, errors.New("it has extended L2 entries, which are not read")
	case f&^(incompatDirty|incompatComp) != 0:
		return 0, fmt.Errorf("it has features that are not known (bits %#x)", f&^(incompatDirty|incompatComp))
	case f&incompatComp == 0:
		return 0, nil
	case binary.BigEndian.Uint32(h[100:]) <= 104 || len(h) < 105:
		return 0, errors.New("its header is too short for its compression type")
	}
	return h[104], nil
}

func (m *Image) readL1(entries uint32, at uint64) error {
	span := int64(1) << (2*m.bits - 3)
	need := (m.info.Size + span - 1) / span
	if int64(entries) < need || need > maxL1 {
		return fmt.Errorf("L1 table of %d entries does not fit a disk of %d bytes", entries, m.info.Size)
	}
	if at > 1<<62 {
		return fmt.Errorf("L1 table at %d is outside the file", at)
	}
	m.l1 = make([]uint64, 0, min(need, 1<<13))
	buf := make([]byte, 1<<16)
	for int64(len(m.l1)) < need {
		b := buf[:min(int64(len(buf)), (need-int64(len(m.l1)))*8)]
		if n, err := m.r.ReadAt(b, int64(at)+int64(len(m.l1))*8); n < len(b) {
			return fmt.Errorf("reading L1 table: %w", errors.Join(err, io.ErrUnexpectedEOF))
		}
		for i := 0; i < len(b); i += 8 {
			m.l1 = append(m.l1, binary.BigEndian.Uint64(b[i:]))
		}
	}
	return nil
}

// ReadAt reads from the disk.
func (m *Image) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("reading qcow2 image: offset %d is negative", off)
	}
	for n < len(p) && off < m.info.Size {
		in := off & (m.info.ClusterSize - 1)
		want := min(int64(len(p)-n), m.info.ClusterSize-in, m.info.Size-off)
		if err := m.readCluster(p[n:n+int(want)], off>>m.bits, in); err != nil {
			return n, fmt.Errorf("reading qcow2 image: disk bytes %d+%d: %w", off, want, err)
		}
		n += int(want)
		off += want
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readCluster reads a part of one cluster of the disk, from byte in on.
func (m *Image) readCluster(p []byte, cluster, in int64) error {
	e, err := m.entry(cluster)
	if err != nil {
		return err
	}
	if e&compressed != 0 {
		b, err := m.expanded(e)
		if err == nil {
			copy(p, b[in:])
		}
		return err
	}
	off := int64(e & offsetMask)
	if off == 0 || (m.info.Version >= 3 && e&zeroFlag != 0) {
		clear(p)
		return nil
	}
	if off&(m.info.ClusterSize-1) != 0 {
		return fmt.Errorf("cluster at %d of the file is not aligned", off)
	}
	n, err := m.r.ReadAt(p, off+in)
	if n < len(p) && err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if n == len(p) {
		err = nil
	}
	return err
}

// entry returns the L2 entry of a cluster of the disk, 0 where there is none.
func (m *Image) entry(cluster int64) (uint64, error) {
	entries := m.info.ClusterSize / 8
	at := int64(m.l1[cluster/entries] & offsetMask)
	if at == 0 {
		return 0, nil
	}
	if at&(m.info.ClusterSize-1) != 0 {
		return 0, fmt.Errorf("L2 table at %d of the file is not aligned", at)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tables.get(uint64(at))
	if !ok {
		t = make([]byte, m.info.ClusterSize)
		if n, err := m.r.ReadAt(t, at); n < len(t) {
			return 0, fmt.Errorf("reading L2 table at %d of the file: %w", at, errors.Join(err, io.ErrUnexpectedEOF))
		}
		m.tables.put(uint64(at), t)
	}
	return binary.BigEndian.Uint64(t[cluster%entries*8:]), nil
}

// expanded returns a compressed cluster's bytes.
func (m *Image) expanded(e uint64) ([]byte, error) {
	m.mu.Lock()
	b, ok := m.blocks.get(e)
	m.mu.Unlock()
	if ok {
		return b, nil
	}
	shift := 62 - (m.bits - 8)
	off := int64(e & (1<<shift - 1))
	sectors := int64(e>>shift) & (1<<(m.bits-8) - 1)
	src := make([]byte, (sectors+1)*512-off%512)
	n, err := m.r.ReadAt(src, off)
	if n < len(src) && err != io.EOF {
		return nil, fmt.Errorf("reading compressed cluster at %d of the file: %w", off, err)
	}
	b = make([]byte, m.info.ClusterSize)
	if err := m.expand(b, src[:n]); err != nil {
		return nil, fmt.Errorf("decompressing cluster at %d of the file: %w", off, err)
	}
	m.mu.Lock()
	m.blocks.put(e, b)
	m.mu.Unlock()
	return b, nil
}

// recent keeps the few values used last.
type recent[V any] struct {
	keys [8]uint64
	vals [8]V
	used [8]bool
	next int
}

func (r *recent[V]) get(key uint64) (v V, ok bool) {
	for i := range r.keys {
		if r.used[i] && r.keys[i] == key {
			return r.vals[i], true
		}
	}
	return v, false
}

func (r *recent[V]) put(key uint64, v V) {
	r.keys[r.next], r.vals[r.next], r.used[r.next] = key, v, true
	r.next = (r.next + 1) % len(r.keys)
}
