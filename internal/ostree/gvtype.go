package ostree

import "errors"

// maxDepth bounds the nesting of containers, as GLib does.
const maxDepth = 64

// maxTypeLen is the longest type string of a variant, as on D-Bus.
const maxTypeLen = 255

var errType = errors.New("malformed type string")

// basicTypes maps each basic type to its size in bytes, which is also its
// alignment; 0 is a type of variable size, aligned to 1.
var basicTypes = [256]struct {
	known bool
	size  int8
}{
	'y': {true, 1}, 'b': {true, 1},
	'n': {true, 2}, 'q': {true, 2},
	'i': {true, 4}, 'u': {true, 4}, 'h': {true, 4},
	'x': {true, 8}, 't': {true, 8}, 'd': {true, 8},
	's': {true, 0}, 'o': {true, 0}, 'g': {true, 0},
}

// typeLen returns the length of the first complete type of a type string.
func typeLen(t string, depth int) (int, error) {
	if t == "" || depth > maxDepth {
		return 0, errType
	}
	switch c := t[0]; {
	case basicTypes[c].known, c == 'v':
		return 1, nil
	case c == 'a', c == 'm':
		n, err := typeLen(t[1:], depth+1)
		return n + 1, err
	case c == '(':
		return membersLen(t, ')', depth)
	case c == '{':
		if len(t) < 2 || !basicTypes[t[1]].known {
			return 0, errType
		}
		n, err := typeLen(t[2:], depth+1)
		if err != nil || len(t) < n+3 || t[n+2] != '}' {
			return 0, errType
		}
		return n + 3, nil
	}
	return 0, errType
}

// membersLen returns the length of a tuple's type up to its closing bracket.
func membersLen(t string, end byte, depth int) (int, error) {
	n := 1
	for n < len(t) && t[n] != end {
		m, err := typeLen(t[n:], depth+1)
		if err != nil {
			return 0, err
		}
		n += m
	}
	if n >= len(t) {
		return 0, errType
	}
	return n + 1, nil
}

// A layout is what the serialisation needs to know of a type.
type layout struct {
	align int
	size  int // in bytes; 0 is variable
}

// layoutOf returns the layout of one complete, well-formed type.
func layoutOf(t string) layout {
	switch t[0] {
	case 'v':
		return layout{align: 8}
	case 'a', 'm':
		return layout{align: layoutOf(t[1:]).align}
	case '(', '{':
		return tupleLayout(t)
	}
	size := int(basicTypes[t[0]].size)
	return layout{align: max(size, 1), size: size}
}

func tupleLayout(t string) layout {
	out := layout{align: 1}
	fixed, end := true, 0
	for inner := t[1 : len(t)-1]; inner != ""; {
		n, err := typeLen(inner, 0)
		if err != nil {
			return out // cannot happen: the caller checked the type
		}
		m := layoutOf(inner[:n])
		out.align = max(out.align, m.align)
		if m.size == 0 {
			fixed = false
		}
		end = roundUp(end, m.align) + m.size
		inner = inner[n:]
	}
	if fixed {
		// The unit type has no members and yet one byte.
		out.size = max(roundUp(end, out.align), 1)
	}
	return out
}

func roundUp(n, align int) int { return (n + align - 1) / align * align }
