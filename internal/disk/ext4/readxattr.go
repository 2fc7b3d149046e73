package ext4

import "encoding/binary"

// xattrs returns an inode's attributes under their full names.
func (f *FS) xattrs(n *rawInode) (map[string][]byte, error) {
	m := map[string][]byte{}
	if at := 128 + n.extra(); n.extra() >= 4 && at+4 <= len(n.b) && n.u32(at) == xattrMagic {
		if err := decodeXattrs(m, n.b[at+4:], n.b[at+4:]); err != nil {
			return nil, err
		}
	}
	if at := n.fileACL(); at != 0 {
		b, err := f.readBlock(at)
		if err != nil {
			return nil, err
		}
		if binary.LittleEndian.Uint32(b) != xattrMagic {
			return nil, corrupt("attribute block %d", at)
		}
		sum := binary.LittleEndian.Uint32(b[16:])
		binary.LittleEndian.PutUint32(b[16:], 0)
		if f.sums && xattrBlockSum(b, at, f.seed) != sum {
			return nil, corrupt("the checksum of attribute block %d is wrong", at)
		}
		if err := decodeXattrs(m, b[xattrHeader:], b); err != nil {
			return nil, err
		}
	}
	if len(m) == 0 {
		return nil, nil
	}
	return m, nil
}

// decodeXattrs reads entries up to the end mark; their values' offsets count
// from the start of values.
func decodeXattrs(m map[string][]byte, entries, values []byte) error {
	le := binary.LittleEndian
	for len(entries) >= 4 && le.Uint32(entries) != 0 {
		if len(entries) < xattrEntry {
			return corrupt("an attribute entry")
		}
		nameLen, index := int(entries[0]), entries[1]
		off, size := int(le.Uint16(entries[2:])), le.Uint32(entries[8:])
		next := xattrEntry + (nameLen+3)&^3
		if next > len(entries) || le.Uint32(entries[4:]) != 0 {
			return corrupt("an attribute entry")
		}
		if size > uint32(len(values)) || off > len(values)-int(size) {
			return corrupt("an attribute value")
		}
		name := string(entries[xattrEntry : xattrEntry+nameLen])
		if err := putXattr(m, index, name, values[off:off+int(size)]); err != nil {
			return err
		}
		entries = entries[next:]
	}
	return nil
}

func putXattr(m map[string][]byte, index uint8, name string, value []byte) error {
	for _, p := range xattrPrefixes {
		if p.index != index {
			continue
		}
		if index == xattrIndexPosix || index == xattrIndexPosix+1 {
			acl, err := aclFromExt4(value)
			if err != nil {
				return corrupt("%v", err)
			}
			value = acl
		}
		m[p.prefix+name] = value
		return nil
	}
	return corrupt("an attribute of kind %d", index)
}
