package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/aitheros/aither-image/internal/tree"
)

// maxDepth is more than the specification's path of 260 characters can reach.
const maxDepth = 130

// A dirEntry is a file or folder as its directory tells it.
type dirEntry struct {
	name  string
	dir   bool
	first int64
	size  int64
	time  time.Time
}

// list reads a directory; its own and its parent's entry, labels and deleted
// files are left out.
func (f *FS) list(first int64) ([]dirEntry, error) {
	b, err := f.dirData(first)
	if err != nil {
		return nil, err
	}
	var es []dirEntry
	var long longName
	for ; len(b) >= dirEntrySize && b[0] != 0; b = b[dirEntrySize:] {
		e := b[:dirEntrySize]
		switch {
		case e[0] == 0xe5:
			long = longName{}
		case e[11]&0x3f == attrLong:
			long.add(e)
		case e[11]&attrLabel != 0 || e[0] == '.':
			long = longName{}
		default:
			es = append(es, f.entry(e, long))
			long = longName{}
		}
	}
	return es, nil
}

func (f *FS) entry(b []byte, long longName) dirEntry {
	le := binary.LittleEndian
	e := dirEntry{
		name: shortString(b), dir: b[11]&attrDir != 0, size: int64(le.Uint32(b[28:])),
		first: int64(le.Uint16(b[26:])), time: unstamp(le.Uint16(b[24:]), le.Uint16(b[22:])),
	}
	if f.g.bits == 32 {
		e.first |= int64(le.Uint16(b[20:])) << 16
	}
	if s, ok := long.string(b[:11]); ok {
		e.name = s
	}
	return e
}

// shortString is an 8.3 name; bytes beyond ASCII become question marks.
func shortString(b []byte) string {
	var s [11]byte
	copy(s[:], b)
	if s[0] == 0x05 {
		s[0] = 0xe5
	}
	for i, c := range s {
		if c < 0x20 || c >= 0x7f || c == '/' {
			s[i] = '?'
		}
	}
	base, ext := strings.TrimRight(string(s[:8]), " "), strings.TrimRight(string(s[8:]), " ")
	// Windows marks names that are all lower-case in two bits instead of a long name.
	if b[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if b[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		base += "." + ext
	}
	return base
}

// A longName gathers the entries of a long name, which come last part first.
type longName struct {
	parts [][]uint16
	next  int // the part that must come next
	sum   byte
}

func (l *longName) add(e []byte) {
	part := int(e[0] & 0x3f)
	if e[0]&0x40 != 0 {
		*l = longName{next: part, sum: e[13]}
	}
	if part == 0 || part > 20 || part != l.next || e[13] != l.sum {
		*l = longName{}
		return
	}
	units := make([]uint16, 13)
	for j := range units {
		units[j] = binary.LittleEndian.Uint16(e[longAt(j):])
	}
	l.parts = append(l.parts, units)
	l.next--
}

// string is the long name, if it is whole and belongs to the short one.
func (l *longName) string(short []byte) (string, bool) {
	if len(l.parts) == 0 || l.next != 0 || (name{short: [11]byte(short)}).sum() != l.sum {
		return "", false
	}
	var units []uint16
	for _, p := range slices.Backward(l.parts) {
		units = append(units, p...)
	}
	if i := slices.Index(units, 0); i >= 0 {
		units = units[:i]
	}
	s := string(utf16.Decode(units))
	return s, checkName(s) == nil
}

// A file is the content of a file of an FS.
type file struct {
	f     *FS
	first int64
	size  int64
}

func (c file) Size() int64 { return c.size }

func (c file) Open() (io.ReadCloser, error) {
	return &chain{f: c.f, cluster: c.first, left: c.size}, nil
}

// Tree yields everything on the file system, folders as 0755 and files as 0644.
// A name that a hostile disk gives and no tree may hold is an error.
func (f *FS) Tree() tree.Stream {
	return func(yield func(tree.Entry, error) bool) {
		w := walker{f: f, yield: yield, seen: map[int64]bool{f.root: true}}
		if yield(tree.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil) {
			w.dir(".", f.root, 0)
		}
	}
}

type walker struct {
	f     *FS
	yield func(tree.Entry, error) bool
	seen  map[int64]bool // first clusters of the folders met
	count int
}

// dir yields what is in a folder; false stops the walk.
func (w *walker) dir(name string, first int64, depth int) bool {
	fail := func(err error) bool {
		w.yield(tree.Entry{}, fmt.Errorf("reading folder %q of FAT file system: %w", name, err))
		return false
	}
	es, err := w.f.list(first)
	if err != nil {
		return fail(err)
	}
	slices.SortStableFunc(es, func(a, b dirEntry) int { return strings.Compare(a.name, b.name) })
	for i, e := range es {
		w.count++
		switch {
		case checkName(e.name) != nil:
			return fail(fmt.Errorf("%q: %w", e.name, checkName(e.name)))
		case i > 0 && es[i-1].name == e.name:
			return fail(fmt.Errorf("%q is there twice", e.name))
		case w.count > maxEntries || depth >= maxDepth:
			return fail(fmt.Errorf("more than %d entries or %d levels", maxEntries, maxDepth))
		case e.dir && w.seen[e.first]:
			return fail(fmt.Errorf("%q leads back to a folder met before", e.name))
		}
		te := tree.Entry{Path: path.Join(name, e.name), Mode: 0o644, ModTime: e.time, Content: file{w.f, e.first, e.size}}
		if e.dir {
			te.Mode, te.Content = fs.ModeDir|0o755, nil
			w.seen[e.first] = true
		}
		if !w.yield(te, nil) || e.dir && !w.dir(te.Path, e.first, depth+1) {
			return false
		}
	}
	return true
}
