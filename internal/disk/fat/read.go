package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
)

// An FS is a file system that is read. It is safe for concurrent use.
type FS struct {
	r        io.ReaderAt
	g        geometry
	root     int64 // first cluster of the root directory; 0: the fixed one
	label    string
	volumeID uint32

	mu   sync.Mutex
	page []byte // one page of the allocation table
	at   int64  // its number; -1: none
}

const pageSize = 64 << 10 // a multiple of the entries of FAT16 and FAT32; FAT12's table fits one

// Info is what the boot sector says of a file system.
type Info struct {
	Bits        int // 12, 16 or 32
	ClusterSize int64
	SectorSize  int64
	Clusters    int64
	VolumeID    uint32
	Label       string
}

// Info returns what the boot sector says.
func (f *FS) Info() Info {
	return Info{f.g.bits, f.g.cluster, f.g.sector, f.g.clusters, f.volumeID, f.label}
}

// Open reads the boot sector of a file system.
func Open(r io.ReaderAt) (*FS, error) {
	f := &FS{r: r, at: -1}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("opening FAT file system: %w", err)
	}
	return f, nil
}

func (f *FS) open() error {
	b := make([]byte, 512)
	if n, err := f.r.ReadAt(b, 0); n < len(b) {
		return fmt.Errorf("reading boot sector: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	le := binary.LittleEndian
	if b[510] != 0x55 || b[511] != 0xaa || (b[0] != 0xeb && b[0] != 0xe9) {
		return errors.New("there is no boot sector")
	}
	g := &f.g
	g.sector = int64(le.Uint16(b[11:]))
	g.cluster = int64(b[13]) * g.sector
	if g.sector < 512 || g.sector > 4096 || g.sector&(g.sector-1) != 0 || b[13] == 0 || b[13]&(b[13]-1) != 0 {
		return fmt.Errorf("sectors of %d bytes and clusters of %d sectors are not possible", g.sector, b[13])
	}
	g.reserved = int64(le.Uint16(b[14:]))
	g.rootEntries = int64(le.Uint16(b[17:]))
	g.sectors = int64(le.Uint16(b[19:]))
	if g.sectors == 0 {
		g.sectors = int64(le.Uint32(b[32:]))
	}
	g.fatSectors = int64(le.Uint16(b[22:]))
	tail := b[36:]
	if g.fatSectors == 0 {
		g.fatSectors = int64(le.Uint32(b[36:]))
		tail = b[64:]
	}
	if tables := b[16]; tables != 2 || g.reserved == 0 || g.fatSectors == 0 {
		return fmt.Errorf("%d tables of %d sectors behind %d reserved ones are not what this reads", tables, g.fatSectors, g.reserved)
	}
	g.clusters = (g.sectors*g.sector - g.dataStart()) / g.cluster
	switch {
	case g.clusters < 1 || g.clusters > 0x0ffffff5:
		return fmt.Errorf("%d clusters are not possible", g.clusters)
	case g.clusters < 4085:
		g.bits = 12
	case g.clusters < 65525:
		g.bits = 16
	default:
		g.bits = 32
	}
	if (g.bits == 32) != (len(tail) == 512-64) || (g.bits == 32) != (g.rootEntries == 0) {
		return fmt.Errorf("it has %d clusters, but not the boot sector of FAT%d", g.clusters, g.bits)
	}
	if g.fatSectors*g.sector < g.tableBytes(g.clusters+2) {
		return fmt.Errorf("tables of %d sectors are too small for %d clusters", g.fatSectors, g.clusters)
	}
	if g.bits == 32 {
		f.root = int64(le.Uint32(b[44:]))
	}
	if tail[2] == 0x29 {
		f.volumeID = le.Uint32(tail[3:])
		f.label = strings.TrimRight(string(tail[7:18]), " ")
	}
	return nil
}

// next is the cluster behind c in its chain, 0 at the chain's end.
func (f *FS) next(c int64) (int64, error) {
	at := c * int64(f.g.bits) / 8
	b, err := f.table(at)
	if err != nil {
		return 0, err
	}
	v := int64(binary.LittleEndian.Uint32(b[:]))
	if f.g.bits == 12 && c%2 == 1 {
		v >>= 4
	}
	mask := int64(1)<<min(f.g.bits, 28) - 1 // FAT32 keeps 4 bits for itself
	v &= mask
	switch {
	case v >= mask-7:
		return 0, nil
	case v < 2 || v >= f.g.clusters+2:
		return 0, fmt.Errorf("cluster %d leads to %#x, which is none", c, v)
	}
	return v, nil
}

// table returns the bytes of the first allocation table from at on.
func (f *FS) table(at int64) (v [4]byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if no := at / pageSize; no != f.at {
		b := make([]byte, min(pageSize, f.g.fatSectors*f.g.sector-no*pageSize)+4)
		n, err := f.r.ReadAt(b[:len(b)-4], f.g.reserved*f.g.sector+no*pageSize)
		if n < len(b)-4 {
			return v, fmt.Errorf("reading allocation table: %w", errors.Join(err, io.ErrUnexpectedEOF))
		}
		f.page, f.at = b, no
	}
	copy(v[:], f.page[at%pageSize:])
	return v, nil
}

// A chain is a file's clusters as a reader.
type chain struct {
	f       *FS
	cluster int64 // the current one; 0: none left
	in      int64 // bytes read of it
	left    int64 // bytes left of the file
	steps   int64 // clusters followed: more than there are is a loop
}

func (c *chain) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if c.in == c.f.g.cluster {
		next, err := c.f.next(c.cluster)
		if err != nil {
			return 0, err
		}
		c.cluster, c.in = next, 0
		if c.steps++; c.steps > c.f.g.clusters {
			return 0, errors.New("its clusters run in a circle")
		}
	}
	if c.cluster < 2 || c.cluster >= c.f.g.clusters+2 {
		return 0, fmt.Errorf("%d bytes are missing: %w", c.left, io.ErrUnexpectedEOF)
	}
	n := min(int64(len(p)), c.left, c.f.g.cluster-c.in)
	k, err := c.f.r.ReadAt(p[:n], c.f.g.clusterAt(c.cluster)+c.in)
	if int64(k) == n {
		err = nil
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	c.in += int64(k)
	c.left -= int64(k)
	return k, err
}

func (c *chain) Close() error { return nil }

// dirData returns the entries of a directory.
func (f *FS) dirData(first int64) ([]byte, error) {
	if first == 0 {
		b := make([]byte, f.g.rootEntries*dirEntrySize)
		if n, err := f.r.ReadAt(b, f.g.rootStart()); n < len(b) {
			return nil, errors.Join(err, io.ErrUnexpectedEOF)
		}
		return b, nil
	}
	var out bytes.Buffer
	const most = maxDirEntries * dirEntrySize
	for c, steps := first, int64(0); c != 0; steps++ {
		if c < 2 || c >= f.g.clusters+2 {
			return nil, fmt.Errorf("cluster %d does not exist", c)
		}
		if steps > f.g.clusters || int64(out.Len()) > most {
			return nil, errors.New("a folder's clusters run in a circle, or it is too large")
		}
		b := make([]byte, f.g.cluster)
		if n, err := f.r.ReadAt(b, f.g.clusterAt(c)); n < len(b) {
			return nil, errors.Join(err, io.ErrUnexpectedEOF)
		}
		out.Write(b)
		var err error
		if c, err = f.next(c); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// ReadFile returns a file's bytes, at most limit of them. Case does not matter.
func (f *FS) ReadFile(name string, limit int64) ([]byte, error) {
	dir := f.root
	parts := strings.Split(name, "/")
	for i, part := range parts {
		es, err := f.list(dir)
		if err != nil {
			return nil, fmt.Errorf("reading %q of FAT file system: %w", name, err)
		}
		e := find(es, part)
		if e == nil || e.dir != (i < len(parts)-1) {
			break
		}
		if dir = e.first; e.dir {
			continue
		}
		if e.size > limit {
			return nil, fmt.Errorf("reading %q of FAT file system: %d bytes are more than the limit of %d", name, e.size, limit)
		}
		b, err := io.ReadAll(&chain{f: f, cluster: e.first, left: e.size})
		if err != nil {
			return nil, fmt.Errorf("reading %q of FAT file system: %w", name, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("reading %q of FAT file system: %w", name, fs.ErrNotExist)
}

func find(es []dirEntry, name string) *dirEntry {
	for i := range es {
		if fold(es[i].name) == fold(name) {
			return &es[i]
		}
	}
	return nil
}
