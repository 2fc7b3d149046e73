package composefs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Names that overlayfs gives a meaning. Those that the input has itself are
// escaped, so that they come out again below a second overlayfs.
const (
	overlayPrefix  = "trusted.overlay."
	escapePrefix   = overlayPrefix + "overlay."
	userPrefix     = "user.overlay."
	xattrMetacopy  = overlayPrefix + "metacopy"
	xattrRedirect  = overlayPrefix + "redirect"
	xattrOpaque    = overlayPrefix + "opaque"
	xattrSELinux   = "security.selinux"
	xattrACL       = "system.posix_acl_access"
	xattrACLParent = "system.posix_acl_default"
)

const (
	xattrHeaderSize = 12
	xattrEntrySize  = 4
	maxShared       = 128 // attributes of one inode that may be shared ones
	filterSeed      = 0x25bbe08f
	maxXattrValue   = 0xffff
	maxXattrSuffix  = 255
	// maxXattrs bounds the attributes of one inode, counted as libcomposefs does:
	// the header, then for each the worst padding, the name and the value.
	maxXattrs  = 0xffff / 2
	xattrWorst = 2*xattrEntrySize - 1
)

// xattrPrefixes are the name prefixes that the format abbreviates to an index,
// in the order in which libcomposefs tries them.
var xattrPrefixes = []struct {
	text  string
	index byte
}{{"user.", 1}, {xattrACL, 2}, {xattrACLParent, 3}, {"trusted.", 4}, {"security.", 6}}

func splitName(name string) (byte, string) {
	for _, p := range xattrPrefixes {
		if rest, ok := strings.CutPrefix(name, p.text); ok {
			return p.index, rest
		}
	}
	return 0, name
}

// A pair is one attribute with its value; inodes refer to pairs by number.
type pair struct {
	name   string
	value  string
	index  byte
	filter byte // the bit of the filter that the name clears
	slash  bool // a redirection: a slash that the string lacks precedes it
	uses   uint32
	shared int64 // offset in the shared area, or -1
}

func (p *pair) valueLen() int {
	if p.slash {
		return len(p.value) + 1
	}
	return len(p.value)
}

func (p *pair) suffix() string {
	_, s := splitName(p.name)
	return s
}

func (p *pair) size() uint64 {
	return roundUp(uint64(xattrEntrySize+len(p.suffix())+p.valueLen()), 4)
}

func (p *pair) encode(b []byte) []byte {
	start := len(b)
	s := p.suffix()
	b = append(b, byte(len(s)), p.index)
	b = le.AppendUint16(b, uint16(p.valueLen()))
	b = append(b, s...)
	if p.slash {
		b = append(b, '/')
	}
	b = append(b, p.value...)
	for (len(b)-start)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// compare orders pairs as the shared area lists them, backwards.
func (p *pair) compare(q *pair) int {
	// Pairs of one name are all redirections or none is, so the slash can be ignored.
	return cmp.Or(strings.Compare(p.name, q.name), cmp.Compare(len(p.value), len(q.value)), strings.Compare(p.value, q.value))
}

// pairs interns attributes. Redirections are nearly all distinct, so they have a
// table of their own that borrows the nodes' strings.
type pairs struct {
	list      []pair
	byText    map[string]uint32
	redirects map[string]uint32
	names     map[string]nameInfo
	key       []byte
	acl       bool
}

type nameInfo struct {
	index, filter byte
}

func newPairs() *pairs {
	return &pairs{byText: map[string]uint32{}, redirects: map[string]uint32{}, names: map[string]nameInfo{}}
}

func (p *pairs) info(name string) nameInfo {
	n, ok := p.names[name]
	if !ok {
		index, suffix := splitName(name)
		n = nameInfo{index, byte(xxh32(suffix, filterSeed+uint32(index)) & 31)}
		p.names[name] = n
	}
	return n
}

func (p *pairs) add(name string, value []byte) (uint32, error) {
	p.key = append(append(append(p.key[:0], name...), 0), value...)
	id, ok := p.byText[string(p.key)]
	if !ok {
		_, suffix := splitName(name)
		if name == "" || strings.IndexByte(name, 0) >= 0 || len(suffix) > maxXattrSuffix {
			return 0, fmt.Errorf("attribute name %.100q is empty, too long or holds a NUL", name)
		}
		if len(value) > maxXattrValue {
			return 0, fmt.Errorf("attribute %q has %d bytes, and %d are allowed", name, len(value), maxXattrValue)
		}
		id = uint32(len(p.list))
		info := p.info(name)
		text := string(p.key)
		p.list = append(p.list, pair{name: text[:len(name)], value: text[len(name)+1:], index: info.index, filter: info.filter})
		p.byText[text] = id
		p.acl = p.acl || name == xattrACL || name == xattrACLParent
	}
	p.list[id].uses++
	return id, nil
}

func (p *pairs) addRedirect(payload string) (uint32, error) {
	id, ok := p.redirects[payload]
	if !ok {
		if len(payload) >= maxXattrValue {
			return 0, fmt.Errorf("payload of %d bytes is too long", len(payload))
		}
		id = uint32(len(p.list))
		info := p.info(xattrRedirect)
		p.list = append(p.list, pair{name: xattrRedirect, value: payload, index: info.index, filter: info.filter, slash: true})
		p.redirects[payload] = id
	}
	p.list[id].uses++
	return id, nil
}

// share lays out the shared area: all pairs with more than one use. It returns
// them in the order of the area, and the area's size in bytes.
func (p *pairs) share() (order []uint32, size uint64) {
	for i := range p.list {
		p.list[i].shared = -1
		if p.list[i].uses > 1 {
			order = append(order, uint32(i))
		}
	}
	slices.SortFunc(order, func(a, b uint32) int { return p.list[b].compare(&p.list[a]) })
	for _, id := range order {
		p.list[id].shared = int64(size)
		size += p.list[id].size()
	}
	return order, size
}

// overlayXattrs returns a node's attributes as the image stores them, without
// the redirection, and sorted by name. The slice is valid until the next call.
func (w *writer) overlayXattrs(n *Node, place role) []attr {
	list := w.attrs[:0]
	for name, value := range n.Xattrs {
		if rest, ok := strings.CutPrefix(name, overlayPrefix); ok {
			name = escapePrefix + rest
		}
		list = append(list, attr{name, value})
	}
	set := func(name, value string) {
		i := slices.IndexFunc(list, func(a attr) bool { return a.name == name })
		if i < 0 {
			i, list = len(list), append(list, attr{name: name})
		}
		list[i].value = []byte(value)
	}
	if n.External() {
		set(xattrMetacopy, "")
	}
	if n.isWhiteout() && !place.shield {
		set(escapePrefix+"whiteout", "")
		set(userPrefix+"whiteout", "")
	}
	if place.whiteouts {
		for _, prefix := range []string{escapePrefix, userPrefix} {
			set(prefix+"whiteouts", "")
			set(prefix+"opaque", "x")
		}
	}
	if place.root {
		set(xattrOpaque, "y")
	}
	slices.SortFunc(list, func(a, b attr) int { return strings.Compare(a.name, b.name) })
	w.attrs = list
	return list
}

// A role is what a node's place in the tree adds to its attributes.
type role struct {
	root      bool
	shield    bool // a device that shields adds
	whiteouts bool // a directory that holds whiteouts
}

type attr struct {
	name  string
	value []byte
}

// shields returns the devices that hide the object store's directories where
// the root has nothing of the same name.
func shields(root *Node) []*Node {
	have := map[string]bool{}
	for _, c := range root.Children {
		have[c.Name] = true
	}
	var xattrs map[string][]byte
	if label, ok := root.Xattrs[xattrSELinux]; ok {
		xattrs = map[string][]byte{xattrSELinux: label}
	}
	var out []*Node
	for i := range 256 {
		if name := fmt.Sprintf("%02x", i); !have[name] {
			out = append(out, &Node{Name: name, Mode: typeChar | 0o644, UID: root.UID, GID: root.GID, Xattrs: xattrs})
		}
	}
	return out
}
