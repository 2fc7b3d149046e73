package layer

import (
	"archive/tar"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Limits bound what one layer may ask for. Zero fields take the defaults below.
type Limits struct {
	Bytes   int64 // inflated bytes
	Entries int   // members of the archive
	Path    int   // bytes of a path
	Depth   int   // components of a path
	Xattrs  int   // bytes of all xattrs of one member
}

func (l Limits) orDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 1 << 42
	}
	if l.Entries == 0 {
		l.Entries = 5_000_000
	}
	if l.Path == 0 {
		l.Path = 4096
	}
	if l.Depth == 0 {
		l.Depth = 255
	}
	if l.Xattrs == 0 {
		l.Xattrs = 64 << 10
	}
	return l
}

// Kind is what a member is.
type Kind byte

// The kinds of members that images have.
const (
	Regular Kind = iota + 1
	Directory
	Symlink
	HardLink
	Special // device, fifo: Member.Type tells
)

// A Member is one name in a layer's archive, cleaned and checked.
type Member struct {
	Path   string // clean, relative, slash-separated; "" is the root
	Kind   Kind
	Type   byte   // tar's type flag
	Perm   uint32 // 07777
	UID    uint32
	GID    uint32
	MTime  int64 // seconds
	Size   int64
	Link   string            // symlink: the target as it is; hard link: a clean path
	Xattrs map[string][]byte // nil when there are none
}

// A MemberError says which member of which layer was refused.
type MemberError struct {
	Layer string
	Name  string
	Err   error
}

func (e *MemberError) Error() string {
	return fmt.Sprintf("layer %s: member %q: %v", e.Layer, e.Name, e.Err)
}

// Unwrap returns the reason.
func (e *MemberError) Unwrap() error { return e.Err }

// Walk calls visit for each member of the archive r in order. The reader that
// visit gets holds the member's content and is valid until visit returns.
func Walk(name string, r io.Reader, lim Limits, visit func(m *Member, r io.Reader) error) error {
	lim = lim.orDefaults()
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("layer %s: reading the archive after %d members: %w", name, n, err)
		}
		if n >= lim.Entries {
			return fmt.Errorf("layer %s: more than %d members", name, lim.Entries)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		m, err := member(h, lim)
		if err == nil {
			err = visit(m, tr)
		}
		if err != nil {
			return &MemberError{Layer: name, Name: h.Name, Err: err}
		}
	}
}

func member(h *tar.Header, lim Limits) (*Member, error) {
	path, err := Clean(h.Name, lim)
	if err != nil {
		return nil, err
	}
	m := &Member{Path: path, Type: h.Typeflag, Perm: uint32(h.Mode) & 0o7777, MTime: h.ModTime.Unix(), Size: h.Size}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > 0xfffffffe || int64(h.Gid) > 0xfffffffe {
		return nil, fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	m.UID, m.GID = uint32(h.Uid), uint32(h.Gid)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		m.Kind = Regular
		if strings.HasSuffix(h.Name, "/") { // old archives mark folders so
			m.Kind, m.Size = Directory, 0
		}
	case tar.TypeDir:
		m.Kind = Directory
	case tar.TypeSymlink:
		m.Kind, m.Link = Symlink, h.Linkname
		err = checkTarget(h.Linkname, lim)
	case tar.TypeLink:
		m.Kind = HardLink
		m.Link, err = Clean(h.Linkname, lim)
	default:
		m.Kind = Special
	}
	if err != nil {
		return nil, err
	}
	if m.Size < 0 || m.Size > lim.Bytes {
		return nil, fmt.Errorf("%w: its size is %d bytes, the limit is %d", ErrTooLarge, m.Size, lim.Bytes)
	}
	if m.Path == "" && m.Kind != Directory {
		return nil, errors.New("the root of the tree is not a folder")
	}
	m.Xattrs, err = xattrs(h.PAXRecords, lim)
	return m, err
}

func checkTarget(t string, lim Limits) error {
	switch {
	case t == "":
		return errors.New("symbolic link without a target")
	case len(t) > lim.Path-1:
		return fmt.Errorf("the target of the symbolic link is of %d bytes, over the limit of %d", len(t), lim.Path-1)
	case strings.IndexByte(t, 0) >= 0:
		return errors.New("NUL in the target of a symbolic link")
	case !utf8.ValidString(t):
		return errors.New("the target of the symbolic link is not UTF-8")
	}
	return nil
}

// Clean makes the name of an archive's member a clean relative path. A leading
// slash, "." and empty components are dropped; ".." is an error wherever it
// stands, as in the real importer.
func Clean(name string, lim Limits) (string, error) {
	lim = lim.orDefaults()
	if len(name) > lim.Path {
		return "", fmt.Errorf("the path is of %d bytes, over the limit of %d", len(name), lim.Path)
	}
	if !utf8.ValidString(name) {
		return "", errors.New("the name is not UTF-8")
	}
	parts := strings.Split(name, "/")
	out := parts[:0]
	for _, p := range parts {
		switch {
		case p == "" || p == ".":
			continue
		case p == "..":
			return "", errors.New("\"..\" in the path")
		case len(p) > 255:
			return "", fmt.Errorf("a name of %d bytes, over the limit of 255", len(p))
		case strings.IndexByte(p, 0) >= 0:
			return "", errors.New("NUL in the path")
		}
		out = append(out, p)
	}
	if len(out) > lim.Depth {
		return "", fmt.Errorf("%d folders deep, over the limit of %d", len(out), lim.Depth)
	}
	return strings.Join(out, "/"), nil
}

// Prefixes of PAX records that carry extended attributes: the first raw (star,
// GNU tar, every container tool), the second as libarchive writes them.
const (
	paxSchily     = "SCHILY.xattr."
	paxLibarchive = "LIBARCHIVE.xattr."
)

func xattrs(pax map[string]string, lim Limits) (map[string][]byte, error) {
	var out map[string][]byte
	total := 0
	for k, v := range pax {
		name, val, ok, err := xattr(k, v)
		if err != nil {
			return nil, err
		}
		if !ok || dropped(name) {
			continue
		}
		if out == nil {
			out = make(map[string][]byte)
		}
		if _, twice := out[name]; twice && !strings.HasPrefix(k, paxSchily) {
			continue
		}
		out[name] = val
		total += len(name) + len(val)
	}
	if total > lim.Xattrs {
		return nil, fmt.Errorf("extended attributes of %d bytes, over the limit of %d", total, lim.Xattrs)
	}
	if c, ok := out["security.capability"]; ok && !validCapability(c) {
		return nil, errors.New("security.capability is not a file capability")
	}
	return out, nil
}

func xattr(key, val string) (name string, value []byte, ok bool, err error) {
	if n, found := strings.CutPrefix(key, paxSchily); found {
		return n, []byte(val), true, checkXattrName(n)
	}
	n, found := strings.CutPrefix(key, paxLibarchive)
	if !found {
		return "", nil, false, nil
	}
	if n, err = url.PathUnescape(n); err != nil {
		return "", nil, false, fmt.Errorf("extended attribute %q: %w", key, err)
	}
	value, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(val, "="))
	if err != nil {
		return "", nil, false, fmt.Errorf("extended attribute %q: %w", n, err)
	}
	return n, value, true, checkXattrName(n)
}

func checkXattrName(n string) error {
	if n == "" || len(n) > 255 || strings.IndexByte(n, 0) >= 0 || !utf8.ValidString(n) {
		return fmt.Errorf("extended attribute with the name %q", n)
	}
	return nil
}

// dropped tells attributes that no layer may set: overlayfs would take them
// for its own and show another tree than the image's.
func dropped(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

// validCapability checks vfs_cap_data of revision 1 to 3, as the kernel does.
func validCapability(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	want := map[byte]int{1: 12, 2: 20, 3: 24}[b[3]]
	return want != 0 && len(b) == want
}
