package ext4

import "fmt"

// choose asks for the size and fixes all that depends on it.
func (f *finisher) choose(size func(Usage) int64) error {
	next := f.c.tail.pos
	if f.w.opt.Without&ResizeInode == 0 {
		f.dind, _ = f.w.lay.run(next)
		next = f.dind + 1
	}
	least := f.leastBlocks(next)
	f.data = f.used.total
	u := Usage{MinBytes: int64(least) << blockBits, DataBytes: int64(f.data) << blockBits, Inodes: int64(f.lastInode())}
	want := size(u)
	blocks := f.w.lay.usable(uint64(max(want, 0)) >> blockBits)
	if blocks < least {
		return fmt.Errorf("a size of %d bytes is too small: the contents need at least %d", want, u.MinBytes)
	}
	f.geo = f.w.lay.geometry(blocks)
	if f.geo.desc > uint64(f.w.lay.gdtBlocks) {
		return fmt.Errorf("a size of %d bytes is more than the %d that room to grow was kept for", want, f.w.opt.GrowTo)
	}
	if f.geo.groups*uint64(f.w.lay.inodesPer) >= 1<<32 {
		return fmt.Errorf("a size of %d bytes has more than 2^32 inodes: use fewer in each group", want)
	}
	f.geo.journal = f.journalFor(blocks, next)
	f.placeJournal(next)
	// Linux grows a mounted file system with room in one transaction, of at
	// most a quarter of the journal, for all reserved descriptor blocks.
	f.geo.reserved = min(f.geo.reserved, f.geo.journal/8)
	if f.geo.reserved == 0 {
		f.dind = 0
	}
	return nil
}

func (f *finisher) lastInode() uint32 { return inodeNumber(int32(len(f.c.nodes) - 1)) }

// leastBlocks is the smallest file system that holds everything, with the
// journal from block next on.
func (f *finisher) leastBlocks(next uint64) uint64 {
	l := &f.w.lay
	full := (uint64(f.lastInode()) - 1) / uint64(l.inodesPer) // groups before the last inode's
	blocks := l.atLeast(full*blocksPerGroup + 1)
	for {
		need := l.atLeast(max(blocks, f.journalEnd(next, f.journalWish(blocks))))
		if need == blocks {
			return blocks
		}
		blocks = need
	}
}

func (f *finisher) journalWish(blocks uint64) uint64 {
	if n := f.w.opt.JournalSize; n > 0 {
		return uint64(n) >> blockBits
	}
	return journalBlocks(blocks)
}

// journalEnd is the block behind a journal of n blocks, and behind the block
// that its extents may need.
func (f *finisher) journalEnd(next, n uint64) uint64 {
	return f.w.lay.after(next, n+1)
}

// journalFor is the journal's size in blocks: the wish, or less where a size
// just over one of the rule's limits has no room for more.
func (f *finisher) journalFor(blocks, next uint64) uint64 {
	n := f.journalWish(blocks)
	for n > minJournalBlocks && f.journalEnd(next, n) > blocks {
		n /= 2
	}
	return n
}

func (f *finisher) placeJournal(next uint64) {
	left, logical := f.geo.journal, uint32(0)
	for left > 0 {
		start, end := f.w.lay.run(next)
		n := min(end-start, left)
		if k := len(f.journal); k > 0 && f.journal[k-1].phys+uint64(f.journal[k-1].len) == start {
			f.journal[k-1].len += uint32(n)
		} else {
			f.journal = append(f.journal, extent{logical, uint32(n), start})
		}
		next, left, logical = start+n, left-n, logical+uint32(n)
	}
	if countExtents(f.journal) > rootExtents {
		f.jtree, _ = f.w.lay.run(next)
	}
}

func (f *finisher) stats() Stats {
	st := Stats{
		Size:         int64(f.geo.blocks) << blockBits,
		FreeBytes:    int64(f.super.freeBlocks) << blockBits,
		DataBytes:    int64(f.data) << blockBits,
		JournalBytes: int64(f.geo.journal) << blockBits,
		Inodes:       int64(f.geo.groups) * int64(f.w.lay.inodesPer),
		FreeInodes:   int64(f.super.freeInodes),
	}
	st.Zero = append(f.c.zero, f.zero...)
	for i, e := range f.journal {
		r := Range{int64(e.phys) << blockBits, int64(e.len) << blockBits}
		if i == 0 { // the journal's own superblock
			r.Off, r.Len = r.Off+blockSize, r.Len-blockSize
		}
		st.Zero = append(st.Zero, r)
	}
	return st
}
