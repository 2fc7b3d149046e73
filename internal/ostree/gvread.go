package ostree

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

var (
	errOffsets = errors.New("framing offsets out of order or out of range")
	errPadding = errors.New("padding is not zero")
	errSize    = errors.New("wrong size")
	errWidth   = errors.New("framing offsets wider than needed")
	errDepth   = errors.New("nested too deeply")
)

// A member is one child of a container: its complete type and its bytes.
type member struct {
	typ string
	b   []byte
}

// verify checks that b is a value of one complete, well-formed type in normal
// form, its children included.
func verify(t string, b []byte, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	switch t[0] {
	case 's', 'o', 'g':
		return verifyString(t[0], b)
	case 'v':
		m, err := variantChild(b)
		if err != nil {
			return err
		}
		return verify(m.typ, m.b, depth+1)
	case 'm':
		m, err := maybeChild(t, b)
		if err != nil || m.typ == "" {
			return err
		}
		return verify(m.typ, m.b, depth+1)
	case 'a', '(', '{':
		return children(t, b, func(m member) error { return verify(m.typ, m.b, depth+1) })
	}
	if len(b) != layoutOf(t).size {
		return fmt.Errorf("value of type %s: %w", t, errSize)
	}
	if t[0] == 'b' && b[0] > 1 {
		return errors.New("boolean is neither 0 nor 1")
	}
	return nil
}

func verifyString(t byte, b []byte) error {
	if len(b) == 0 || bytes.IndexByte(b, 0) != len(b)-1 {
		return errors.New("string does not end with its only NUL")
	}
	s := b[:len(b)-1]
	if !utf8.Valid(s) {
		return errors.New("string is not UTF-8")
	}
	if t == 'o' && !isObjectPath(string(s)) {
		return fmt.Errorf("%.80q is not an object path", s)
	}
	if t != 'g' {
		return nil
	}
	for rest := string(s); rest != ""; {
		n, err := typeLen(rest, 0)
		if err != nil {
			return fmt.Errorf("signature %.80q: %w", s, err)
		}
		rest = rest[n:]
	}
	return nil
}

func isObjectPath(s string) bool {
	if s == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(s, "/")
	if !ok {
		return false
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			return false
		}
	}
	return true
}

// variantChild returns the value inside a variant.
func variantChild(b []byte) (member, error) {
	i := bytes.LastIndexByte(b, 0)
	if i < 0 {
		return member{}, errors.New("variant without a type")
	}
	if len(b)-i-1 > maxTypeLen {
		return member{}, fmt.Errorf("variant with a type of %d characters: %w", len(b)-i-1, errType)
	}
	t := string(b[i+1:])
	if n, err := typeLen(t, 0); err != nil || n != len(t) {
		return member{}, fmt.Errorf("variant of type %.80q: %w", t, errType)
	}
	return member{t, b[:i]}, nil
}

// maybeChild returns the value inside a maybe, or an empty member for nothing.
func maybeChild(t string, b []byte) (member, error) {
	if len(b) == 0 {
		return member{}, nil
	}
	m := member{t[1:], b}
	if layoutOf(m.typ).size == 0 {
		if b[len(b)-1] != 0 {
			return member{}, errPadding
		}
		m.b = b[:len(b)-1]
	}
	return m, nil
}

// children calls f with each child of an array, tuple or dictionary entry, and
// checks the container's own form: offsets, padding and sizes.
func children(t string, b []byte, f func(member) error) error {
	if t[0] == 'a' {
		return elements(t[1:], b, f)
	}
	return tupleMembers(t, b, f)
}

func elements(t string, b []byte, f func(member) error) error {
	l := layoutOf(t)
	if l.size == 0 {
		return variableElements(t, l.align, b, f)
	}
	if len(b)%l.size != 0 {
		return fmt.Errorf("array of %s: %w", t, errSize)
	}
	if len(t) == 1 && t != "b" {
		return nil // every pattern of bits is a value
	}
	for ; len(b) > 0; b = b[l.size:] {
		if err := f(member{t, b[:l.size]}); err != nil {
			return err
		}
	}
	return nil
}

func variableElements(t string, align int, b []byte, f func(member) error) error {
	if len(b) == 0 {
		return nil
	}
	w := readWidth(len(b))
	if len(b) < w {
		return errOffsets
	}
	body := readOffset(b[len(b)-w:])
	if body < 0 || body > len(b)-w || (len(b)-body)%w != 0 {
		return errOffsets
	}
	count := (len(b) - body) / w
	if offsetWidth(body, count) != w {
		return errWidth
	}
	pos := 0
	for i := range count {
		start := roundUp(pos, align)
		end := readOffset(b[body+i*w:][:w])
		if end < start || end > body {
			return errOffsets
		}
		if !allZero(b[pos:start]) {
			return errPadding
		}
		if err := f(member{t, b[start:end]}); err != nil {
			return err
		}
		pos = end
	}
	return nil
}

func tupleMembers(t string, b []byte, f func(member) error) error {
	l := layoutOf(t)
	if l.size > 0 && len(b) != l.size {
		return fmt.Errorf("tuple of type %.80s: %w", t, errSize)
	}
	w := readWidth(len(b))
	pos, table, count := 0, len(b), 0
	inner := t[1 : len(t)-1]
	for inner != "" {
		n, err := typeLen(inner, 0)
		if err != nil {
			return err
		}
		mt := inner[:n]
		inner = inner[n:]
		m := layoutOf(mt)
		start := roundUp(pos, m.align)
		end := start + m.size
		switch {
		case m.size > 0:
		case inner == "":
			end = table
		default:
			if table -= w; table < 0 {
				return errOffsets
			}
			end, count = readOffset(b[table:][:w]), count+1
		}
		if end < start || end > table {
			return errOffsets
		}
		if !allZero(b[pos:start]) {
			return errPadding
		}
		if err := f(member{mt, b[start:end]}); err != nil {
			return err
		}
		pos = end
	}
	return tupleEnd(l, b, pos, table, count)
}

// tupleEnd checks what lies between the last member and the framing offsets.
func tupleEnd(l layout, b []byte, pos, table, count int) error {
	if l.size == 0 && pos != table {
		return errOffsets
	}
	if !allZero(b[pos:table]) {
		return errPadding
	}
	if count > 0 && offsetWidth(table, count) != readWidth(len(b)) {
		return errWidth
	}
	return nil
}

// readWidth returns the width of the offsets of a container of size bytes.
func readWidth(size int) int { return offsetWidth(size, 0) }

// readOffset returns -1 where the offset is out of an int's range.
func readOffset(b []byte) int {
	var v uint64
	for i, c := range b {
		v |= uint64(c) << (8 * i)
	}
	if v > MaxMetadata {
		return -1
	}
	return int(v)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// open checks that b is a metadata object of type t in normal form and returns
// the members of the tuple.
func open(t string, b []byte) ([][]byte, error) {
	if len(b) > MaxMetadata {
		return nil, errTooLarge
	}
	if err := verify(t, b, 0); err != nil {
		return nil, err
	}
	return split(t, b)
}

// split returns the members of a container that verify accepted.
func split(t string, b []byte) ([][]byte, error) {
	var out [][]byte
	err := children(t, b, func(m member) error {
		out = append(out, m.b)
		return nil
	})
	return out, err
}
