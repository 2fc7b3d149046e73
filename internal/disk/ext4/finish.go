package ext4

import (
	"context"
	"errors"
	"fmt"

	"github.com/aitheros/aither-image/internal/tree"
)

// Finish writes the tree and everything else around the contents placed so far.
// All arenas must be closed. size is asked once for the size of the file system
// in bytes, at least Usage.MinBytes; it is rounded down to what ext4 can use.
//
// Contents that are *Data of this Writer are used where they lie; a second inode
// with the same Data gets a copy, as does content of any other kind. Entries
// that share a path's inode are hard links, at most 65000 for one inode. A
// directory "lost+found" in the tree lends its attributes to the one that is
// always made; a missing root gets mode 0755. Content that no entry carries is
// given back.
func (w *Writer) Finish(ctx context.Context, s tree.Stream, size func(Usage) int64) (Stats, error) {
	st, err := w.finish(ctx, s, size)
	if err != nil {
		return Stats{}, fmt.Errorf("finishing an ext4 file system: %w", err)
	}
	return st, nil
}

func (w *Writer) finish(ctx context.Context, s tree.Stream, size func(Usage) int64) (Stats, error) {
	if w.finished || w.open != len(w.arenas) {
		return Stats{}, errors.New("internal error: finished twice, or with open arenas")
	}
	tail := w.NewArena(0)
	w.finished = true
	defer tail.Close()
	c := newCollector(w, tail)
	n := 0
	for e, err := range s {
		if err == nil && n%256 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return Stats{}, err
		}
		if err := c.add(&e); err != nil {
			return Stats{}, fmt.Errorf("adding %q: %w", e.Path, err)
		}
		n++
	}
	f := &finisher{w: w, c: c, seed: w.fsSeed()}
	for _, step := range []func() error{f.complete, f.placeDirs, f.placeXattrs, f.placeTrees, tail.Close} {
		if err := errors.Join(ctx.Err(), step()); err != nil {
			return Stats{}, err
		}
	}
	if err := f.choose(size); err != nil {
		return Stats{}, err
	}
	for _, step := range []func() error{f.writeReserved, f.freeUnused, f.writeInodes, f.writeGroups, f.writeSupers} {
		if err := errors.Join(ctx.Err(), step()); err != nil {
			return Stats{}, err
		}
	}
	return f.stats(), nil
}

// A finisher holds what Finish's steps hand to each other.
type finisher struct {
	w    *Writer
	c    *collector
	seed uint32
	deep map[int32]deepTree // of nodes whose extents do not fit into the inode
	used blockMap

	data    uint64 // blocks of the tree, without journal and resize inode
	geo     geometry
	dind    uint64               // the resize inode's double indirect block; 0 without one
	journal []extent             // where the journal lies
	jtree   uint64               // and the block of its extents; 0 where the inode holds them
	head    [firstIno]inodeImage // the reserved inodes, by number
	desc    []byte               // all group descriptors
	super   superblock
	zero    []Range // written as zeros
}

// A deepTree is the i_block of a file and the number of its extent blocks.
type deepTree struct {
	root   [60]byte
	blocks uint64
}

// complete adds lost+found and the links of directories.
func (f *finisher) complete() error {
	c := f.c
	if _, ok := c.byPath[lostName]; !ok {
		if _, taken := c.dirs[0].search(lostName); taken {
			return fmt.Errorf("%q must be a directory", lostName)
		}
		c.dirs[0].insert(lostName, lostNode, ftDir)
		c.dirs[0].subdirs++
	}
	for i := range c.dirs {
		d := &c.dirs[i]
		n := &c.nodes[d.node]
		if n.links = 2 + d.subdirs; n.links > maxLinks {
			n.links = 1 // dir_nlink: not counted
		}
		n.flags |= flagExtents
	}
	return nil
}

// placeDirs writes the blocks of directories and of long symbolic links.
func (f *finisher) placeDirs() error {
	enc := dirEncoder{fsSeed: f.seed, hashSeed: f.w.hashSeed(), inode: inodeNumber}
	c := f.c
	for i := range c.dirs {
		d := &c.dirs[i]
		n, least := &c.nodes[d.node], 1
		if d.node == lostNode {
			least = 4
		}
		blocks, indexed, err := enc.encode(d, inodeNumber(c.dirs[d.parent].node), least)
		if err != nil {
			return err
		}
		if indexed {
			n.flags |= flagIndex
		}
		n.size = int64(len(blocks))
		if n.ext, err = c.tail.putBlocks(blocks); err != nil {
			return err
		}
		*d = dir{node: d.node, parent: d.parent} // its names are not needed any more
	}
	for i := range c.nodes {
		n := &c.nodes[i]
		if len(n.link) < len(deepTree{}.root) {
			continue
		}
		b := make([]byte, blockSize)
		copy(b, n.link)
		n.flags |= flagExtents
		var err error
		if n.ext, err = c.tail.putBlocks(b); err != nil {
			return err
		}
	}
	return nil
}

// placeXattrs writes the attribute blocks, each for at most 1024 inodes.
func (f *finisher) placeXattrs() error {
	for i := range f.c.xattrs.blocks {
		x := &f.c.xattrs.blocks[i]
		for left := x.users; left > 0; left -= xattrMaxRefs {
			at, err := f.c.tail.next()
			if err != nil {
				return err
			}
			sealXattrBlock(x.text, at, min(left, xattrMaxRefs), f.seed)
			if _, err := f.c.tail.putBlocks(x.text); err != nil {
				return err
			}
			x.at = append(x.at, at)
			if err := f.used.mark(at, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// placeTrees writes the extent blocks of files whose extents do not fit into
// the inode, and marks the blocks of all.
func (f *finisher) placeTrees() error {
	c := f.c
	f.deep = map[int32]deepTree{}
	place := func(b []byte) (uint64, error) {
		at, err := c.tail.next()
		if err == nil {
			_, err = c.tail.putBlocks(b)
		}
		return at, errors.Join(err, f.used.mark(at, 1))
	}
	for i := range c.nodes {
		ext := c.nodes[i].ext
		for _, e := range ext {
			if err := f.used.mark(e.phys, uint64(e.len)); err != nil {
				return err
			}
		}
		if countExtents(ext) <= rootExtents {
			continue
		}
		root, blocks, err := encodeExtents(ext, inodeSeed(f.seed, inodeNumber(int32(i)), 0), place)
		if err != nil {
			return err
		}
		f.deep[int32(i)] = deepTree{root, blocks}
	}
	return nil
}

// take returns the block of the next user.
func (x *xattrBlock) take() uint64 {
	at := x.at[x.given/xattrMaxRefs]
	x.given++
	return at
}

// putBlocks places whole blocks, zeros too.
func (a *Arena) putBlocks(b []byte) ([]extent, error) {
	if err := a.ready(); err != nil {
		return nil, err
	}
	a.scratch = a.scratch[:0]
	for logical := uint32(0); len(b) > 0; {
		if err := a.makeRoom(); err != nil {
			return nil, err
		}
		n := copy(a.buf[a.fill:a.room], b)
		a.extend(extent{logical, uint32(n >> blockBits), a.base + uint64(a.fill>>blockBits)})
		a.mu.Lock()
		a.fill += n
		a.mu.Unlock()
		logical += uint32(n >> blockBits)
		b = b[n:]
	}
	return append([]extent(nil), a.scratch...), nil
}

// next is the block that is placed next.
func (a *Arena) next() (uint64, error) {
	if err := a.makeRoom(); err != nil {
		return 0, err
	}
	return a.base + uint64(a.fill>>blockBits), nil
}

// write writes whole blocks at a block's place.
func (w *Writer) write(block uint64, b []byte) error {
	if _, err := w.dev.WriteAt(b, int64(block)<<blockBits); err != nil {
		return fmt.Errorf("writing %d bytes at block %d: %w", len(b), block, err)
	}
	return nil
}
