package ostree

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func randomTree(r *rand.Rand, files, dirs int) DirTree {
	var d DirTree
	sum := func() (c Checksum) {
		for i := range c {
			c[i] = byte(r.Uint32())
		}
		return c
	}
	for i := range files {
		d.Files = append(d.Files, FileEntry{fmt.Sprintf("f%0*d", 1+r.IntN(60), i), sum()})
	}
	for i := range dirs {
		d.Dirs = append(d.Dirs, DirEntry{fmt.Sprintf("d%0*d", 1+r.IntN(60), i), sum(), sum()})
	}
	return d
}

// TestDirTreeSizes crosses every width of framing offsets, and shuffles entries.
func TestDirTreeSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 3, 4, 5, 6, 7, 200, 600, 1000, 2000} {
		d := randomTree(r, n, n/2)
		want := d.Encode()
		r.Shuffle(len(d.Files), func(i, j int) { d.Files[i], d.Files[j] = d.Files[j], d.Files[i] })
		r.Shuffle(len(d.Dirs), func(i, j int) { d.Dirs[i], d.Dirs[j] = d.Dirs[j], d.Dirs[i] })
		before := slices.Clone(d.Files)
		if !bytes.Equal(d.Encode(), want) {
			t.Errorf("%d entries: the order of entries changes the bytes", n)
		}
		if !slices.Equal(d.Files, before) {
			t.Errorf("%d entries: Encode sorted its receiver", n)
		}
		back, err := ParseDirTree(want)
		if err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
		if !bytes.Equal(back.Encode(), want) || len(back.Files) != n || len(back.Dirs) != n/2 {
			t.Errorf("%d entries: read back differently", n)
		}
	}
}

func TestXattrSizes(t *testing.T) {
	for _, size := range []int{0, 1, 200, 240, 241, 242, 243, 244, 245, 255, 256, 65000, 65520, 65530, 65536, 100000} {
		x := Xattrs{"user.a": bytes.Repeat([]byte{7}, size), "security.b": {0}, "user.aa": nil}
		back, err := ParseXattrs(x.Encode())
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if len(back) != 3 || !bytes.Equal(back["user.a"], x["user.a"]) || !bytes.Equal(back["security.b"], x["security.b"]) {
			t.Errorf("size %d: read back differently", size)
		}
	}
}

func TestCommitRoundTrip(t *testing.T) {
	parent := ChecksumOf([]byte("parent"))
	for _, size := range []int{0, 10, 250, 70000} {
		want := Commit{
			Metadata: map[string]Value{
				"s": StringValue(strings.Repeat("é", size)), "t": Uint64Value(1 << 40), "u": Uint32Value(7), "b": BoolValue(true),
				"as": StringsValue([]string{"x", "", strings.Repeat("y", size)}), "none": StringsValue(nil),
				"d": DictValue(map[string]Value{"in": DictValue(map[string]Value{"deep": Uint64Value(9)}), "z": BoolValue(false)}),
			},
			Parent: &parent, Subject: "subject", Body: "body\nmore", Timestamp: 1 << 33,
			Root: ChecksumOf([]byte("root")), RootMeta: ChecksumOf([]byte("meta")),
		}
		b := want.Encode()
		got, err := ParseCommit(b)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if !bytes.Equal(got.Encode(), b) || *got.Parent != parent || got.Timestamp != want.Timestamp || got.Body != want.Body || got.Root != want.Root || got.RootMeta != want.RootMeta {
			t.Errorf("size %d: read back as %+v", size, got)
		}
		checkValues(t, got.Metadata, size)
	}
}

func checkValues(t *testing.T, m map[string]Value, size int) {
	t.Helper()
	if s, err := m["s"].Text(); s != strings.Repeat("é", size) || err != nil {
		t.Errorf("s: %d bytes, %v", len(s), err)
	}
	if v, err := m["t"].Uint(); v != 1<<40 || err != nil {
		t.Errorf("t: %d, %v", v, err)
	}
	if v, err := m["u"].Uint(); v != 7 || err != nil {
		t.Errorf("u: %d, %v", v, err)
	}
	if v, err := m["as"].Strings(); !slices.Equal(v, []string{"x", "", strings.Repeat("y", size)}) || err != nil {
		t.Errorf("as: %v, %v", v, err)
	}
	if v, err := m["none"].Strings(); len(v) != 0 || err != nil {
		t.Errorf("empty as: %v, %v", v, err)
	}
	d, err := m["d"].Dict()
	if err != nil {
		t.Fatal(err)
	}
	if d, err = d["in"].Dict(); err != nil {
		t.Fatal(err)
	}
	if v, err := d["deep"].Uint(); v != 9 || err != nil {
		t.Errorf("deep: %d, %v", v, err)
	}
	if _, err := m["s"].Strings(); err == nil {
		t.Error("a text passes as a list")
	}
	if _, err := m["b"].Uint(); err == nil {
		t.Error("a boolean passes as a number")
	}
}

func TestParseRefuses(t *testing.T) {
	sum := strings.Repeat("\x01", 32)
	tree := func(files ...string) string {
		var d DirTree
		for _, f := range files {
			d.Files = append(d.Files, FileEntry{Name: f})
		}
		return string(d.Encode())
	}
	meta := string(DirMeta{Mode: 0o40755}.Encode())
	two := string(DirTree{Files: []FileEntry{{Name: "x"}}, Dirs: []DirEntry{{Name: "x"}}}.Encode())
	for _, c := range []struct {
		name, bytes string
		parse       func([]byte) error
	}{
		{"dirtree: no bytes", "", parsing(ParseDirTree)},
		{"dirtree: slash", tree("a/b"), parsing(ParseDirTree)},
		{"dirtree: empty name", tree(""), parsing(ParseDirTree)},
		{"dirtree: dot dot", tree(".."), parsing(ParseDirTree)},
		{"dirtree: not UTF-8", tree("\xff"), parsing(ParseDirTree)},
		{"dirtree: NUL", tree("a\x00b"), parsing(ParseDirTree)},
		{"dirtree: twice", tree("a", "a"), parsing(ParseDirTree)},
		{"dirtree: file and directory", two, parsing(ParseDirTree)},
		{"dirtree: unsorted", "b\x00" + sum + "\x02" + "a\x00" + sum + "\x02" + "\x23\x46" + "\x48", parsing(ParseDirTree)},
		{"dirtree: short checksum", "a\x00" + sum[1:] + "\x02" + "\x22" + "\x23", parsing(ParseDirTree)},
		{"dirtree: offset beyond the end", "\xff", parsing(ParseDirTree)},
		{"dirmeta: short", meta[:11], parsing(ParseDirMeta)},
		{"dirmeta: regular file", string(DirMeta{Mode: 0o100755}.Encode()), parsing(ParseDirMeta)},
		{"dirmeta: unknown bits", string(DirMeta{Mode: 0o1040755}.Encode()), parsing(ParseDirMeta)},
		{"dirmeta: name without NUL", meta + "nv" + "\x01" + "\x03", parsing(ParseDirMeta)},
		{"dirmeta: empty name", meta + "\x00v" + "\x01" + "\x03", parsing(ParseDirMeta)},
		{"dirmeta: unsorted", meta + "b\x00v\x02" + "a\x00v\x02" + "\x04\x08", parsing(ParseDirMeta)},
		{"dirmeta: same twice", meta + "a\x00v\x02" + "a\x00v\x02" + "\x04\x08", parsing(ParseDirMeta)},
		{"commit: no bytes", "", parsing(ParseCommit)},
		{"dict: unknown type", "k\x00" + strings.Repeat("\x00", 6) + "v\x00\x00!" + "\x02" + "\x0d", parsing(ParseDict)},
		{"dict: two types", "k\x00" + strings.Repeat("\x00", 6) + "v\x00\x00ss" + "\x02" + "\x0e", parsing(ParseDict)},
		{"dict: padding", "k\x00" + strings.Repeat("\x01", 6) + "v\x00\x00s" + "\x02" + "\x0d", parsing(ParseDict)},
		{"dict: boolean 2", "k\x00" + strings.Repeat("\x00", 6) + "\x02\x00b" + "\x02" + "\x0c", parsing(ParseDict)},
	} {
		if err := c.parse([]byte(c.bytes)); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
	}
}

func parsing[T any](parse func([]byte) (T, error)) func([]byte) error {
	return func(b []byte) error { _, err := parse(b); return err }
}

// TestNormalForm alters single bytes of objects: what is still accepted must be
// what the altered bytes say, so it encodes to the same bytes again.
func TestNormalForm(t *testing.T) {
	c := Commit{Metadata: map[string]Value{"l": StringsValue([]string{"a", "b"})}, Subject: "s"}
	tree := randomTree(rand.New(rand.NewPCG(3, 4)), 3, 2)
	for name, b := range map[string][]byte{"commit": c.Encode(), "tree": tree.Encode()} {
		for i := range b {
			for _, x := range []byte{0, 1, 0x7f, 0xff, b[i] + 1, b[i] - 1} {
				m := slices.Clone(b)
				m[i] = x
				again := m
				if name == "commit" {
					if c, err := ParseCommit(m); err == nil {
						again = c.Encode()
					}
				} else if d, err := ParseDirTree(m); err == nil {
					again = d.Encode()
				}
				if !bytes.Equal(again, m) {
					t.Errorf("%s with byte %d = %#x is accepted and encodes differently", name, i, x)
				}
			}
		}
	}
}

func TestDeepTypes(t *testing.T) {
	deep := strings.Repeat("a", 200) + "s"
	if _, err := typeLen(deep, 0); err == nil {
		t.Error("200 nested arrays are accepted")
	}
	if _, err := typeLen(strings.Repeat("{s", 200), 0); err == nil {
		t.Error("unclosed dictionary entries are accepted")
	}
	v := StringValue("x")
	for range 200 {
		v = Value{"v", append(append(slices.Clone(v.Data), 0), v.Type...)}
	}
	if _, err := ParseDict(DictValue(map[string]Value{"k": v}).Data); err == nil {
		t.Error("200 nested variants are accepted")
	}
	for typ, want := range map[string]layout{
		"y": {1, 1}, "(yu)": {4, 8}, "(uy)": {4, 8}, "(ys)": {1, 0}, "()": {1, 1}, "a(yt)": {8, 0}, "{sv}": {8, 0}, "mu": {4, 0}, "(yv)": {8, 0},
	} {
		if got := layoutOf(typ); got != want {
			t.Errorf("layout of %s is %v, want %v", typ, got, want)
		}
	}
}

// TestWideOffsets gives containers that are right but for their needless size.
func TestWideOffsets(t *testing.T) {
	pair := "n\x00" + strings.Repeat("v", 252)
	for name, c := range map[string]struct {
		typ, bytes string
		ok         bool
	}{
		"pair":              {"(ayay)", pair[:254] + "\x02", true},
		"wide pair":         {"(ayay)", pair[:254] + "\x02\x00", false},
		"list":              {"aay", strings.Repeat("v", 252) + "\x01\xfc", true},
		"wide list":         {"aay", strings.Repeat("v", 252) + "\x01\x00\xfc\x00", false},
		"text and number":   {"(su)", "a\x00\x00\x00" + "\x01\x00\x00\x00" + "\x02", true},
		"bytes in between":  {"(su)", "a\x00\x00\x00" + "\x01\x00\x00\x00" + "\x00\x02", false},
		"padding not zero":  {"(su)", "a\x00\x01\x00" + "\x01\x00\x00\x00" + "\x02", false},
		"nothing":           {"ms", "", true},
		"just":              {"ms", "a\x00\x00", true},
		"just without mark": {"ms", "a\x00", false},
		"path":              {"o", "/a/b_1\x00", true},
		"bad path":          {"o", "/a//b\x00", false},
		"signature":         {"g", "a{sv}u\x00", true},
		"bad signature":     {"g", "a{vs}\x00", false},
		"unit":              {"()", "\x00", true},
		"unit with content": {"()", "\x01", false},
	} {
		if err := verify(c.typ, []byte(c.bytes), 0); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestModes(t *testing.T) {
	for mode, want := range map[fs.FileMode]uint32{
		0o644:                 0o100644,
		0o755 | fs.ModeSetuid: 0o104755,
		fs.ModeDir | 0o2775&0o777 | fs.ModeSetgid: 0o42775,
		fs.ModeDir | 0o777 | fs.ModeSticky:        0o41777,
		fs.ModeSymlink | 0o777:                    0o120777,
	} {
		got, err := ModeOf(mode)
		if err != nil || got != want || FileMode(got) != mode {
			t.Errorf("ModeOf(%v) = %#o, %v; want %#o; back %v", mode, got, err, want, FileMode(got))
		}
	}
	if _, err := ModeOf(fs.ModeNamedPipe); err == nil {
		t.Error("a pipe has a mode")
	}
	for _, h := range []FileHeader{
		{Mode: 0o644}, {Mode: 0o100644, Symlink: "x"}, {Mode: SymlinkMode}, {Mode: 0o120755, Symlink: "x"},
		{Mode: SymlinkMode, Symlink: "\xff"}, {Mode: 0o1100644}, {Mode: 0o20644},
	} {
		if h.Check() == nil {
			t.Errorf("header %+v is accepted", h)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Commit{Metadata: map[string]Value{"k": StringValue("v")}}.Encode())
	f.Add(randomTree(rand.New(rand.NewPCG(1, 1)), 2, 2).Encode())
	f.Add(DirMeta{Mode: 0o40755, Xattrs: label("usr_t")}.Encode())
	f.Add(DictValue(map[string]Value{"a": StringsValue([]string{"x"}), "b": {"(yms)", []byte{1, 'a', 0, 0}}}).Data)
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := ParseDirTree(b); err == nil && !bytes.Equal(d.Encode(), b) {
			t.Error("dirtree encodes differently")
		}
		if d, err := ParseDirMeta(b); err == nil && !bytes.Equal(d.Encode(), b) {
			t.Error("dirmeta encodes differently")
		}
		if x, err := ParseXattrs(b); err == nil && !bytes.Equal(x.Encode(), b) {
			t.Error("attributes encode differently")
		}
		if c, err := ParseCommit(b); err == nil {
			again, err := ParseCommit(c.Encode())
			if err != nil || !reflect.DeepEqual(c, again) {
				t.Errorf("commit reads back differently: %v", err)
			}
		}
		if d, err := ParseDict(b); err == nil {
			for _, v := range d {
				v.Text()
				v.Strings()
				v.Uint()
				v.Dict()
			}
		}
	})
}

func BenchmarkFileHash(b *testing.B) {
	h := FileHeader{Mode: 0o100644, Xattrs: label("usr_t")}
	b.ReportAllocs()
	for b.Loop() {
		SumOf(NewFileHash(h))
	}
}
