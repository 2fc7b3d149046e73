package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// A builder collects a tree in any order and streams it in the right one.
type builder struct{ entries map[string]tree.Entry }

func newBuilder() *builder { return &builder{map[string]tree.Entry{}} }

func (b *builder) add(e tree.Entry) {
	if e.Mode.IsRegular() && e.Link == "" && e.Content == nil {
		e.Content = tree.Bytes(nil)
	}
	if e.ModTime.IsZero() {
		e.ModTime = testTime
	}
	b.entries[e.Path] = e
}

func (b *builder) dir(path string) { b.add(tree.Entry{Path: path, Mode: fs.ModeDir | 0o755}) }

// sorted is the tree depth first, parents before children, siblings by name.
func (b *builder) sorted() []tree.Entry {
	paths := slices.Collect(maps.Keys(b.entries))
	key := func(p string) string {
		if p == "." {
			return ""
		}
		return "/" + strings.ReplaceAll(p, "/", "\x00/")
	}
	slices.SortFunc(paths, func(x, y string) int { return strings.Compare(key(x), key(y)) })
	list := make([]tree.Entry, len(paths))
	for i, p := range paths {
		list[i] = b.entries[p]
	}
	return list
}

func (b *builder) stream() tree.Stream { return stream(b.sorted()...) }

func pattern(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte(binary.LittleEndian.AppendUint64(make([]byte, 24), seed)))
	r.Read(b)
	return b
}

func linuxACL(ids ...uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	put := func(tag, perm uint16, id uint32) {
		b = binary.LittleEndian.AppendUint16(b, tag)
		b = binary.LittleEndian.AppendUint16(b, perm)
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	put(1, 7, 1<<32-1)
	for _, id := range ids {
		put(2, 5, id)
	}
	put(4, 5, 1<<32-1)
	put(16, 5, 1<<32-1)
	put(32, 4, 1<<32-1)
	return b
}

// nastyTree has one of everything that is easily got wrong.
func nastyTree() *builder {
	b := newBuilder()
	label := func(s string) map[string][]byte { return map[string][]byte{"security.selinux": []byte(s + "\x00")} }
	b.add(tree.Entry{Path: ".", Mode: fs.ModeDir | 0o755, Xattrs: label("system_u:object_r:root_t:s0")})
	b.add(tree.Entry{Path: "lost+found", Mode: fs.ModeDir | 0o700, Xattrs: label("system_u:object_r:lost_found_t:s0")})
	for _, d := range []string{"many", "links", "names", "types", "attrs", "empty", "sizes", "times"} {
		b.dir(d)
	}
	for i := range 6000 { // an index with many leaves
		b.add(tree.Entry{Path: fmt.Sprintf("many/%s-%d", strings.Repeat("x", i%40), i), Mode: 0o644, Xattrs: label("system_u:object_r:usr_t:s0")})
	}
	b.add(tree.Entry{Path: "links/0", Mode: 0o600, Content: tree.Text("shared")})
	for i := 1; i <= 5000; i++ {
		b.add(tree.Entry{Path: fmt.Sprintf("links/n%d", i), Mode: 0o600, Link: "links/0"})
	}
	for i, n := range []string{strings.Repeat("n", 255), "\xff\xfe\x80", "ünï", " ", "a\nb", "\\", "日本", "-", "..."} {
		b.add(tree.Entry{Path: "names/" + n, Mode: 0o644, Content: tree.Bytes(pattern(uint64(i), 100))})
	}
	for i := range 700 { // an index over names with signed characters
		b.add(tree.Entry{Path: fmt.Sprintf("names/%c%c\xe9%d", 0x80+i, 0x100+i, i), Mode: 0o644})
	}
	nastyTypes(b)
	nastyAttrs(b, label)
	for i, n := range []int{0, 1, 4095, 4096, 4097, 8192, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 5} {
		b.add(tree.Entry{Path: fmt.Sprintf("sizes/%d", n), Mode: 0o644, Content: tree.Bytes(pattern(uint64(100+i), n))})
	}
	sparse := make([]byte, 3<<20+17)
	copy(sparse[1<<20:], pattern(7, 5000))
	copy(sparse[2<<20+4095:], pattern(8, 2))
	sparse[len(sparse)-1] = 1
	b.add(tree.Entry{Path: "sizes/sparse", Mode: 0o644, Content: tree.Bytes(sparse)})
	b.add(tree.Entry{Path: "sizes/zeros", Mode: 0o644, Content: tree.Bytes(make([]byte, 1<<20+1))})
	for i, s := range []int64{-1 << 31, -1, 0, 1, 1<<31 - 1, 1 << 31, 1 << 32, 1<<34 - 1<<31 - 1} {
		b.add(tree.Entry{Path: fmt.Sprintf("times/%d", i), Mode: 0o644, ModTime: time.Unix(s, 999_999_999)})
	}
	deep := "deep"
	for range 60 {
		b.dir(deep)
		deep += "/d"
	}
	return b
}

func nastyTypes(b *builder) {
	b.add(tree.Entry{Path: "types/fifo", Mode: fs.ModeNamedPipe | 0o600})
	b.add(tree.Entry{Path: "types/sock", Mode: fs.ModeSocket | 0o755})
	b.add(tree.Entry{Path: "types/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Rdev: [2]uint32{1, 3}})
	b.add(tree.Entry{Path: "types/whiteout", Mode: fs.ModeDevice | fs.ModeCharDevice})
	b.add(tree.Entry{Path: "types/disk", Mode: fs.ModeDevice | 0o660, Rdev: [2]uint32{259, 70000}})
	b.add(tree.Entry{Path: "types/suid", Mode: 0o755 | fs.ModeSetuid, UID: 1<<31 + 5, GID: 1<<32 - 2})
	b.add(tree.Entry{Path: "types/sgid", Mode: fs.ModeDir | 0o775 | fs.ModeSetgid | fs.ModeSticky, UID: 65536})
	b.add(tree.Entry{Path: "types/immutable", Mode: fs.ModeDir | 0o755, Immutable: true})
	b.add(tree.Entry{Path: "types/immutable/file", Mode: 0o644, Immutable: true, Content: tree.Text("x")})
	for _, n := range []int{1, 58, 59, 60, 61, 255, 4095} {
		b.add(tree.Entry{Path: fmt.Sprintf("types/link%d", n), Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("t", n)})
	}
	b.add(tree.Entry{Path: "types/zlink", Mode: 0o777, Link: "types/link60"})
}

func nastyAttrs(b *builder, label func(string) map[string][]byte) {
	big := label("system_u:object_r:etc_t:s0")
	big["user.big"] = pattern(50, 2900)
	for i := range 2500 { // share blocks, over the limit of one
		b.add(tree.Entry{Path: fmt.Sprintf("attrs/shared%d", i), Mode: 0o644, Xattrs: big})
	}
	both := label("system_u:object_r:bin_t:s0:c1,c2")
	both["security.capability"] = []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	both["trusted.overlay.opaque"] = []byte("y")
	both["user.empty"] = nil
	both["user."+strings.Repeat("n", 240)] = pattern(52, 7)
	b.add(tree.Entry{Path: "attrs/both", Mode: 0o755, Xattrs: both, Content: tree.Text("#!")})
	b.add(tree.Entry{Path: "attrs/acl", Mode: 0o640, Xattrs: map[string][]byte{"system.posix_acl_access": linuxACL(1000, 70000)}})
	b.add(tree.Entry{Path: "attrs/acldir", Mode: fs.ModeDir | 0o755, Xattrs: map[string][]byte{
		"system.posix_acl_access": linuxACL(7), "system.posix_acl_default": linuxACL(8, 9),
	}})
	b.add(tree.Entry{Path: "attrs/link", Mode: fs.ModeSymlink | 0o777, Link: "both", Xattrs: label("system_u:object_r:lnk_t:s0")})
	b.add(tree.Entry{Path: "attrs/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Rdev: [2]uint32{1, 3}, Xattrs: label("system_u:object_r:null_device_t:s0")})
}

// compare fails where the file system's tree differs from the entries.
func compare(t testing.TB, f *FS, want []tree.Entry) {
	t.Helper()
	i := 0
	seen := map[string]bool{}
	for _, e := range want {
		seen[e.Path] = true
	}
	for got, err := range f.Tree(".") {
		if err != nil {
			t.Fatal(err)
		}
		if got.Path == "lost+found" && !seen["lost+found"] {
			continue
		}
		if i == len(want) {
			t.Fatalf("%q is more than was written", got.Path)
		}
		if d := diffEntry(&got, &want[i]); d != "" {
			got.Content = nil
			t.Fatalf("%q: %s\ngot %+v", want[i].Path, d, got)
		}
		i++
	}
	if i < len(want) {
		t.Fatalf("%q is missing", want[i].Path)
	}
}

func diffEntry(got, want *tree.Entry) string {
	if want.IsHardLink() {
		if got.Path != want.Path || got.Link != want.Link {
			return "hard link"
		}
		return ""
	}
	switch {
	case got.Path != want.Path, got.Mode != want.Mode, got.UID != want.UID, got.GID != want.GID,
		got.Link != want.Link, got.Rdev != want.Rdev, got.Immutable != want.Immutable, !got.ModTime.Equal(want.ModTime):
		return "attributes"
	case !maps.EqualFunc(got.Xattrs, want.Xattrs, bytes.Equal):
		return fmt.Sprintf("extended attributes: %q, want %q", got.Xattrs, want.Xattrs)
	case (got.Content == nil) != (want.Content == nil):
		return "content"
	case got.Content == nil:
		return ""
	}
	return diffContent(got.Content, want.Content)
}

func diffContent(got, want tree.Content) string {
	if got.Size() != want.Size() {
		return fmt.Sprintf("size %d, want %d", got.Size(), want.Size())
	}
	g, err := readContent(got)
	if err != nil {
		return err.Error()
	}
	w, err := readContent(want)
	if err != nil {
		return err.Error()
	}
	if !bytes.Equal(g, w) {
		return "content differs"
	}
	return ""
}

func readContent(c tree.Content) ([]byte, error) {
	r, err := c.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
