package composefs

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// readXattrs reads the attribute area of an inode.
func (r *reader) readXattrs(pos, size uint64) (map[string][]byte, error) {
	b, err := r.take(pos, size)
	if err != nil {
		return nil, err
	}
	filter, shared := le.Uint32(b), int(b[4])
	if len(b) < xattrHeaderSize+4*shared {
		return nil, errors.New("attributes end early")
	}
	out := map[string][]byte{}
	add := func(a attr) error {
		if _, dup := out[a.name]; dup {
			return fmt.Errorf("attribute %q occurs twice", a.name)
		}
		out[a.name] = a.value
		return nil
	}
	b = b[xattrHeaderSize:]
	for range shared {
		a, err := r.sharedXattr(uint64(le.Uint32(b)))
		if err == nil {
			err = add(a)
		}
		if err != nil {
			return nil, err
		}
		b = b[4:]
	}
	for len(b) > 0 {
		a, n, err := decodeXattr(b)
		if err == nil {
			err = add(a)
		}
		if err != nil {
			return nil, err
		}
		b = b[n:]
	}
	want := ^uint32(0)
	for name := range out {
		index, suffix := splitName(name)
		want &^= 1 << (xxh32(suffix, filterSeed+uint32(index)) & 31)
	}
	if filter != want {
		return nil, errors.New("the filter does not fit the attributes")
	}
	return out, nil
}

// sharedXattr returns the attribute at an offset, in words, of the shared area.
func (r *reader) sharedXattr(word uint64) (attr, error) {
	pos := r.xattrBase + 4*word
	if a, ok := r.sharedPairs[pos]; ok {
		return a, nil
	}
	head, err := r.take(pos, xattrEntrySize)
	if err != nil {
		return attr{}, err
	}
	rest, err := r.take(pos+xattrEntrySize, roundUp(uint64(head[0])+uint64(le.Uint16(head[2:])), 4))
	if err != nil {
		return attr{}, err
	}
	a, _, err := decodeXattr(append(head, rest...))
	r.sharedPairs[pos] = a
	return a, err
}

// decodeXattr reads one attribute, and returns the bytes it takes.
func decodeXattr(b []byte) (attr, uint64, error) {
	bad := errors.New("malformed attribute")
	if len(b) < xattrEntrySize {
		return attr{}, 0, bad
	}
	name, value := int(b[0]), int(le.Uint16(b[2:]))
	used := xattrEntrySize + name + value
	size := roundUp(uint64(used), 4)
	if size > uint64(len(b)) || strings.Trim(string(b[used:size]), "\x00") != "" {
		return attr{}, 0, bad
	}
	prefix, ok := "", b[1] == 0
	for _, p := range xattrPrefixes {
		if p.index == b[1] {
			prefix, ok = p.text, true
		}
	}
	a := attr{prefix + string(b[xattrEntrySize:][:name]), b[xattrEntrySize+name : used : used]}
	if index, suffix := splitName(a.name); !ok || index != b[1] || len(suffix) != name || a.name == "" || strings.IndexByte(a.name, 0) >= 0 {
		return attr{}, 0, bad
	}
	return a, size, nil
}

// restore takes back what the writer adds to a tree.
func restore(root *Node, version uint32) error {
	if string(root.Xattrs[xattrOpaque]) != "y" {
		return errors.New("the root is not marked opaque")
	}
	delete(root.Xattrs, xattrOpaque)
	kept := root.Children[:0]
	for _, c := range root.Children {
		if !isShield(c, root) {
			kept = append(kept, c)
		}
	}
	root.Children = kept
	whiteouts := false
	for stack := []*Node{root}; len(stack) > 0; {
		n := stack[len(stack)-1]
		stack = append(stack[:len(stack)-1], n.Children...)
		if err := n.restoreRedirect(); err != nil {
			return fmt.Errorf("%q: %w", n.Name, err)
		}
		for _, c := range n.Children {
			if c.restoreWhiteout() {
				whiteouts = true
				n.dropMarks()
			}
		}
	}
	for stack := []*Node{root}; len(stack) > 0; {
		n := stack[len(stack)-1]
		stack = append(stack[:len(stack)-1], n.Children...)
		if err := n.unescape(); err != nil {
			return fmt.Errorf("%q: %w", n.Name, err)
		}
	}
	if whiteouts != (version == 1) {
		return errors.New("the version does not fit the tree")
	}
	return nil
}

// isShield reports whether c is one of the devices that hide the object store.
func isShield(c, root *Node) bool {
	hex := func(b byte) bool { return '0' <= b && b <= '9' || 'a' <= b && b <= 'f' }
	if len(c.Name) != 2 || !hex(c.Name[0]) || !hex(c.Name[1]) || c.Mode != typeChar|0o644 || c.Rdev != 0 {
		return false
	}
	want := map[string][]byte{}
	if label, ok := root.Xattrs[xattrSELinux]; ok {
		want[xattrSELinux] = label
	}
	return maps.EqualFunc(c.Xattrs, want, func(a, b []byte) bool { return string(a) == string(b) })
}

func (n *Node) restoreRedirect() error {
	value, meta := n.Xattrs[xattrMetacopy]
	to, redirect := n.Xattrs[xattrRedirect]
	switch {
	case meta != n.External(), redirect && !meta:
		return errors.New("content and redirection do not fit")
	case len(value) != 0:
		return errors.New("it has a digest of its content, which is not supported")
	case redirect && (len(to) < 2 || to[0] != '/'):
		return fmt.Errorf("redirection to %.100q", to)
	case redirect:
		n.Payload = string(to[1:])
	}
	delete(n.Xattrs, xattrMetacopy)
	delete(n.Xattrs, xattrRedirect)
	return nil
}

// restoreWhiteout turns an escaped whiteout back, and reports whether it was one.
func (n *Node) restoreWhiteout() bool {
	_, a := n.Xattrs[escapePrefix+"whiteout"]
	_, b := n.Xattrs[userPrefix+"whiteout"]
	if n.typ() != typeRegular || n.Size > 0 || !a || !b {
		return false
	}
	delete(n.Xattrs, escapePrefix+"whiteout")
	delete(n.Xattrs, userPrefix+"whiteout")
	n.Mode = n.Mode&^typeMask | typeChar
	return true
}

func (n *Node) dropMarks() {
	for _, prefix := range []string{escapePrefix, userPrefix} {
		delete(n.Xattrs, prefix+"whiteouts")
		delete(n.Xattrs, prefix+"opaque")
	}
}

func (n *Node) unescape() error {
	if len(n.Xattrs) == 0 {
		n.Xattrs = nil
		return nil
	}
	out := make(map[string][]byte, len(n.Xattrs))
	for name, value := range n.Xattrs {
		if strings.HasPrefix(name, overlayPrefix) {
			rest, ok := strings.CutPrefix(name, escapePrefix)
			if !ok {
				return fmt.Errorf("attribute %q is not escaped", name)
			}
			name = overlayPrefix + rest
		}
		out[name] = value
	}
	n.Xattrs = out
	return nil
}
