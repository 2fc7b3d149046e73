package ext4

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tree"
)

// TestSizes makes file systems of all sizes, which also have to hold what they
// are asked to hold.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		name string
		size int64
		opt  func(*Options)
		want int64 // 0: the same
	}{
		{name: "the least", size: 0, want: 42_307_584},
		{name: "64 MiB", size: 64 << 20},
		{name: "one group", size: 128 << 20},
		{name: "a last group that is too small", size: 256<<20 + 40<<12, want: 256 << 20},
		{name: "a last group with a copy that is too small", size: 128<<20 + 4<<20, want: 128 << 20},
		{name: "an odd size", size: 300<<20 + 12345, want: 300<<20 + 12288},
		{name: "a small boot", size: 1 << 30, opt: func(o *Options) { o.GrowTo = 64 << 30 }},
		{name: "just over a flexible group", size: 2<<30 + 36<<20},
		{name: "a flexible group begun too late", size: 2<<30 + 20<<12, want: 2 << 30},
		{name: "24 GiB", size: 24 << 30},
		{name: "200 GiB, with a journal in many pieces", size: 200 << 30},
		{name: "8 TiB", size: 8 << 40},
		{name: "20 TiB", size: 20 << 40, opt: func(o *Options) { o.GrowTo = 20 << 40 }},
		{name: "16 TiB", size: 16 << 40, opt: func(o *Options) { o.GrowTo = 20 << 40 }},
		{name: "many inodes", size: 5 << 30, opt: func(o *Options) { o.InodesPerGroup = 16384 }},
		{name: "few inodes", size: 5 << 30, opt: func(o *Options) { o.InodesPerGroup = 16 }},
		{name: "without extras", size: 5 << 30, opt: func(o *Options) { o.Without = Verity | ChecksumSeed | ResizeInode }},
		{name: "a small journal", size: 5 << 30, opt: func(o *Options) { o.JournalSize = 4 << 20 }},
		{name: "an odd journal", size: 5 << 30, opt: func(o *Options) { o.JournalSize = 333<<20 + 4096 }},
		{name: "nothing reserved, no label, no time", size: 1 << 30, opt: func(o *Options) { *o = Options{ReservedPercent: -1} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, o := newDevice(t), testOptions()
			if c.size > 1<<40 {
				needHeavy(t)
				d = newHugeDevice(t)
			}
			if c.opt != nil {
				c.opt(&o)
			}
			w, err := NewWriter(d, o)
			if err != nil {
				t.Fatal(err)
			}
			b := newBuilder()
			b.add(tree.Entry{Path: "a", Mode: 0o644, Content: tree.Bytes(pattern(1, 200_000))})
			st := finish(t, w, b.stream(), c.size)
			if want := max(c.want, 1); c.want == 0 && st.Size != c.size || c.want != 0 && st.Size != want {
				t.Errorf("size is %d, want %d or %d", st.Size, c.want, c.size)
			}
			compare(t, openFS(t, w), append([]tree.Entry{{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: newTime(o)}}, b.sorted()...))
			fsck(t, d.Name())
			checkStats(t, d.Name(), st)
			if used := blocksOf(t, d.Name()); used > 20<<20 && c.size < 1<<40 {
				t.Errorf("%d bytes were written", used)
			}
		})
	}
}

// needHeavy skips what takes half a minute, unless it is asked for.
func needHeavy(t *testing.T) {
	t.Helper()
	if os.Getenv("AITHER_HEAVY_TESTS") == "" {
		t.Skip("AITHER_HEAVY_TESTS is not set")
	}
}

// newHugeDevice is a file that may be larger than most file systems allow.
func newHugeDevice(t *testing.T) fileDevice {
	t.Helper()
	f, err := os.CreateTemp("/dev/shm", "ext4-test-*")
	if err != nil {
		t.Skipf("no file system for huge files: %v", err)
	}
	t.Cleanup(func() { f.Close(); os.Remove(f.Name()) })
	return fileDevice{f}
}

// checkStats compares Stats with what dumpe2fs reads.
func checkStats(t *testing.T, path string, st Stats) {
	t.Helper()
	out := run(t, "dumpe2fs", "-h", path)
	number := func(key string) int64 {
		_, rest, _ := strings.Cut(out, "\n"+key+":")
		line, _, _ := strings.Cut(rest, "\n")
		n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		return n
	}
	for _, c := range []struct {
		key       string
		got, unit int64
	}{
		{"Block count", st.Size, blockSize}, {"Free blocks", st.FreeBytes, blockSize}, {"Total journal blocks", st.JournalBytes, blockSize},
		{"Inode count", st.Inodes, 1}, {"Free inodes", st.FreeInodes, 1},
	} {
		if want := number(c.key) * c.unit; c.got != want {
			t.Errorf("%s: %d, dumpe2fs says %d", c.key, c.got, want)
		}
	}
	if strings.Contains(out, "Reserved GDT blocks") && number("Reserved GDT blocks")*8 > number("Total journal blocks") {
		t.Errorf("%d descriptor blocks are more than Linux can grow into with this journal", number("Reserved GDT blocks"))
	}
	zero := int64(0)
	for _, r := range st.Zero {
		zero += r.Len
	}
	if zero != st.JournalBytes-blockSize && zero != st.JournalBytes { // a bitmap may be among them
		t.Errorf("%d bytes must be zeros, the journal has %d", zero, st.JournalBytes)
	}
}

// TestOverhead compares the superblock's count of blocks for metadata, which the
// kernel subtracts in df, with that of mke2fs.
func TestOverhead(t *testing.T) {
	d, o := newDevice(t), testOptions()
	o.GrowTo = (1024 + 2) * descsPerBlock * 128 << 20 // as mke2fs: 1024 blocks beyond those in use
	w, err := NewWriter(d, o)
	if err != nil {
		t.Fatal(err)
	}
	finish(t, w, stream(), 10<<30)
	other := newDevice(t)
	other.Truncate(10 << 30)
	run(t, "mke2fs", "-q", "-t", "ext4", other.Name())
	line := func(path string) string {
		_, s, _ := strings.Cut(run(t, "dumpe2fs", "-h", path), "Overhead clusters:")
		s, _, _ = strings.Cut(s, "\n")
		return strings.TrimSpace(s)
	}
	if got, want := line(d.Name()), line(other.Name()); got != want {
		t.Errorf("overhead %s, mke2fs has %s", got, want)
	}
}

// TestSmallerJournal asks for a size just over a limit of the journal's rule,
// at which the rule's journal has no room.
func TestSmallerJournal(t *testing.T) {
	d := newDevice(t)
	w, err := NewWriter(d, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	st := finish(t, w, stream(tree.Entry{Path: "a", Mode: 0o644, Content: tree.Bytes(pattern(1, 78<<20))}), 128<<20)
	if st.Size != 128<<20 || st.JournalBytes != 8<<20 {
		t.Errorf("size %d, journal %d", st.Size, st.JournalBytes)
	}
	fsck(t, d.Name())
}

func TestSizeIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		size func(Usage) int64
		opt  func(*Options)
		want string
	}{
		{"too small", func(u Usage) int64 { return u.MinBytes - 1 }, nil, "is too small: the contents need at least"},
		{"negative", func(u Usage) int64 { return -1 }, nil, "is too small"},
		{"beyond the room to grow", func(u Usage) int64 { return 65 << 30 }, func(o *Options) { o.GrowTo = 8 << 30 }, "room to grow"},
		{"too many inodes", func(u Usage) int64 { return 40 << 40 }, func(o *Options) { o.GrowTo, o.InodesPerGroup = 64<<40, 16384 }, "2^32 inodes"},
	} {
		o := testOptions()
		if c.opt != nil {
			c.opt(&o)
		}
		w, err := NewWriter(newMemDevice(), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Finish(context.Background(), stream(), c.size); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{Label: strings.Repeat("l", 17)}, {InodesPerGroup: 8}, {InodesPerGroup: 17}, {InodesPerGroup: 32768},
		{JournalSize: 1}, {JournalSize: -1}, {JournalSize: 2 << 30}, {GrowTo: -1}, {GrowTo: 1 << 60}, {ReservedPercent: 51},
	} {
		if _, err := NewWriter(newMemDevice(), o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// TestSizeGrowsForInodes has more files than the size asked for has inodes.
func TestSizeGrowsForInodes(t *testing.T) {
	d, o := newDevice(t), testOptions()
	o.InodesPerGroup = 512
	w, err := NewWriter(d, o)
	if err != nil {
		t.Fatal(err)
	}
	b := newBuilder()
	for i := range 5000 {
		b.add(tree.Entry{Path: fmt.Sprint(i), Mode: 0o644})
	}
	st := finish(t, w, b.stream(), 0)
	if groups := (st.Size + 128<<20 - 1) / (128 << 20); groups != 10 { // 5011 inodes
		t.Errorf("size %d has %d groups", st.Size, groups)
	}
	fsck(t, d.Name())
}

// hugeReader is mostly zeros: every step bytes there is one that is not.
type hugeReader struct{ off, size, step int64 }

func (h *hugeReader) Read(p []byte) (int, error) {
	if h.off == h.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), h.size-h.off)]
	clear(p)
	for at := (h.off + h.step - 1) / h.step * h.step; at < h.off+int64(len(p)); at += h.step {
		p[at-h.off] = 1 + byte(at/h.step%255)
	}
	h.off += int64(len(p))
	return len(p), nil
}

// TestSparseFile has files of up to 130 GiB with 8000 extents: a tree of two levels.
func TestSparseFile(t *testing.T) {
	t.Run("4 GiB", func(t *testing.T) { testSparse(t, 4<<30+7, 512<<10) })
	t.Run("130 GiB", func(t *testing.T) {
		needHeavy(t)
		testSparse(t, 130<<30+7, 16<<20+4096)
	})
}

func testSparse(t *testing.T, size, step int64) {
	d := newDevice(t)
	w, err := NewWriter(d, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	a := w.NewArena(0)
	data, err := a.Put(&hugeReader{size: size, step: step}, size)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data.ext)) != size/step+1 {
		t.Errorf("%d extents", len(data.ext))
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	finish(t, w, stream(tree.Entry{Path: "huge", Mode: 0o644, Content: data}), 1<<30)
	fsck(t, d.Name())
	checkHuge(t, openFS(t, w), size, step)
}

func checkHuge(t *testing.T, f *FS, size, step int64) {
	t.Helper()
	e, err := f.Lookup("huge")
	if err != nil {
		t.Fatal(err)
	}
	if e.Content.Size() != size {
		t.Errorf("size %d", e.Content.Size())
	}
	r, err := e.Content.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := make([]byte, 3)
	for i := int64(0); i < size/step; i += 97 {
		if _, err := r.(io.ReaderAt).ReadAt(b[:2], i*step); err != nil || b[0] != 1+byte(i%255) || b[1] != 0 {
			t.Fatalf("at %d: % x, %v", i*step, b, err)
		}
	}
}

// TestDeepIndex has a directory whose index has two levels, with names that hash
// to the same value across leaves.
func TestDeepIndex(t *testing.T) {
	d, o := newDevice(t), testOptions()
	b := newBuilder()
	b.dir("big")
	long := strings.Repeat("y", 200)
	for i := range 12_000 {
		b.add(tree.Entry{Path: fmt.Sprintf("big/%s%d", long, i), Mode: 0o644, Link: "big/0"})
	}
	b.add(tree.Entry{Path: "big/0", Mode: 0o644, Content: tree.Text("0")})
	writeTree(t, d, b, o, 300<<20)
	fsck(t, d.Name())
	out := debugfs(t, d.Name(), "htree_dump /big")
	if !strings.Contains(out, "Indirect levels: 1") {
		t.Errorf("the index is not deep:\n%.500s", out)
	}
}

// TestEqualHashesAcrossLeaves has a directory of names that hash to the same
// values in pairs, so that some pairs are torn between two leaves.
func TestEqualHashesAcrossLeaves(t *testing.T) {
	d, o := newDevice(t), testOptions()
	w, err := NewWriter(d, o)
	if err != nil {
		t.Fatal(err)
	}
	b := newBuilder()
	b.dir("pairs")
	seen := map[uint32]string{}
	for i := 0; len(b.entries) < 45; i++ {
		name := fmt.Sprintf("%s%d", strings.Repeat("p", 178), i)
		major, _ := nameHash([]byte(name), w.hashSeed())
		if other, ok := seen[major]; ok {
			b.add(tree.Entry{Path: "pairs/" + name, Mode: 0o644})
			b.add(tree.Entry{Path: "pairs/" + other, Mode: 0o644})
		}
		seen[major] = name
	}
	finish(t, w, b.stream(), 64<<20)
	fsck(t, d.Name())
	out := debugfs(t, d.Name(), "htree_dump /pairs")
	if n := strings.Count(out, "Entry #"); n < 3 {
		t.Errorf("only %d leaves", n)
	}
	odd := 0
	for line := range strings.Lines(out) {
		if _, hash, ok := strings.Cut(line, "Hash 0x"); ok && strings.HasPrefix(line, "Entry #") && strings.ContainsAny(hash[7:8], "13579bdf") {
			odd++
		}
	}
	if odd == 0 {
		t.Errorf("no leaf continues the hash of the last:\n%.2000s", out)
	}
}

// TestNameHash compares hashes with those of debugfs.
func TestNameHash(t *testing.T) {
	d := newDevice(t)
	writeTree(t, d, newBuilder(), testOptions(), 64<<20)
	seed := "a1a2a3a4-5566-4788-99aa-bbccddeeff02"
	var words [4]uint32
	o := testOptions()
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(o.HashSeed[4*i:])
	}
	for _, name := range []string{"a", "ab", "abcdefgh", strings.Repeat("z", 32), strings.Repeat("z", 33), strings.Repeat("q", 255), "\xe9\xff", "vmlinuz-5.14.0"} {
		out := debugfs(t, d.Name(), fmt.Sprintf("dx_hash -h half_md4 -s %s %s", seed, name))
		major, minor := nameHash([]byte(name), words)
		if want := fmt.Sprintf("is 0x%x (minor 0x%x)", major, minor); !strings.Contains(out, want) {
			t.Errorf("%q: %s, debugfs says %s", name, want, out)
		}
	}
}
