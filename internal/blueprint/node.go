package blueprint

import (
	"bytes"
	"fmt"
	"sort"
)

// A kind is the type of a value as it was written.
type kind int

const (
	kindTable kind = iota
	kindArray
	kindString
	kindInteger
	kindFloat
	kindBool
	kindTime
	kindNull
)

// String is the kind as a user would call it.
func (k kind) String() string {
	return [...]string{"a table", "an array", "a string", "an integer", "a float", "a boolean", "a date or time", "null"}[k]
}

// A node is a value and where it stood.
type node struct {
	kind kind
	// pos is the offset of the value, key that of the key that names it (for
	// an element of an array, of the element).
	pos, key int
	text     string // of kindString; the source text of numbers and times
	integer  int64
	boolean  bool
	items    []*node
	fields   map[string]*node
	order    []string // of fields

	// closed forbids additions: inline tables and arrays written as values.
	closed bool
	// header says that a [table] header defined this table, dotted that dotted
	// keys did; of the two only one may, and a header only once.
	header, dotted bool
	// tables says that this array grows by [[headers]].
	tables bool
}

func newTable(pos, key int) *node {
	return &node{kind: kindTable, pos: pos, key: key, fields: map[string]*node{}}
}

func (n *node) set(name string, v *node) {
	n.fields[name] = v
	n.order = append(n.order, name)
}

// at follows names (string) and indexes (int) as far as they go and returns
// the last node found, so that a missing value is reported at its parent.
func (n *node) at(path ...any) *node {
	for _, step := range path {
		next := n.step(step)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// has reports whether the whole path exists.
func (n *node) has(path ...any) bool {
	for _, step := range path {
		if n = n.step(step); n == nil {
			return false
		}
	}
	return true
}

func (n *node) step(step any) *node {
	if n == nil {
		return nil
	}
	if name, ok := step.(string); ok {
		return n.fields[name]
	}
	if i, ok := step.(int); ok && i < len(n.items) {
		return n.items[i]
	}
	return nil
}

// A document is a parsed file: its tree, its lines and what is wrong with it.
type document struct {
	name     string
	root     *node
	src      []byte
	lines    []int // offsets of the lines' first bytes
	problems Problems
	// made says that the values come from Go code and stand nowhere.
	made bool
}

// maxSource is the largest file that is read as a blueprint, in bytes.
const maxSource = 4 << 20

// maxDepth is how deep arrays and tables may be nested.
const maxDepth = 64

// maxProblems is how many mistakes are listed.
const maxProblems = 1000

// maxSyntax is after how many syntax errors a parser gives up.
const maxSyntax = 50

func newDocument(name string, src []byte) *document {
	d := &document{name: name, src: src, root: newTable(0, 0), lines: []int{0}}
	for i := 0; ; {
		n := bytes.IndexByte(src[i:], '\n')
		if n < 0 {
			return d
		}
		i += n + 1
		d.lines = append(d.lines, i)
	}
}

// position is the 1-based line and column of an offset.
func (d *document) position(offset int) (line, col int) {
	if d.made {
		return 0, 0
	}
	line = sort.SearchInts(d.lines, offset+1)
	return line, offset - d.lines[line-1] + 1
}

// errorf records an error at an offset.
func (d *document) errorf(offset int, code, hint, format string, args ...any) {
	if len(d.problems) == maxProblems {
		code, hint, format, args = "too-many-errors", "", "more than %d mistakes: the rest is not listed", []any{maxProblems}
	} else if len(d.problems) > maxProblems {
		return
	}
	d.problems = append(d.problems, d.problem(offset, Error, code, hint, fmt.Sprintf(format, args...)))
}

func (d *document) problem(offset int, severity Severity, code, hint, text string) Problem {
	line, col := d.position(offset)
	return Problem{File: d.name, Line: line, Col: col, Severity: severity, Code: code, Text: text, Hint: hint}
}

// broken reports whether the syntax hides keys, so that none can be said to be missing.
func (d *document) broken() bool {
	for _, p := range d.problems {
		if p.Code == "syntax" || p.Code == "duplicate-key" || p.Code == "invalid-utf8" || p.Code == "too-large" {
			return true
		}
	}
	return false
}
