package ext4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

const (
	direntHeader = 8 // struct ext4_dir_entry_2 without the name
	dirTail      = 12
	dirRoom      = blockSize - dirTail
	dirTailType  = 0xDE // what the checksum's fake entry has as file type
	maxName      = 255
)

// The file types of directory entries.
const (
	ftUnknown = iota
	ftRegular
	ftDir
	ftChar
	ftBlock
	ftFIFO
	ftSocket
	ftSymlink
)

// A dirent is one name; the name's bytes lie in the directory's names.
type dirent struct {
	off  uint32
	node int32
	len  uint8
	kind uint8
}

// A dir is a directory while its tree is being read.
type dir struct {
	node    int32
	parent  int32 // index of the parent directory; its own for the root
	subdirs uint32
	ents    []dirent // in byte order of names
	names   []byte
}

func (d *dir) name(e *dirent) []byte { return d.names[e.off : e.off+uint32(e.len)] }

// add appends a name, which must sort behind the last one.
func (d *dir) add(name string, node int32, kind uint8) error {
	if n := len(d.ents); n > 0 {
		if last := d.name(&d.ents[n-1]); string(last) >= name {
			return fmt.Errorf("names must come once each and in byte order, but %q comes after %q", name, last)
		}
	}
	if len(d.names)+len(name) > 1<<31 {
		return errors.New("too many names in one directory")
	}
	d.ents = append(d.ents, dirent{off: uint32(len(d.names)), node: node, len: uint8(len(name)), kind: kind})
	d.names = append(d.names, name...)
	return nil
}

// insert adds a name at its place.
func (d *dir) insert(name string, node int32, kind uint8) {
	i, _ := d.search(name)
	d.ents = slices.Insert(d.ents, i, dirent{off: uint32(len(d.names)), node: node, len: uint8(len(name)), kind: kind})
	d.names = append(d.names, name...)
}

func (d *dir) search(name string) (int, bool) {
	return slices.BinarySearchFunc(d.ents, name, func(e dirent, name string) int {
		return cmp.Compare(string(d.name(&e)), name)
	})
}

func direntRoom(nameLen int) int { return direntHeader + (nameLen+3)&^3 }

// A dirEncoder makes the blocks of directories.
type dirEncoder struct {
	fsSeed   uint32
	hashSeed [4]uint32
	// inode gives the number of a node.
	inode func(node int32) uint32
}

// encode returns a directory's blocks, and whether they are indexed. minBlocks
// asks for empty blocks at the end, for lost+found.
func (c *dirEncoder) encode(d *dir, parentIno uint32, minBlocks int) (blocks []byte, indexed bool, err error) {
	ino := c.inode(d.node)
	seed := inodeSeed(c.fsSeed, ino, 0)
	need := 2 * direntRoom(2)
	for i := range d.ents {
		need += direntRoom(int(d.ents[i].len))
	}
	if need > dirRoom {
		blocks, err = c.encodeIndexed(d, ino, parentIno, seed)
		return blocks, true, err
	}
	blocks = make([]byte, max(minBlocks, 1)*blockSize)
	b := leafBlock{b: blocks[:blockSize]}
	b.add(ino, ".", ftDir)
	b.add(parentIno, "..", ftDir)
	for i := range d.ents {
		e := &d.ents[i]
		b.add(c.inode(e.node), string(d.name(e)), e.kind)
	}
	b.seal(seed)
	for i := blockSize; i < len(blocks); i += blockSize {
		b := leafBlock{b: blocks[i : i+blockSize]}
		b.seal(seed)
	}
	return blocks, false, nil
}

// A leafBlock fills one block of entries, whose last one spans the rest.
type leafBlock struct {
	b          []byte
	used, last int
}

func (l *leafBlock) add(ino uint32, name string, kind uint8) {
	n := direntRoom(len(name))
	putDirent(l.b[l.used:], ino, n, name, kind)
	l.last, l.used = l.used, l.used+n
}

// seal stretches the last entry to the tail and writes the checksum there.
func (l *leafBlock) seal(seed uint32) {
	binary.LittleEndian.PutUint16(l.b[l.last+4:], uint16(dirRoom-l.last))
	t := l.b[dirRoom:]
	putDirent(t, 0, dirTail, "", dirTailType)
	binary.LittleEndian.PutUint32(t[8:], crc32c(seed, l.b[:dirRoom]))
}

func putDirent(b []byte, ino uint32, room int, name string, kind uint8) {
	binary.LittleEndian.PutUint32(b[0:], ino)
	binary.LittleEndian.PutUint16(b[4:], uint16(room))
	b[6], b[7] = uint8(len(name)), kind
	copy(b[8:], name)
}
