package ext4

import (
	"encoding/binary"
	"errors"
)

// POSIX ACLs have one form in the xattr interface (version 2, 8 bytes for each
// entry) and another on ext4 (version 1, identifiers only where they mean
// something).

const (
	aclVersionLinux = 2
	aclVersionExt4  = 1
	aclUser         = 0x02
	aclGroup        = 0x08
)

var errACL = errors.New("not a valid POSIX ACL")

func aclHasID(tag uint16) (hasID, ok bool) {
	switch tag {
	case aclUser, aclGroup:
		return true, true
	case 0x01, 0x04, 0x10, 0x20: // owner, owning group, mask, others
		return false, true
	}
	return false, false
}

func aclToExt4(v []byte) ([]byte, error) {
	if len(v) < 4 || (len(v)-4)%8 != 0 || binary.LittleEndian.Uint32(v) != aclVersionLinux {
		return nil, errACL
	}
	out := binary.LittleEndian.AppendUint32(nil, aclVersionExt4)
	for v = v[4:]; len(v) > 0; v = v[8:] {
		id, ok := aclHasID(binary.LittleEndian.Uint16(v))
		if !ok {
			return nil, errACL
		}
		out = append(out, v[:4]...)
		if id {
			out = append(out, v[4:8]...)
		}
	}
	return out, nil
}

func aclFromExt4(v []byte) ([]byte, error) {
	if len(v) < 4 || binary.LittleEndian.Uint32(v) != aclVersionExt4 {
		return nil, errACL
	}
	out := binary.LittleEndian.AppendUint32(nil, aclVersionLinux)
	for v = v[4:]; len(v) > 0; {
		if len(v) < 4 {
			return nil, errACL
		}
		id, ok := aclHasID(binary.LittleEndian.Uint16(v))
		if !ok || id && len(v) < 8 {
			return nil, errACL
		}
		out = append(out, v[:4]...)
		if id {
			out = append(out, v[4:8]...)
			v = v[8:]
		} else {
			out = binary.LittleEndian.AppendUint32(out, 1<<32-1) // no identifier
			v = v[4:]
		}
	}
	return out, nil
}
