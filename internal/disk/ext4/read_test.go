package ext4

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tree"
)

// smallFS is a file system with a bit of everything that the reader reads.
func smallFS(t testing.TB) (*Writer, *memDevice) {
	t.Helper()
	d := newMemDevice()
	o := testOptions()
	o.GrowTo, o.InodesPerGroup = 8<<30, 128
	b := newBuilder()
	b.dir("etc")
	b.add(tree.Entry{Path: "etc/passwd", Mode: 0o644, Content: tree.Text("root:x:0:0\n")})
	b.add(tree.Entry{Path: "etc/mtab", Mode: fs.ModeSymlink | 0o777, Link: "../proc/mounts"})
	b.dir("boot")
	b.add(tree.Entry{Path: "boot/loader", Mode: fs.ModeSymlink | 0o777, Link: "loader.1"})
	b.dir("boot/loader.1")
	b.add(tree.Entry{Path: "boot/loader.1/entry", Mode: 0o600, Content: tree.Text("title x")})
	b.add(tree.Entry{Path: "abs", Mode: fs.ModeSymlink | 0o777, Link: "/boot/../boot/loader"})
	b.add(tree.Entry{Path: "long", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("./", 100) + "etc"})
	b.add(tree.Entry{Path: "loop", Mode: fs.ModeSymlink | 0o777, Link: "loop"})
	b.add(tree.Entry{Path: "xattrs", Mode: 0o644, Xattrs: map[string][]byte{
		"user.big": pattern(1, 500), "security.selinux": []byte("label"), "system.posix_acl_access": linuxACL(3),
	}})
	b.dir("many")
	for i := range 150 {
		b.add(tree.Entry{Path: "many/" + strings.Repeat("n", i+1), Mode: 0o644, Link: "etc/passwd"})
	}
	b.add(tree.Entry{Path: "sparse", Mode: 0o644, Content: tree.Bytes(sparseBytes(7))})
	w, err := NewWriter(d, o)
	if err != nil {
		t.Fatal(err)
	}
	finish(t, w, b.stream(), 0)
	return w, d
}

// sparseBytes has n runs with holes between.
func sparseBytes(n int) []byte {
	b := make([]byte, n*3*blockSize)
	for i := range n {
		b[i*3*blockSize] = 1
	}
	return b
}

func TestFollow(t *testing.T) {
	w, _ := smallFS(t)
	f := openFS(t, w)
	for _, c := range []struct{ path, want string }{
		{".", "."}, {"/", "."}, {"etc/passwd", "./etc/passwd"}, {"boot/loader/entry", "./boot/loader.1/entry"},
		{"abs/entry", "./boot/loader.1/entry"}, {"long/passwd", "./etc/passwd"}, {"../../etc", "./etc"},
	} {
		e, err := f.Follow(c.path)
		if err != nil || e.Path != strings.TrimPrefix(c.want, "./") {
			t.Errorf("%s leads to %q, %v; want %s", c.path, e.Path, err, c.want)
		}
	}
	for path, want := range map[string]string{"loop": "more than 40", "etc/mtab": "not exist", "nothing": "not exist", "etc/passwd/x": "not exist"} {
		if _, err := f.Follow(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestLookup(t *testing.T) {
	w, _ := smallFS(t)
	f := openFS(t, w)
	e, err := f.Lookup("boot/loader")
	if err != nil || e.Link != "loader.1" || e.Path != "boot/loader" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := f.Lookup("boot/loader/entry"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("through a link: %v", err)
	}
	for _, bad := range []string{"", "/etc", "etc/", "etc/../etc", "etc//passwd"} {
		if _, err := f.Lookup(bad); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	list, err := f.ReadDir("etc")
	if err != nil || len(list) != 2 || list[0].Path != "etc/mtab" || list[1].Path != "etc/passwd" {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := f.ReadDir("."); err != nil || len(list) != 9 || list[0].Path != "abs" {
		t.Errorf("%d entries, %v", len(list), err)
	}
	if _, err := f.ReadDir("etc/passwd"); err == nil {
		t.Error("a file is listed")
	}
	if i := f.Info(); i.Label != "root" || i.UUID != testOptions().UUID || i.BlockSize != blockSize || !slices.Contains(i.Features, "verity") {
		t.Errorf("%+v", i)
	}
}

func TestSubtree(t *testing.T) {
	w, _ := smallFS(t)
	var got []string
	for e, err := range openFS(t, w).Tree("boot") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Path)
	}
	if want := []string{".", "loader", "loader.1", "loader.1/entry"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestReplace(t *testing.T) {
	w, d := smallFS(t)
	for _, c := range []struct{ path, content string }{
		{"boot/loader.1/entry", "title another, longer than the first"},
		{"etc/passwd", strings.Repeat("x", 4096)},
	} {
		before := d.sum()
		patches, err := w.Replace(c.path, []byte(c.content))
		if err != nil {
			t.Fatal(err)
		}
		if d.sum() != before {
			t.Error("Replace wrote to the device")
		}
		for _, p := range patches {
			d.WriteAt(p.Data, p.Off)
		}
		e, err := openFS(t, w).Lookup(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if s := diffContent(e.Content, tree.Text(c.content)); s != "" {
			t.Errorf("%s: %s", c.path, s)
		}
	}
	fsck(t, d.save(t, openFS(t, w).Info().Size))
	for path, content := range map[string]string{
		"etc/passwd": "", "boot/loader.1/entry": strings.Repeat("x", 4097), "etc": "x", "nothing": "x", "etc/mtab": "x",
		"sparse": strings.Repeat("x", 7*blockSize),
	} {
		if _, err := w.Replace(path, []byte(content)); err == nil {
			t.Errorf("%s can be replaced by %d bytes", path, len(content))
		}
	}
}

// TestUnwrittenExtents has a block that is allocated, but holds old bytes.
func TestUnwrittenExtents(t *testing.T) {
	w, d := smallFS(t)
	f := openFS(t, w)
	n, err := f.find("etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(n.b[0x28+extentEntry+4:], 1+extentMaxLen)
	setInodeSum(n.b, n.ino, f.seed)
	d.WriteAt(n.b, n.off)
	e, err := f.Lookup("etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	if s := diffContent(e.Content, tree.Bytes(make([]byte, 11))); s != "" {
		t.Error(s)
	}
}

func TestUnknownFeaturesAreNamed(t *testing.T) {
	for _, c := range []struct {
		off  int64
		bits uint32
		want string
	}{
		{0x60, 0x4, "needs_recovery"}, {0x60, 0x8000, "inline_data"}, {0x60, 0x10000, "encrypt"}, {0x60, 0x20000, "casefold"},
		{0x60, 0x400, "ea_inode"}, {0x60, 0x10, "meta_bg"}, {0x60, 1 << 30, "FEATURE_I30"},
	} {
		_, d := smallFS(t)
		b := make([]byte, 4)
		d.ReadAt(b, superOffset+c.off)
		binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)|c.bits)
		d.WriteAt(b, superOffset+c.off)
		_, err := Open(d)
		if u := (*UnsupportedError)(nil); !errors.As(err, &u) || u.Feature != c.want {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

// TestDamageIsSeen flips bits of metadata that carries a checksum.
func TestDamageIsSeen(t *testing.T) {
	w, d := smallFS(t)
	f := openFS(t, w)
	at := func(path string) int64 {
		n, err := f.find(path)
		if err != nil {
			t.Fatal(err)
		}
		return n.off
	}
	first := func(path string) int64 {
		n, _ := f.find(path)
		ext, err := f.extents(n)
		if err != nil {
			t.Fatal(err)
		}
		return int64(ext[0].phys) * blockSize
	}
	xn, _ := f.find("xattrs")
	sn, _ := f.find("sparse")
	for name, off := range map[string]int64{
		"superblock": superOffset + 0x80, "descriptor": blockSize + 9, "inode": at("etc/passwd") + 0x10, "directory": first("etc") + 20,
		"attributes": int64(xn.fileACL())*blockSize + 2000, "extents": int64(binary.LittleEndian.Uint32(sn.root()[16:]))*blockSize + 30,
	} {
		flip := func() {
			b := make([]byte, 1)
			d.ReadAt(b, off)
			b[0] ^= 4
			d.WriteAt(b, off)
		}
		flip()
		if err := readAll(d, checkSums); err == nil || !errors.Is(err, errCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		flip()
	}
	if err := readAll(d, checkSums); err != nil {
		t.Error(err)
	}
}

// readAll reads everything that there is, and returns the first error.
func readAll(r io.ReaderAt, checks sumChecks) error {
	f, err := open(r, checks)
	if err != nil {
		return err
	}
	for e, err := range f.Tree(".") {
		if err != nil {
			return err
		}
		if e.Content == nil {
			continue
		}
		c, err := e.Content.Open()
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, io.LimitReader(c, 1<<20)); err != nil {
			return err
		}
	}
	return nil
}

// compact is a file system as a list of its written blocks, for the fuzzer.
func (m *memDevice) compact() (keys []int64, data []byte) {
	for k, page := range m.pages {
		if !isZero(page[:]) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		data = append(data, m.pages[k][:]...)
	}
	return keys, data
}

// TestDamagedImages changes bytes at random, without checksums to catch them.
func TestDamagedImages(t *testing.T) {
	_, d := smallFS(t)
	keys, _ := d.compact()
	rng := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for range 3000 {
		o := overlay{d, map[int64]byte{}}
		for range 1 + rng.IntN(8) {
			page := keys[rng.IntN(len(keys))]
			off := page*blockSize + rng.Int64N(blockSize)
			if page > 2 && rng.IntN(2) == 0 {
				off = page*blockSize + rng.Int64N(64)
			}
			o.change[off] = [...]byte{0, 1, 0x7f, 0x80, 0xff, byte(rng.IntN(256))}[rng.IntN(6)]
		}
		if readAll(o, ignoreSums) != nil {
			failed++
		}
	}
	if failed < 100 {
		t.Errorf("only %d of 3000 damaged images were noticed", failed)
	}
}

// overlay is a device with some bytes changed.
type overlay struct {
	io.ReaderAt
	change map[int64]byte
}

func (o overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.ReaderAt.ReadAt(p, off)
	for at, b := range o.change {
		if at >= off && at < off+int64(n) {
			p[at-off] = b
		}
	}
	return n, err
}

// FuzzRead changes the blocks of a small file system: data is a list of
// (block among the written ones, offset, value).
func FuzzRead(f *testing.F) {
	_, d := smallFS(f)
	keys, _ := d.compact()
	f.Add([]byte{0, 4, 4, 255})
	f.Add([]byte{1, 0, 0, 1, 2, 0, 8, 9})
	f.Fuzz(func(t *testing.T, edits []byte) {
		o := overlay{d, map[int64]byte{}}
		for ; len(edits) >= 4 && len(o.change) < 64; edits = edits[4:] {
			o.change[keys[int(edits[0])%len(keys)]*blockSize+int64(edits[1]&15)<<8+int64(edits[2])] = edits[3]
		}
		for _, checks := range []sumChecks{ignoreSums, checkSums} {
			c := &counter{r: o}
			if readAll(c, checks); c.reads > 200_000 {
				t.Fatalf("reading took %d reads", c.reads)
			}
		}
	})
}

// counter counts reads, and fails when there are too many.
type counter struct {
	r     io.ReaderAt
	reads int
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	if c.reads++; c.reads > 200_000 {
		return 0, errors.New("too many reads")
	}
	return c.r.ReadAt(p, off)
}
