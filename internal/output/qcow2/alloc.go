package qcow2

import (
	"encoding/binary"
	"fmt"
	"io"
)

// An allocator gives clusters their place in the file and keeps the tables.
type allocator struct {
	l2   []*[l2Entries]uint64 // by index into the L1 table; nil: nothing there
	refs []uint16             // by cluster of the file
	pack int64                // where the next compressed cluster goes; 0: nowhere yet
}

// A piece is bytes with their place in the file.
type piece struct {
	off  int64
	data []byte
}

func (a *allocator) init(size int64) {
	const span = l2Entries * ClusterSize
	a.l2 = make([]*[l2Entries]uint64, (size+span-1)/span)
	a.refs = []uint16{1} // the header
}

// end is the first byte behind the clusters in use.
func (a *allocator) end() int64 { return int64(len(a.refs)) * ClusterSize }

// place settles where cs, the disk's clusters from first on, lie in the file.
func (a *allocator) place(first int64, cs []cluster) ([]piece, error) {
	var ps []piece
	for i, c := range cs {
		if c.data == nil {
			continue
		}
		at := first + int64(i)
		table := a.l2[at/l2Entries]
		if table == nil {
			table = new([l2Entries]uint64)
			a.l2[at/l2Entries] = table
		}
		if table[at%l2Entries] != 0 {
			return nil, fmt.Errorf("internal error: cluster %d is added twice", at)
		}
		off := a.end()
		if c.packed {
			off = a.bytes(int64(len(c.data)))
			sectors := (off%512 + int64(len(c.data)) - 1) / 512 // beyond the first
			table[at%l2Entries] = compressed | uint64(off) | uint64(sectors)<<csizeShift
		} else {
			a.refs = append(a.refs, 1)
			table[at%l2Entries] = copiedFlag | uint64(off)
		}
		ps = appendPiece(ps, piece{off, c.data})
	}
	return ps, nil
}

// bytes allocates n bytes, fewer than a cluster, for compressed data: behind the
// compressed data before it where that cluster, or it and the next one, have room.
func (a *allocator) bytes(n int64) int64 {
	room := (ClusterSize - a.pack%ClusterSize) % ClusterSize
	if n > room && (room == 0 || a.pack+room != a.end()) {
		a.pack = a.end()
	}
	off := a.pack
	a.pack += n
	for int64(len(a.refs))*ClusterSize < a.pack {
		a.refs = append(a.refs, 0)
	}
	for c := off / ClusterSize; c <= (off+n-1)/ClusterSize; c++ {
		a.refs[c]++
	}
	return off
}

// appendPiece joins p to the last piece where both their places and their
// bytes adjoin, which they do in runs of clusters of one kind.
func appendPiece(ps []piece, p piece) []piece {
	if len(ps) > 0 {
		l := &ps[len(ps)-1]
		n := len(l.data)
		if l.off+int64(n) == p.off && cap(l.data) >= n+len(p.data) && &l.data[:n+1][n] == &p.data[0] {
			l.data = l.data[:n+len(p.data)]
			return ps
		}
	}
	return append(ps, p)
}

// finish writes L2 tables, L1 table, reference counts and the header, in this
// order, so that a file cut short is no image.
func (a *allocator) finish(out io.WriterAt, size int64, comp Compression) error {
	l1 := make([]byte, (len(a.l2)*8+ClusterSize-1)/ClusterSize*ClusterSize)
	buf := make([]byte, ClusterSize)
	for i, table := range a.l2 {
		if table == nil {
			continue
		}
		for j, e := range table {
			binary.BigEndian.PutUint64(buf[8*j:], e)
		}
		binary.BigEndian.PutUint64(l1[8*i:], copiedFlag|uint64(a.end()))
		if err := a.append(out, buf); err != nil {
			return fmt.Errorf("writing L2 table %d: %w", i, err)
		}
	}
	l1At := a.end()
	if err := a.append(out, l1); err != nil {
		return fmt.Errorf("writing L1 table: %w", err)
	}
	tableAt, tableClusters, err := a.writeRefs(out)
	if err != nil {
		return fmt.Errorf("writing reference counts: %w", err)
	}
	h, err := header(size, comp, len(a.l2), l1At, tableAt, tableClusters)
	if err != nil {
		return err
	}
	if _, err := out.WriteAt(h, 0); err != nil {
		return fmt.Errorf("writing header: %w", err)
	}
	return nil
}

// append writes whole clusters behind all others.
func (a *allocator) append(out io.WriterAt, b []byte) error {
	at := a.end()
	for range len(b) / ClusterSize {
		a.refs = append(a.refs, 1)
	}
	_, err := out.WriteAt(b, at)
	return err
}

// writeRefs writes the reference count table and its blocks, which count themselves too.
func (a *allocator) writeRefs(out io.WriterAt) (at int64, clusters int, err error) {
	used := len(a.refs)
	blocks := 0
	for {
		clusters = (blocks*8 + ClusterSize - 1) / ClusterSize
		need := (used + blocks + clusters + refsPerBlock - 1) / refsPerBlock
		if need == blocks {
			break
		}
		blocks = need
	}
	at = a.end()
	table := make([]byte, clusters*ClusterSize)
	for i := range blocks {
		binary.BigEndian.PutUint64(table[8*i:], uint64(at)+uint64(clusters+i)*ClusterSize)
	}
	if err := a.append(out, table); err != nil {
		return 0, 0, err
	}
	for range blocks {
		a.refs = append(a.refs, 1)
	}
	all := make([]byte, blocks*ClusterSize)
	for i, n := range a.refs {
		binary.BigEndian.PutUint16(all[2*i:], n)
	}
	_, err = out.WriteAt(all, at+int64(clusters)*ClusterSize)
	return at, clusters, err
}

// header is section "Header" of the format, version 3, with an empty list of extensions.
func header(size int64, comp Compression, l1Entries int, l1At, refsAt int64, refsClusters int) ([]byte, error) {
	kind, err := comp.typeByte()
	if err != nil {
		return nil, err
	}
	b := make([]byte, ClusterSize)
	be := binary.BigEndian
	be.PutUint32(b[0:], magic)
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], clusterBits)
	be.PutUint64(b[24:], uint64(size))
	be.PutUint32(b[36:], uint32(l1Entries))
	be.PutUint64(b[40:], uint64(l1At))
	be.PutUint64(b[48:], uint64(refsAt))
	be.PutUint32(b[56:], uint32(refsClusters))
	if kind != 0 {
		be.PutUint64(b[72:], incompatComp)
	}
	be.PutUint32(b[96:], 4) // reference counts of 16 bits
	be.PutUint32(b[100:], headerLength)
	b[104] = kind
	return b, nil
}
