package fat

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// shortSpecial are the characters beside letters and digits that 8.3 names take.
const shortSpecial = "$%'-_@~`!(){}^#&"

const maxNameUnits = 255

// A name is a name as a directory stores it.
type name struct {
	short [11]byte // 8.3, blank padded
	long  []uint16 // nil where the short name says it all
}

// entries is the number of directory entries that a name takes.
func (n name) entries() int64 { return 1 + int64(len(n.long)+12)/13 }

// checkName refuses what a long name cannot hold (the specification, 7.4).
func checkName(s string) error {
	switch {
	case !utf8.ValidString(s):
		return errors.New("the name is not UTF-8")
	case s == "" || s == "." || s == "..":
		return fmt.Errorf("%q is no name", s)
	case strings.HasSuffix(s, ".") || strings.HasSuffix(s, " "):
		return errors.New("FAT cannot hold a name that ends with a dot or a space")
	case len(utf16.Encode([]rune(s))) > maxNameUnits:
		return fmt.Errorf("the name is longer than %d UTF-16 units", maxNameUnits)
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("FAT cannot hold the character %q of a name", r)
		}
	}
	return nil
}

// fold makes names that FAT takes for the same equal.
func fold(s string) string {
	return strings.Map(unicode.ToUpper, s)
}

func shortChar(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(shortSpecial, c) >= 0
}

// A namer gives the names of one directory their 8.3 forms, in the order of calls.
type namer struct {
	seen  map[string]string // folded long name → name
	short map[[11]byte]bool
	tails map[string]int // basis → highest numeric tail
}

func newNamer() *namer {
	return &namer{seen: map[string]string{}, short: map[[11]byte]bool{}, tails: map[string]int{}}
}

// add makes the stored form of s.
func (n *namer) add(s string) (name, error) {
	if err := checkName(s); err != nil {
		return name{}, err
	}
	if twin, ok := n.seen[fold(s)]; ok {
		return name{}, fmt.Errorf("FAT takes it for the same name as %q", twin)
	}
	n.seen[fold(s)] = s
	base, ext, exact := basis(s)
	if short := pad(base, ext); exact && !n.short[short] {
		n.short[short] = true
		return name{short: short, long: longUnless(s, base, ext)}, nil
	}
	long := utf16.Encode([]rune(s))
	for i := n.tails[base+"."+ext] + 1; i < 1_000_000; i++ {
		tail := fmt.Sprintf("~%d", i)
		short := pad(base[:min(len(base), 8-len(tail))]+tail, ext)
		if !n.short[short] {
			n.short[short] = true
			n.tails[base+"."+ext] = i
			return name{short: short, long: long}, nil
		}
	}
	return name{}, errors.New("no 8.3 name is left for it")
}

// longUnless is the long form, nil where the short one is the name itself.
func longUnless(s, base, ext string) []uint16 {
	if ext != "" {
		base += "." + ext
	}
	if s == base {
		return nil
	}
	return utf16.Encode([]rune(s))
}

// basis is the specification's basis-name (7.4, step 1 to 6); exact tells that
// nothing but the case was lost.
func basis(s string) (base, ext string, exact bool) {
	trimmed := strings.TrimLeft(s, ". ")
	exact = trimmed == s
	base = trimmed
	if i := strings.LastIndexByte(trimmed, '.'); i > 0 {
		base, ext = trimmed[:i], trimmed[i+1:]
	}
	base, ok := shortPart(base, 8)
	exact = exact && ok
	ext, ok = shortPart(ext, 3)
	if base == "" {
		base, ok = "_", false
	}
	return base, ext, exact && ok
}

// shortPart is s in characters of 8.3 names, at most n of them.
func shortPart(s string, n int) (string, bool) {
	ok := true
	var b strings.Builder
	for _, r := range s {
		u := unicode.ToUpper(r)
		switch {
		case r == ' ' || r == '.':
			ok = false
			continue
		case u >= utf8.RuneSelf || !shortChar(byte(u)):
			ok = false
			u = '_'
		}
		if b.Len() == n {
			return b.String(), false
		}
		b.WriteByte(byte(u))
	}
	return b.String(), ok
}

func pad(base, ext string) (b [11]byte) {
	copy(b[:], "           ")
	copy(b[:8], base)
	copy(b[8:], ext)
	return b
}

// sum is the checksum that ties long entries to their short one (the specification, 7.2).
func (n name) sum() (c byte) {
	for _, b := range n.short {
		c = c<<7 | c>>1
		c += b
	}
	return c
}
