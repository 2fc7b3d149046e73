package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Directories over one block are indexed by the hashes of their names
// (dir_index): block 0 is the root of the index, which for more than 507 leaves
// points to nodes, which point to leaves.

const (
	dxEntry      = 8
	dxTail       = 8
	dxRootFirst  = 32 // entries behind ".", ".." and the root's description
	dxNodeFirst  = 8  // entries behind an empty directory entry
	dxRootLimit  = (blockSize - dxRootFirst - dxTail) / dxEntry
	dxNodeLimit  = (blockSize - dxNodeFirst - dxTail) / dxEntry
	dxHalfMD4    = 1
	dxContinues  = 1               // a leaf that begins with the hash that the last one ended with
	leafFill     = dirRoom * 4 / 5 // room for names to come, as e2fsck leaves
	dxNodeFill   = dxNodeLimit * 4 / 5
	maxIndexLeaf = dxRootLimit * dxNodeFill
)

type hashedName struct {
	major, minor uint32
	ent          int32
}

// A leafPlan is the names of one leaf: names[from:to] in hash order.
type leafPlan struct {
	from, to int
	hash     uint32 // as the index has it
}

func (c *dirEncoder) encodeIndexed(d *dir, ino, parentIno, seed uint32) ([]byte, error) {
	names := c.hashNames(d)
	leaves := planLeaves(d, names)
	if len(leaves) > maxIndexLeaf {
		return nil, fmt.Errorf("a directory of %d entries is too large for ext4's index", len(names))
	}
	nodes := 0
	if len(leaves) > dxRootLimit {
		nodes = (len(leaves) + dxNodeFill - 1) / dxNodeFill
	}
	out := make([]byte, (1+nodes+len(leaves))*blockSize)
	block := func(i int) []byte { return out[i*blockSize : (i+1)*blockSize] }
	for i, l := range leaves {
		b := leafBlock{b: block(1 + nodes + i)}
		for _, n := range names[l.from:l.to] {
			e := &d.ents[n.ent]
			b.add(c.inode(e.node), string(d.name(e)), e.kind)
		}
		b.seal(seed)
	}
	top := make([]dxPointer, len(leaves))
	for i, l := range leaves {
		top[i] = dxPointer{l.hash, uint32(1 + nodes + i)}
	}
	if nodes > 0 {
		top = encodeNodes(top, block, seed)
	}
	putDirent(out, ino, direntRoom(1), ".", ftDir)
	putDirent(out[12:], parentIno, blockSize-12, "..", ftDir)
	out[28], out[29] = dxHalfMD4, 8 // hash_version, info_length
	if nodes > 0 {
		out[30] = 1 // indirect_levels
	}
	encodeIndex(block(0), dxRootFirst, dxRootLimit, top, seed)
	return out, nil
}

// A dxPointer is an index entry: names from hash on are in block.
type dxPointer struct{ hash, block uint32 }

// encodeNodes writes the second level of the index to blocks 1, 2, … and
// returns the pointers to them.
func encodeNodes(leaves []dxPointer, block func(int) []byte, seed uint32) []dxPointer {
	var top []dxPointer
	for part := range slices.Chunk(leaves, dxNodeFill) {
		n := 1 + len(top)
		b := block(n)
		putDirent(b, 0, blockSize, "", ftUnknown)
		encodeIndex(b, dxNodeFirst, dxNodeLimit, part, seed)
		top = append(top, dxPointer{part[0].hash, uint32(n)})
	}
	return top
}

// encodeIndex writes index entries and the checksum. The first entry's hash
// counts as zero; its place holds limit and count.
func encodeIndex(b []byte, first, limit int, p []dxPointer, seed uint32) {
	for i, x := range p {
		e := b[first+i*dxEntry:]
		binary.LittleEndian.PutUint32(e, x.hash)
		binary.LittleEndian.PutUint32(e[4:], x.block)
	}
	binary.LittleEndian.PutUint16(b[first:], uint16(limit))
	binary.LittleEndian.PutUint16(b[first+2:], uint16(len(p)))
	sum := crc32c(seed, b[:first+len(p)*dxEntry])
	sum = crc32c(sum, make([]byte, dxTail)) // dt_reserved and an empty dt_checksum
	binary.LittleEndian.PutUint32(b[first+limit*dxEntry+4:], sum)
}

func (c *dirEncoder) hashNames(d *dir) []hashedName {
	names := make([]hashedName, len(d.ents))
	for i := range d.ents {
		major, minor := nameHash(d.name(&d.ents[i]), c.hashSeed)
		names[i] = hashedName{major, minor, int32(i)}
	}
	slices.SortFunc(names, func(a, b hashedName) int {
		return cmp.Or(cmp.Compare(a.major, b.major), cmp.Compare(a.minor, b.minor), cmp.Compare(a.ent, b.ent))
	})
	return names
}

func planLeaves(d *dir, names []hashedName) []leafPlan {
	var leaves []leafPlan
	used := leafFill
	for i, n := range names {
		room := direntRoom(int(d.ents[n.ent].len))
		if used+room > leafFill {
			l := leafPlan{from: i, hash: n.major}
			if i > 0 && names[i-1].major == n.major {
				l.hash |= dxContinues
			}
			leaves = append(leaves, l)
			used = 0
		}
		used += room
		leaves[len(leaves)-1].to = i + 1
	}
	return leaves
}
