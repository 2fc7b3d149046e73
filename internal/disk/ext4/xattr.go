package ext4

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

const (
	xattrMagic      = 0xEA020000
	xattrEntry      = 16 // struct ext4_xattr_entry without the name
	xattrHeader     = 32 // struct ext4_xattr_header
	xattrMaxRefs    = 1024
	xattrMaxValue   = 65535
	extraSize       = 32 // i_extra_isize
	inodeXattrs     = 128 + extraSize
	inodeXattrRoom  = inodeSize - inodeXattrs
	xattrIndexPosix = 2 // access; 3 is default
)

// xattrPrefixes are the name prefixes that have a number (e_name_index).
var xattrPrefixes = []struct {
	index  uint8
	prefix string
}{
	{2, "system.posix_acl_access"},
	{3, "system.posix_acl_default"},
	{1, "user."},
	{4, "trusted."},
	{6, "security."},
}

// An xattr is one attribute in ext4's form.
type xattr struct {
	index uint8
	name  string // without the prefix
	value []byte
}

func (x *xattr) nameRoom() int  { return xattrEntry + (len(x.name)+3)&^3 }
func (x *xattr) valueRoom() int { return (len(x.value) + 3) &^ 3 }
func (x *xattr) room() int      { return x.nameRoom() + x.valueRoom() }

// hash is e_hash, over the name and the padded value.
func (x *xattr) hash() uint32 {
	h := uint32(0)
	for i := range len(x.name) {
		h = bits.RotateLeft32(h, 5) ^ uint32(int8(x.name[i]))
	}
	v := append(bytes.Clone(x.value), 0, 0, 0)
	for i := 0; i < x.valueRoom(); i += 4 {
		h = bits.RotateLeft32(h, 16) ^ binary.LittleEndian.Uint32(v[i:])
	}
	return h
}

// toXattrs converts attributes to ext4's form, in the order of an attribute block.
func toXattrs(m map[string][]byte) ([]xattr, error) {
	list := make([]xattr, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		x, err := toXattr(name, m[name])
		if err != nil {
			return nil, fmt.Errorf("extended attribute %q: %w", name, err)
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	return list, nil
}

func toXattr(name string, value []byte) (xattr, error) {
	if len(value) > xattrMaxValue {
		return xattr{}, fmt.Errorf("value of %d bytes is too long for ext4", len(value))
	}
	for _, p := range xattrPrefixes {
		rest, ok := strings.CutPrefix(name, p.prefix)
		if !ok || strings.HasSuffix(p.prefix, ".") == (rest == "") {
			continue
		}
		if len(rest) > 255 || strings.IndexByte(rest, 0) >= 0 {
			return xattr{}, errors.New("name does not fit ext4")
		}
		if p.index == xattrIndexPosix || p.index == xattrIndexPosix+1 {
			acl, err := aclToExt4(value)
			return xattr{index: p.index, value: acl}, err
		}
		return xattr{index: p.index, name: rest, value: value}, nil
	}
	return xattr{}, errors.New("ext4 keeps only user, trusted, security and POSIX ACL attributes")
}

// An xattrSet is the attributes of any number of inodes that have the same ones.
type xattrSet struct {
	body  []byte // what follows i_extra_isize in the inode; nil when empty
	block int    // index into xattrs.blocks; -1 without one
}

// xattrs collects the attribute sets of a file system.
type xattrs struct {
	sets   []xattrSet
	ids    map[string]int32
	blocks []xattrBlock
	byText map[string]int
}

// An xattrBlock is one content of attribute blocks; as many blocks are made as
// its users need.
type xattrBlock struct {
	text  []byte
	users int
	at    []uint64 // block numbers, each for xattrMaxRefs users
	given int
}

const noXattrs = -1

// add returns the number of a set of attributes.
func (x *xattrs) add(m map[string][]byte) (int32, error) {
	if len(m) == 0 {
		return noXattrs, nil
	}
	list, err := toXattrs(m)
	if err != nil {
		return 0, err
	}
	key := xattrKey(list)
	if id, ok := x.ids[key]; ok {
		x.use(id)
		return id, nil
	}
	inside, outside := splitXattrs(list)
	set := xattrSet{block: -1}
	if len(inside) > 0 {
		set.body = make([]byte, inodeXattrRoom)
		binary.LittleEndian.PutUint32(set.body, xattrMagic)
		encodeXattrs(set.body[4:], inside, 0)
	}
	if len(outside) > 0 {
		if set.block, err = x.addBlock(outside); err != nil {
			return 0, err
		}
	}
	if x.ids == nil {
		x.ids = map[string]int32{}
	}
	id := int32(len(x.sets))
	x.ids[key] = id
	x.sets = append(x.sets, set)
	x.use(id)
	return id, nil
}

func (x *xattrs) use(id int32) {
	if b := x.sets[id].block; b >= 0 {
		x.blocks[b].users++
	}
}

func (x *xattrs) addBlock(list []xattr) (int, error) {
	text, err := encodeXattrBlock(list)
	if err != nil {
		return 0, err
	}
	if i, ok := x.byText[string(text)]; ok {
		return i, nil
	}
	if x.byText == nil {
		x.byText = map[string]int{}
	}
	x.blocks = append(x.blocks, xattrBlock{text: text})
	x.byText[string(text)] = len(x.blocks) - 1
	return len(x.blocks) - 1, nil
}

func xattrKey(list []xattr) string {
	var b []byte
	for _, x := range list {
		b = append(b, x.index, byte(len(x.name)))
		b = append(b, x.name...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(x.value)))
		b = append(b, x.value...)
	}
	return string(b)
}

// splitXattrs chooses what fits into the inode: the security label first, which
// every access reads, then the others in order.
func splitXattrs(list []xattr) (inside, outside []xattr) {
	left := inodeXattrRoom - 8 // magic and the end mark
	in := make([]bool, len(list))
	for _, labels := range []bool{true, false} {
		for i := range list {
			label := list[i].index == 6 && list[i].name == "selinux"
			if r := list[i].room(); label == labels && r <= left {
				in[i] = true
				left -= r
			}
		}
	}
	for i, x := range list {
		if in[i] {
			inside = append(inside, x)
		} else {
			outside = append(outside, x)
		}
	}
	return inside, outside
}

// encodeXattrs writes entries from the front and values from the back of b.
// Offsets of values count from base bytes before b. It returns the hash of all.
func encodeXattrs(b []byte, list []xattr, base int) uint32 {
	front, back, sum := 0, len(b), uint32(0)
	for i := range list {
		x := &list[i]
		h := x.hash()
		sum = bits.RotateLeft32(sum, 16) ^ h
		back -= x.valueRoom()
		copy(b[back:], x.value)
		e := b[front:]
		e[0], e[1] = uint8(len(x.name)), x.index
		if len(x.value) > 0 {
			binary.LittleEndian.PutUint16(e[2:], uint16(back+base))
		}
		binary.LittleEndian.PutUint32(e[8:], uint32(len(x.value)))
		binary.LittleEndian.PutUint32(e[12:], h)
		copy(e[xattrEntry:], x.name)
		front += x.nameRoom()
	}
	return sum
}

// encodeXattrBlock makes an attribute block; h_refcount and h_checksum are left
// to sealXattrBlock.
func encodeXattrBlock(list []xattr) ([]byte, error) {
	need := xattrHeader + 4
	for i := range list {
		need += list[i].room()
	}
	if need > blockSize {
		return nil, fmt.Errorf("extended attributes need %d bytes: ext4 keeps at most %d outside the inode", need, blockSize)
	}
	b := make([]byte, blockSize)
	binary.LittleEndian.PutUint32(b[0:], xattrMagic)
	binary.LittleEndian.PutUint32(b[8:], 1) // h_blocks
	sum := encodeXattrs(b[xattrHeader:], list, xattrHeader)
	binary.LittleEndian.PutUint32(b[12:], sum) // h_hash
	return b, nil
}

// sealXattrBlock sets the reference count, and the checksum over the block's
// number and content.
func sealXattrBlock(b []byte, at uint64, refs int, fsSeed uint32) {
	binary.LittleEndian.PutUint32(b[4:], uint32(refs))
	binary.LittleEndian.PutUint32(b[16:], 0)
	binary.LittleEndian.PutUint32(b[16:], xattrBlockSum(b, at, fsSeed))
}

func xattrBlockSum(b []byte, at uint64, fsSeed uint32) uint32 {
	return crc32c(crc32c(fsSeed, binary.LittleEndian.AppendUint64(nil, at)), b)
}
