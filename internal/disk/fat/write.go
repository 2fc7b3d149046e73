package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/aitheros/aither-image/internal/tree"
)

// Write makes a file system of size bytes from s. Where it writes nothing, w must
// read as zeros; what it writes is the first Used bytes, without the unused part
// of the tables. The same arguments give the same bytes.
func Write(w io.WriterAt, size int64, o Options, s tree.Stream) error {
	if err := write(w, size, o, s); err != nil {
		return fmt.Errorf("writing FAT file system: %w", err)
	}
	return nil
}

// Used is the number of bytes from the start of the file system that Write
// makes of s which carry meaning, zeros included. What follows is free clusters.
func Used(size int64, o Options, s tree.Stream) (int64, error) {
	g, _, _, used, err := prepare(size, o, s)
	if err != nil {
		return 0, fmt.Errorf("measuring FAT file system: %w", err)
	}
	return g.clusterAt(2 + used), nil
}

func prepare(size int64, o Options, s tree.Stream) (g *geometry, root *node, all []*node, used int64, err error) {
	if err = checkLabel(o.Label); err != nil {
		return nil, nil, nil, 0, err
	}
	if g, err = newGeometry(size, o); err != nil {
		return nil, nil, nil, 0, err
	}
	if root, all, err = collect(s, o); err != nil {
		return nil, nil, nil, 0, err
	}
	used, err = g.place(root, all)
	return g, root, all, used, err
}

func write(w io.WriterAt, size int64, o Options, s tree.Stream) error {
	g, root, all, used, err := prepare(size, o, s)
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.dir {
			err = g.writeDir(w, n, n == root, o)
		} else {
			err = g.writeFile(w, n)
		}
		if err != nil {
			return fmt.Errorf("writing %q: %w", n.path, err)
		}
	}
	table := g.table(all, used)
	for i := range int64(2) {
		if _, err := w.WriteAt(table, (g.reserved+i*g.fatSectors)*g.sector); err != nil {
			return fmt.Errorf("writing allocation table: %w", err)
		}
	}
	for at, b := range g.boot(o, used) {
		if _, err := w.WriteAt(b, int64(at)*g.sector); err != nil {
			return fmt.Errorf("writing boot sector: %w", err)
		}
	}
	return nil
}

// boot is the boot sector and its companions, by sector (the specification, 3).
func (g *geometry) boot(o Options, used int64) map[int][]byte {
	b := make([]byte, g.sector)
	le := binary.LittleEndian
	copy(b, []byte{0xeb, 0x3c, 0x90})
	copy(b[3:], "MSWIN4.1") // what the specification asks for, for old readers
	le.PutUint16(b[11:], uint16(g.sector))
	b[13] = byte(g.cluster / g.sector)
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = 2
	le.PutUint16(b[17:], uint16(g.rootEntries))
	if g.bits != 32 && g.sectors < 1<<16 {
		le.PutUint16(b[19:], uint16(g.sectors))
	} else {
		le.PutUint32(b[32:], uint32(g.sectors))
	}
	b[21] = 0xf8
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], o.HiddenSectors)
	tail := b[36:]
	if g.bits == 32 {
		b[1] = 0x58
		le.PutUint32(b[36:], uint32(g.fatSectors))
		le.PutUint32(b[44:], 2) // the root directory
		le.PutUint16(b[48:], 1) // FSInfo
		le.PutUint16(b[50:], 6) // the copy of this sector
		tail = b[64:]
	} else {
		le.PutUint16(b[22:], uint16(g.fatSectors))
	}
	tail[0] = 0x80
	tail[2] = 0x29
	le.PutUint32(tail[3:], o.VolumeID)
	copy(tail[7:], labelField(o.Label, "NO NAME"))
	copy(tail[18:], fmt.Sprintf("FAT%-5d", g.bits))
	b[510], b[511] = 0x55, 0xaa
	if g.bits != 32 {
		return map[int][]byte{0: b}
	}
	info := g.info(used)
	return map[int][]byte{0: b, 1: info, 6: b, 7: info}
}

// info is the FSInfo sector (the specification, 5).
func (g *geometry) info(used int64) []byte {
	b := make([]byte, g.sector)
	le := binary.LittleEndian
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32(g.clusters-used))
	le.PutUint32(b[492:], uint32(used+1)) // the cluster allocated last
	b[510], b[511] = 0x55, 0xaa
	return b
}

// table is the allocation table up to the last cluster in use.
func (g *geometry) table(all []*node, used int64) []byte {
	b := make([]byte, g.tableBytes(used+2)+1)
	g.set(b, 0, 0x0ffffff8)
	g.set(b, 1, 0x0fffffff)
	for _, n := range all {
		if n.first == 0 {
			continue
		}
		last := n.first + max(g.clustersFor(n.size), 1) - 1
		for c := n.first; c < last; c++ {
			g.set(b, c, uint32(c+1))
		}
		g.set(b, last, 0x0fffffff)
	}
	return b[:g.tableBytes(used+2)]
}

func (g *geometry) set(b []byte, i int64, v uint32) {
	switch g.bits {
	case 32:
		binary.LittleEndian.PutUint32(b[4*i:], v&0x0fffffff)
	case 16:
		binary.LittleEndian.PutUint16(b[2*i:], uint16(v))
	case 12:
		at, v := i*3/2, uint16(v&0xfff)
		old := binary.LittleEndian.Uint16(b[at:])
		if i%2 == 0 {
			v |= old & 0xf000
		} else {
			v = v<<4 | old&0x000f
		}
		binary.LittleEndian.PutUint16(b[at:], v)
	}
}

func (g *geometry) writeFile(w io.WriterAt, n *node) error {
	if n.size == 0 {
		return nil
	}
	r, err := n.content.Open()
	if err != nil {
		return err
	}
	done, err := io.CopyBuffer(io.NewOffsetWriter(w, g.clusterAt(n.first)), io.LimitReader(r, n.size+1), make([]byte, 256<<10))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == nil && done != n.size {
		err = fmt.Errorf("content is not the %d bytes that it said", n.size)
	}
	return err
}

// writeDir writes a directory's clusters whole, so that nothing follows its entries.
func (g *geometry) writeDir(w io.WriterAt, n *node, isRoot bool, o Options) error {
	b := make([]byte, max(g.clustersFor(n.size), 1)*g.cluster)
	at := g.clusterAt(n.first)
	if isRoot && g.bits != 32 {
		b, at = make([]byte, g.rootBytes()), g.rootStart()
	}
	p := b
	put := func(short [11]byte, attr byte, from *node, first, size int64) {
		putEntry(p, short, attr, from, first, size)
		p = p[dirEntrySize:]
	}
	if !isRoot {
		up := n.parent.first
		if n.parent.parent == nil {
			up = 0 // the root is cluster 0 here, whatever its number
		}
		put(pad(".", ""), attrDir, n, n.first, 0)
		put(pad("..", ""), attrDir, n.parent, up, 0)
	} else if o.Label != "" {
		put([11]byte(labelField(o.Label, "")), attrLabel, &node{time: o.Time}, 0, 0)
	}
	for _, k := range n.kids {
		p = p[putLong(p, k.name):]
		if k.dir {
			put(k.name.short, attrDir, k, k.first, 0)
		} else {
			put(k.name.short, attrArchive, k, k.first, k.size)
		}
	}
	if int64(len(b)-len(p)) != n.size {
		return errors.New("internal error: a folder's size was miscounted")
	}
	_, err := w.WriteAt(b, at)
	return err
}

func labelField(label, none string) []byte {
	if label == "" {
		label = none
	}
	return []byte(fmt.Sprintf("%-11s", label))
}

// putEntry is the specification's table 6.
func putEntry(b []byte, short [11]byte, attr byte, n *node, first, size int64) {
	le := binary.LittleEndian
	date, clock, tenth := stamp(n.time)
	copy(b, short[:])
	b[11] = attr
	if attr != attrLabel {
		b[13] = tenth
		le.PutUint16(b[14:], clock)
		le.PutUint16(b[16:], date)
		le.PutUint16(b[18:], date)
	}
	le.PutUint16(b[20:], uint16(first>>16))
	le.PutUint16(b[22:], clock)
	le.PutUint16(b[24:], date)
	le.PutUint16(b[26:], uint16(first))
	le.PutUint32(b[28:], uint32(size))
}

// putLong writes a long name's entries, last part first (the specification, 7.2).
func putLong(b []byte, n name) int {
	parts := (len(n.long) + 12) / 13
	for i := range parts {
		e := b[i*dirEntrySize:]
		part := parts - i
		e[0] = byte(part)
		if i == 0 {
			e[0] |= 0x40
		}
		e[11] = attrLong
		e[13] = n.sum()
		units := n.long[(part-1)*13:]
		for j := range 13 {
			u := uint16(0xffff)
			if j < len(units) {
				u = units[j]
			} else if j == len(units) {
				u = 0
			}
			binary.LittleEndian.PutUint16(e[longAt(j):], u)
		}
	}
	return parts * dirEntrySize
}

// longAt is where the j-th unit of a long entry lies.
func longAt(j int) int {
	switch {
	case j < 5:
		return 1 + 2*j
	case j < 11:
		return 14 + 2*(j-5)
	}
	return 28 + 2*(j-11)
}
