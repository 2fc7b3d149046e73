package sysroot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/layer/layertest"
	"github.com/aitheros/aither-image/internal/tree"
)

// A hostile archive is refused with a reason, or contained: then the names in
// stays are all that it leaves beside the folders of the base.
type hostile struct {
	name  string
	tar   []byte
	want  string   // part of the error; "" where it is contained
	stays []string // paths of the merged tree that must be there
	gone  []string // … that must not
}

// block is one header of an archive as no sane program writes it.
type block struct {
	name, link           string
	typ                  byte
	mode, uid, gid, size string // octal digits, or raw bytes
	magic                string
	badSum               bool
	body                 []byte
}

func (b block) bytes() []byte {
	var h [512]byte
	copy(h[0:100], b.name)
	field := func(off, n int, s, def string) {
		if s == "" {
			s = def
		}
		copy(h[off:off+n], s)
	}
	field(100, 8, b.mode, "0000644\x00")
	field(108, 8, b.uid, "0000000\x00")
	field(116, 8, b.gid, "0000000\x00")
	field(124, 12, b.size, fmt.Sprintf("%011o\x00", len(b.body)))
	copy(h[136:148], "00000000000\x00")
	h[156] = b.typ
	copy(h[157:257], b.link)
	field(257, 8, b.magic, "ustar\x0000")
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	if b.badSum {
		sum++
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	out := append(h[:], b.body...)
	return append(out, make([]byte, (512-len(b.body)%512)%512)...)
}

func blocks(bs ...block) []byte {
	var out []byte
	for _, b := range bs {
		out = append(out, b.bytes()...)
	}
	return append(out, make([]byte, 1024)...)
}

// pax is an extended header with these records, in front of a file.
func pax(name string, records ...string) []byte {
	return blocks(block{name: "PaxHeaders/x", typ: 'x', body: []byte(strings.Join(records, ""))}, block{name: name, typ: '0', body: []byte("x")})
}

func record(key, value string) string {
	for n := len(key) + len(value) + 3; ; n++ {
		if s := fmt.Sprintf("%d %s=%s\n", n, key, value); len(s) == n {
			return s
		}
	}
}

func base256(v int64, n int) string {
	b := make([]byte, n)
	binary.BigEndian.PutUint64(b[n-8:], uint64(v))
	if v < 0 {
		for i := range n - 8 {
			b[i] = 0xff
		}
	}
	b[0] |= 0x80
	return string(b)
}

func hostileArchives(t *testing.T) []hostile {
	t.Helper()
	var out []hostile
	add := func(name, want string, b []byte) {
		if want == "" { // refused, in words of the archive reader
			want = "layer sha256:"
		}
		out = append(out, hostile{name: name, want: want, tar: b})
	}
	file, dir, link, hard := layertest.File, layertest.Dir, layertest.Link, layertest.Hard
	mk := func(es ...layertest.Entry) []byte { return layertest.Tar(t, es...) }

	for _, p := range []string{"..", "../x", "../../x", "/../x", "//../x", "./../x", "a/../x", "a/../../x", "usr/../x", "usr/../../etc/passwd", "usr/bin/..", "usr/bin/../../..",
		"etc/../../x", "var/../x", "x/..", "dev/../x", "proc/../../x", "sysroot/ostree/repo/../../../x"} {
		add("file "+p, `".." in the path`, mk(file(p, 0o644, "x")))
		add("folder "+p, `".." in the path`, mk(dir(p, 0o755)))
		add("hard link to "+p, `".." in the path`, mk(hard("usr/h", p)))
	}
	for _, p := range []string{"/etc/victim", "//usr/victim", "./usr//victim", "usr/./victim", "/./usr/victim"} {
		clean, _ := layer.Clean(p, layer.Limits{})
		if rest, ok := strings.CutPrefix(clean, "etc/"); ok {
			clean = "usr/etc/" + rest
		}
		out = append(out, hostile{name: "absolute " + p, tar: mk(file(p, 0o644, "x")), stays: []string{clean}})
	}
	for _, p := range []string{"", "usr/", "etc/"} {
		add("long name in "+p, "over the limit", mk(file(p+strings.Repeat("n", 256), 0o644, "")))
		add("long path in "+p, "over the limit", mk(file(p+strings.Repeat("dddddddddd/", 500)+"f", 0o644, "")))
		add("deep path in "+p, "over the limit", mk(file(p+strings.Repeat("d/", 300)+"f", 0o644, "")))
		add("name that is no UTF-8 in "+p, "UTF-8", blocks(block{name: p + "a\xff\xfe", typ: '0', magic: "ustar  \x00"}))
		add("target that is no UTF-8 in "+p, "UTF-8", blocks(block{name: p + "l", link: "\xff", typ: '2', magic: "ustar  \x00"}))
		add("target too long in "+p, "over the limit", mk(link(p+"l", strings.Repeat("t", 4200))))
		add("link without a target in "+p, "without a target", blocks(block{name: p + "l", typ: '2'}))
		add("character device in "+p, "unsupported file type", blocks(block{name: p + "null", typ: '3'}))
		add("block device in "+p, "unsupported file type", blocks(block{name: p + "sda", typ: '4'}))
		add("fifo in "+p, "unsupported file type", blocks(block{name: p + "fifo", typ: '6'}))
		add("unknown type in "+p, "unsupported file type", blocks(block{name: p + "z", typ: 'Z'}))
		add("multi-volume member in "+p, "unsupported file type", blocks(block{name: p + "m", typ: 'M', magic: "ustar  \x00"}))
		add("file below a file in "+p, "no folder", mk(file(p+"f", 0o644, ""), file(p+"f/g", 0o644, "")))
		add("file below a link in "+p, "no folder", mk(link(p+"l", "/etc"), file(p+"l/passwd", 0o644, "x")))
		add("folder below a link in "+p, "no folder", mk(link(p+"l", "../.."), dir(p+"l/d", 0o755)))
		add("hard link below a link in "+p, "no folder", mk(file(p+"f", 0o644, ""), link(p+"l", "/"), hard(p+"l/h", p+"f")))
		add("folder over a file in "+p, "in the place of a file", mk(file(p+"f", 0o644, ""), dir(p+"f", 0o755)))
		add("folder over a link in "+p, "in the place of a file", mk(link(p+"f", "/etc"), dir(p+"f", 0o755)))
		add("file over a folder in "+p, "in the place of a folder", mk(dir(p+"f", 0o755), file(p+"f", 0o644, "")))
		add("hard link to nothing in "+p, "not in the same layer", mk(hard(p+"h", p+"nothing")))
		add("hard link to a folder in "+p, "not in the same layer", mk(dir(p+"d", 0o755), hard(p+"h", p+"d")))
		add("hard link to itself in "+p, "not in the same layer", mk(hard(p+"h", p+"h")))
		add("hard link to a lower layer in "+p, "not in the same layer", mk(hard(p+"h", "usr/bin/a")))
		add("owner below zero in "+p, "", blocks(block{name: p + "f", typ: '0', uid: base256(-1, 8)}))
		add("owner above 32 bits in "+p, "out of range", mk(file(p+"f", 0o644, "").Own(1<<32, 0)))
		add("group above 32 bits in "+p, "out of range", mk(file(p+"f", 0o644, "").Own(0, 1<<32)))
		add("xattr without a name in "+p, "", pax(p+"f", record("SCHILY.xattr.", "v")))
		add("xattr with a long name in "+p, "extended attribute with the name", pax(p+"f", record("SCHILY.xattr.user."+strings.Repeat("n", 300), "v")))
		add("xattrs of 70 KB in "+p, "over the limit", pax(p+"f", record("SCHILY.xattr.user.a", strings.Repeat("v", 70_000))))
		add("capability that is none in "+p, "not a file capability", pax(p+"f", record("SCHILY.xattr.security.capability", "x")))
		add("capability of a wrong size in "+p, "not a file capability", pax(p+"f", record("SCHILY.xattr.security.capability", "\x01\x00\x00\x02")))
		add("xattr in bad base64 in "+p, "extended attribute", pax(p+"f", record("LIBARCHIVE.xattr.user.a", "!!!!")))
		out = append(out, hostile{name: "attributes of overlayfs in " + p, tar: pax(p+"usr/f", record("SCHILY.xattr.trusted.overlay.redirect", "/etc"), record("SCHILY.xattr.user.overlay.opaque", "y"))})
	}
	add("root as a file", "not a folder", blocks(block{name: ".", typ: '0'}))
	add("root as a link", "not a folder", blocks(block{name: "./", link: "/etc", typ: '2'}))
	add("root as a hard link", "not a folder", blocks(block{name: ".", link: "usr", typ: '1'}))
	for _, n := range []string{"-1", strings.Repeat("7", 11)} {
		add("size "+n, "", blocks(block{name: "usr/f", typ: '0', size: n}))
	}
	add("size of 8 EiB", "limit", blocks(block{name: "usr/f", typ: '0', size: base256(1<<62, 12)}))
	add("size below zero", "", blocks(block{name: "usr/f", typ: '0', size: base256(-5, 12)}))
	add("PAX size of 8 EiB", "limit", pax("usr/f", record("size", "9223372036854775807")))
	add("PAX size below zero", "", pax("usr/f", record("size", "-1")))
	add("PAX size that is no number", "", pax("usr/f", record("size", "x")))
	add("PAX path with NUL", "", pax("usr/f", record("path", "usr/a\x00b")))
	add("PAX path with ..", `".." in the path`, pax("usr/f", record("path", "../x")))
	add("PAX link path with ..", `".." in the path`, blocks(block{name: "p", typ: 'x', body: []byte(record("linkpath", "../x"))}, block{name: "usr/h", link: "usr/a", typ: '1'}))
	add("PAX record without a length", "", pax("usr/f", "path=x\n"))
	add("PAX record longer than its header", "", pax("usr/f", "999 path=x\n"))
	add("PAX record of length 0", "", pax("usr/f", "0 path=x\n"))
	add("PAX record without an end", "", pax("usr/f", "8 path=xx"))
	add("PAX header of 2 MiB", "", pax("usr/f", record("comment", strings.Repeat("c", 2<<20))))
	add("PAX header that promises more", "", blocks(block{name: "p", typ: 'x', size: "00000100000\x00", body: []byte("x")}))
	add("GNU long name of 2 MiB", "", blocks(block{name: "././@LongLink", typ: 'L', magic: "ustar  \x00", body: bytes.Repeat([]byte("n"), 2<<20)}, block{name: "f", typ: '0'}))
	add("GNU long name with ..", `".." in the path`, blocks(block{name: "././@LongLink", typ: 'L', magic: "ustar  \x00", body: []byte("../../x\x00")}, block{name: "f", typ: '0'}))
	add("GNU long link with ..", `".." in the path`, blocks(block{name: "././@LongLink", typ: 'K', magic: "ustar  \x00", body: []byte("../../x\x00")}, block{name: "usr/f", typ: '1'}))
	add("sparse file of 8 EiB", "", blocks(block{name: "p", typ: 'x', body: []byte(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "9223372036854775807") + record("GNU.sparse.name", "usr/f"))},
		block{name: "usr/f", typ: '0', body: append([]byte("1\n0\n1\n"), make([]byte, 507)...)}))
	add("sparse map that overlaps", "", blocks(block{name: "p", typ: 'x', body: []byte(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "10") + record("GNU.sparse.name", "usr/f"))},
		block{name: "usr/f", typ: '0', body: append([]byte("2\n0\n5\n3\n5\n"), make([]byte, 502)...)}))
	add("sparse map without numbers", "", blocks(block{name: "p", typ: 'x', body: []byte(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "10") + record("GNU.sparse.name", "usr/f"))},
		block{name: "usr/f", typ: '0', body: append([]byte("x\n"), make([]byte, 510)...)}))
	add("wrong header checksum", "reading the archive", blocks(block{name: "usr/f", typ: '0', badSum: true}))
	add("noise", "reading the archive", bytes.Repeat([]byte("noise!"), 300))
	whole := mk(file("usr/f", 0o644, strings.Repeat("x", 3000)))
	for _, n := range []int{1, 511, 513, 700, 1500} {
		add(fmt.Sprintf("cut after %d bytes", n), "", whole[:n])
	}
	out = append(out,
		hostile{name: "whiteout without a name", tar: mk(file("usr/bin/.wh.", 0, "")), stays: []string{"usr/bin/a"}},
		hostile{name: "whiteout of .", tar: mk(file("usr/bin/.wh..", 0, "")), stays: []string{"usr/bin/a"}},
		hostile{name: "whiteout of ..", tar: mk(file("usr/bin/.wh...", 0, "")), stays: []string{"usr/bin/a", "usr/share"}},
		hostile{name: "whiteout of usr", tar: mk(file(".wh.home", 0, "")), gone: []string{"home"}},
		hostile{name: "whiteout through a folder's name", tar: mk(dir("usr/bin/.wh.a", 0o755)), stays: []string{"usr/bin/a"}},
		hostile{name: "whiteout through a link", tar: mk(link("usr/bin/.wh.a", "/")), stays: []string{"usr/bin/a"}},
		hostile{name: "opaque link", tar: mk(link("usr/bin/.wh..wh..opq", "/")), stays: []string{"usr/bin/a"}},
		hostile{name: "opaque folder", tar: mk(dir("usr/bin/.wh..wh..opq", 0o755)), stays: []string{"usr/bin/a"}},
		hostile{name: "link out of the tree", tar: mk(link("usr/l", "../../../../../../etc/passwd")), stays: []string{"usr/l"}},
		hostile{name: "folder in the place of a lower link", tar: mk(dir("home", 0o755), file("home/x", 0o644, "x")), stays: []string{"home/x"}},
		hostile{name: "device below /dev", tar: blocks(block{name: "dev/sda", typ: '4'}), gone: []string{"dev/sda"}},
		hostile{name: "fifo below /run", tar: blocks(block{name: "run/f", typ: '6'}), gone: []string{"run/f"}},
		hostile{name: "global header", tar: append(blocks(block{name: "g", typ: 'g', body: []byte(record("path", "../x"))})[:1024], mk(file("usr/g", 0o644, "x"))...)},
		hostile{name: "member twice", tar: mk(file("usr/t", 0o644, "1"), file("usr/t", 0o600, "2")), stays: []string{"usr/t"}},
		hostile{name: "all mode bits", tar: blocks(block{name: "usr/m", typ: '0', mode: "7777777\x00"}), stays: []string{"usr/m"}},
		hostile{name: "object for the repository", tar: mk(file("sysroot/ostree/repo/objects/aa/bb.file", 0o644, "x")), stays: []string{"sysroot/ostree/repo/objects/aa/bb.file"}},
		hostile{name: "link to an object that is not there", tar: func() []byte {
			h := hard("usr/o", "sysroot/ostree/repo/objects/aa/bb.file")
			h.ModTime = testTime
			return mk(h)
		}(), gone: []string{"usr/o"}},
		hostile{name: "no members", tar: mk()},
		hostile{name: "empty", tar: nil},
	)
	return out
}

func TestHostileArchives(t *testing.T) {
	cases := hostileArchives(t)
	if len(cases) < 150 {
		t.Fatalf("only %d archives", len(cases))
	}
	base := layertest.Layer{Tar: torture(t)[0]}
	work := t.TempDir()
	victim := filepath.Join(work, "victim")
	if err := os.WriteFile(victim, []byte("unharmed"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(victim)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, tt := range cases {
		if seen[tt.name] {
			t.Errorf("two archives are named %q", tt.name)
		}
		seen[tt.name] = true
		t.Run(tt.name, func(t *testing.T) { tt.run(t, base, filepath.Join(work, fmt.Sprint(len(seen)))) })
	}
	after, err := os.Stat(victim)
	if err != nil || after.Size() != before.Size() || after.ModTime() != before.ModTime() || after.Mode() != before.Mode() {
		t.Errorf("the file outside was touched: %v, %v", after, err)
	}
	if es, err := os.ReadDir(work); err != nil || len(es) != len(cases)+1 {
		t.Errorf("the folder outside has %d names, want %d", len(es), len(cases)+1)
	}
}

func (h hostile) run(t *testing.T, base layertest.Layer, dir string) {
	layertest.Write(t, dir, layertest.Image{Labels: map[string]string{"containers.bootc": "1"}, Layers: []layertest.Layer{base, {Tar: h.tar, Compression: "gzip"}}})
	im, err := layer.Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := Read(context.Background(), im, plainStore{}, ReadOptions{Limits: layer.Limits{Bytes: 64 << 20}})
	if h.want != "" {
		if err == nil || !strings.Contains(err.Error(), h.want) {
			t.Fatalf("got %v, want an error with %q", err, h.want)
		}
		var m *layer.MemberError
		if !errors.As(err, &m) && !strings.Contains(err.Error(), im.Layers[1].Digest.String()) {
			t.Errorf("the error does not name the layer: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range h.stays {
		if tr.root.lookup(p) == nil {
			t.Errorf("%s is missing", p)
		}
	}
	for _, p := range h.gone {
		if tr.root.lookup(p) != nil {
			t.Errorf("%s is there", p)
		}
	}
	checkNames(t, tr.View().Tree())
}

func checkNames(t *testing.T, s tree.Stream) {
	t.Helper()
	for e, err := range s {
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(e.Path, "/") {
			if part == ".." || part == "" || strings.IndexByte(part, 0) >= 0 || part == "." && e.Path != "." {
				t.Errorf("the name %q came through", e.Path)
			}
		}
		for x := range e.Xattrs {
			if strings.HasPrefix(x, "trusted.overlay.") || strings.HasPrefix(x, "user.overlay.") {
				t.Errorf("%s has the attribute %s", e.Path, x)
			}
		}
	}
}

// FuzzLayer feeds the reader archives that nobody thought of.
func FuzzLayer(f *testing.F) {
	for _, b := range [][]byte{blocks(block{name: "usr/f", typ: '0', body: []byte("x")}), pax("usr/f", record("path", "a/b")), blocks(block{name: "a", link: "b", typ: '1'}), nil} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &derivedLayer{root: newDir(), stash: map[string]*file{}, stashed: map[string]string{}, allNonUsr: true}
		p := &putter{in: &ingest{}, arena: plainStore{}, lt: &layerTree{}, seen: newPolicyFiles()}
		l.put = p.file
		lim := layer.Limits{Bytes: 1 << 20, Entries: 1000}
		if err := layer.Walk("fuzz", bytes.NewReader(b), lim, l.visit); err != nil {
			return
		}
		if err := l.finish(); err != nil {
			return
		}
		root := newDir()
		union(root, l.root)
		checkNames(t, (&View{root}).Tree())
	})
}

var testTime = time.Unix(1700000000, 0)
