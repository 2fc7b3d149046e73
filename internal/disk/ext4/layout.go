package ext4

// The geometry that never depends on the final size: which blocks of each
// group hold metadata, and which may hold data.

const (
	blockSize      = 4096
	blockBits      = 12
	blocksPerGroup = 8 * blockSize
	inodeSize      = 256
	inodesPerBlock = blockSize / inodeSize
	flexSize       = 16 // groups whose bitmaps and inode tables lie together
	flexBits       = 4
	descSize       = 64
	descsPerBlock  = blockSize / descSize
	addrPerBlock   = blockSize / 4
	firstIno       = 11
	maxLinks       = 65000
	// A last group with less room than this beyond its metadata is left off, as by mke2fs.
	minLastGroup = 50
)

type layout struct {
	gdtBlocks     uint32 // descriptor blocks in use and reserved, fixed at the start
	inodesPer     uint32 // inodes per group
	tableBlocks   uint32 // blocks of one inode table
	reservedLimit uint32 // the most reserved descriptor blocks; 0 without resize inode
}

func newLayout(o *Options) layout {
	groups := (o.GrowTo + blocksPerGroup*blockSize - 1) / (blocksPerGroup * blockSize)
	l := layout{
		gdtBlocks:     max(uint32((groups+descsPerBlock-1)/descsPerBlock), 1),
		inodesPer:     o.InodesPerGroup,
		tableBlocks:   o.InodesPerGroup / inodesPerBlock,
		reservedLimit: addrPerBlock,
	}
	if o.Without&ResizeInode != 0 {
		l.reservedLimit = 0
	}
	return l
}

// hasSuper reports whether group g has a superblock and descriptors (sparse_super).
func hasSuper(g uint64) bool {
	if g <= 1 {
		return true
	}
	for _, base := range [...]uint64{3, 5, 7} {
		n := base
		for n < g {
			n *= base
		}
		if n == g {
			return true
		}
	}
	return false
}

// superBlocks is the room at the start of group g for superblock and descriptors.
func (l *layout) superBlocks(g uint64) uint64 {
	if hasSuper(g) {
		return 1 + uint64(l.gdtBlocks)
	}
	return 0
}

// flexBlocks is the room for bitmaps and tables of a whole flexible group.
func (l *layout) flexBlocks() uint64 { return flexSize * (2 + uint64(l.tableBlocks)) }

// prefix is the number of blocks at the start of group g that never hold data.
func (l *layout) prefix(g uint64) uint64 {
	n := l.superBlocks(g)
	if g%flexSize == 0 {
		n += l.flexBlocks()
	}
	return n
}

// Places of the metadata of group g, in the first group of its flexible group.
func (l *layout) blockBitmap(g uint64) uint64 { return l.flexStart(g) + g%flexSize }
func (l *layout) inodeBitmap(g uint64) uint64 { return l.flexStart(g) + flexSize + g%flexSize }
func (l *layout) inodeTable(g uint64) uint64 {
	return l.flexStart(g) + 2*flexSize + g%flexSize*uint64(l.tableBlocks)
}

func (l *layout) flexStart(g uint64) uint64 {
	first := g - g%flexSize
	return first*blocksPerGroup + l.superBlocks(first)
}

// run returns the first run of data blocks at or after block p.
func (l *layout) run(p uint64) (start, end uint64) {
	g := p / blocksPerGroup
	start = max(p, g*blocksPerGroup+l.prefix(g))
	for end = (g + 1) * blocksPerGroup; end-start < 1<<17; end += blocksPerGroup {
		g++
		if l.prefix(g) != 0 {
			break
		}
	}
	return start, end
}

// after returns the block that follows n data blocks from block p on.
func (l *layout) after(p, n uint64) uint64 {
	for n > 0 {
		start, end := l.run(p)
		if k := end - start; k < n {
			p, n = end, n-k
			continue
		}
		return start + n
	}
	return p
}

// groups is the number of groups of a file system of the given blocks.
func groups(blocks uint64) uint64 { return (blocks + blocksPerGroup - 1) / blocksPerGroup }

// usable rounds blocks down so that the last group has room for its metadata
// and some data.
func (l *layout) usable(blocks uint64) uint64 {
	for blocks > 0 {
		last := groups(blocks) - 1
		need := last*blocksPerGroup + l.superBlocks(last)
		if last%flexSize == 0 {
			need = l.inodeTable(last) + uint64(l.tableBlocks)
		}
		if need+minLastGroup <= blocks {
			return blocks
		}
		blocks = last * blocksPerGroup
	}
	return 0
}

// atLeast is the smallest usable number of blocks that is not below blocks.
func (l *layout) atLeast(blocks uint64) uint64 {
	for up := blocks; ; up++ {
		if u := l.usable(up); u >= blocks {
			return u
		}
		// The last group is too small: grow to what it needs.
		last := groups(up) - 1
		if last%flexSize == 0 {
			up = l.inodeTable(last) + uint64(l.tableBlocks) + minLastGroup - 1
		} else {
			up = last*blocksPerGroup + l.superBlocks(last) + minLastGroup - 1
		}
	}
}

// geometry divides the room for descriptors of a file system of the given size.
func (l *layout) geometry(blocks uint64) geometry {
	g := geometry{blocks: blocks, groups: groups(blocks)}
	g.desc = (g.groups + descsPerBlock - 1) / descsPerBlock
	if blocks < 1<<32 && g.desc < uint64(l.gdtBlocks) { // the resize inode's block numbers have 32 bits
		g.reserved = min(uint64(l.gdtBlocks)-g.desc, uint64(l.reservedLimit))
	}
	return g
}

// superUsed is the number of blocks that superblock and descriptors take in group g.
func (g *geometry) superUsed(group uint64) uint64 {
	if hasSuper(group) {
		return 1 + g.desc + g.reserved
	}
	return 0
}

// backups are the groups beside the first that have a copy of the superblock.
func (g *geometry) backups() []uint64 {
	var list []uint64
	for i := uint64(1); i < g.groups; i++ {
		if hasSuper(i) {
			list = append(list, i)
		}
	}
	return list
}
