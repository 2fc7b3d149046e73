package ostree

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Commit names a tree and says where it came from.
type Commit struct {
	Metadata  map[string]Value
	Parent    *Checksum
	Subject   string
	Body      string
	Timestamp uint64   // seconds since 1970, UTC
	Root      Checksum // of the root's dirtree
	RootMeta  Checksum // of the root's dirmeta
}

const typeCommit = "(a{sv}aya(say)sstayay)"

// Encode serialises the object, the metadata's keys sorted. A commit that was
// parsed keeps its checksum only if its keys were sorted, so name it by its bytes.
func (c Commit) Encode() []byte {
	b := appendDict(nil, c.Metadata)
	metadata := len(b)
	if c.Parent != nil {
		b = append(b, c.Parent[:]...)
	}
	parent := len(b) // and the end of the related objects: there are none
	b = appendString(b, c.Subject)
	subject := len(b)
	b = appendString(b, c.Body)
	body := len(b)
	b = appendPad(b, 0, 8)
	b = binary.BigEndian.AppendUint64(b, c.Timestamp)
	b = append(b, c.Root[:]...)
	root := len(b)
	b = append(b, c.RootMeta[:]...)
	return appendTupleOffsets(b, 0, metadata, parent, parent, subject, body, root)
}

// Checksum returns the object's name.
func (c Commit) Checksum() Checksum { return ChecksumOf(c.Encode()) }

// ParseCommit reads an object of kind commit.
func ParseCommit(b []byte) (Commit, error) {
	c, err := parseCommit(b)
	if err != nil {
		return Commit{}, fmt.Errorf("reading commit: %w", err)
	}
	return c, nil
}

func parseCommit(b []byte) (Commit, error) {
	m, err := open(typeCommit, b)
	if err != nil {
		return Commit{}, err
	}
	c := Commit{Subject: text(m[3]), Body: text(m[4]), Timestamp: binary.BigEndian.Uint64(m[5])}
	if c.Metadata, err = parseDict(m[0]); err != nil {
		return c, fmt.Errorf("metadata: %w", err)
	}
	if len(m[1]) > 0 {
		c.Parent = new(Checksum)
		if err := copyChecksum(c.Parent, m[1], "the parent"); err != nil {
			return c, err
		}
	}
	if len(m[2]) > 0 {
		return c, errors.New("related objects are not supported")
	}
	if err := copyChecksum(&c.Root, m[6], "the root's tree"); err != nil {
		return c, err
	}
	return c, copyChecksum(&c.RootMeta, m[7], "the root's attributes")
}

// ContentChecksum is what "ostree show" calls the content checksum.
func (c Commit) ContentChecksum() Checksum {
	return ChecksumOf(append(c.Root[:len(c.Root):len(c.Root)], c.RootMeta[:]...))
}
