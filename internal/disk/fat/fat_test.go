package fat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aitheros/aither-image/internal/disk/fat"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"github.com/aitheros/aither-image/internal/tree"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

var when = time.Date(2026, 3, 4, 5, 6, 8, 0, time.UTC)

func dir(path string) tree.Entry {
	return tree.Entry{Path: path, Mode: fs.ModeDir | 0o755, ModTime: when}
}

func file(path string, content string) tree.Entry {
	return tree.Entry{Path: path, Mode: 0o644, ModTime: when, Content: tree.Text(content)}
}

func stream(es ...tree.Entry) tree.Stream {
	return func(yield func(tree.Entry, error) bool) {
		for _, e := range es {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// sample has every kind of name and size; siblings are in byte order.
func sample() []tree.Entry {
	es := []tree.Entry{
		dir("."),
		dir("EFI"),
		dir("EFI/BOOT"),
		file("EFI/BOOT/BOOTX64.EFI", strings.Repeat("shim", 50*kib)),
		file("EFI/BOOT/fbx64.efi", "fallback"),
		dir("EFI/a folder with a long name"),
		file("EFI/a folder with a long name/+,;=[].txt", "+"),
		file("EFI/a folder with a long name/.hidden", "h"),
		file("EFI/a folder with a long name/a.b.c.d", "dots"),
		file("EFI/a folder with a long name/exactly-13.ab", "13"),
		file("EFI/a folder with a long name/exactly-26.abcdefghijklmno", "26"),
		file("EFI/a folder with a long name/ünï ☃ 𝄞.txt", "unicode"),
		file("EFI/a folder with a long name/"+strings.Repeat("x", 255), "255"),
		dir("EFI/rocky"),
		file("EFI/rocky/BOOTX64.CSV", ""),
		{Path: "EFI/rocky/bootuuid.cfg", Mode: 0o600, ModTime: when, Content: tree.Text("set BOOT_UUID=\"x\"\n")},
		file("EFI/rocky/grub.cfg", "search"),
		{Path: "EFI/rocky/grubx64.efi", Mode: 0o644, ModTime: when, Link: "EFI/BOOT/fbx64.efi"},
		dir("many"),
	}
	for i := range 300 {
		es = append(es, file(fmt.Sprintf("many/collision in 8.3 names %03d.conf", i), fmt.Sprint(i)))
	}
	return es
}

var shapes = []struct {
	name string
	size int64
	opts fat.Options
	bits int
}{
	{"fat12", 2 * mib, fat.Options{Label: "TINY", VolumeID: 0x1234abcd, Time: when}, 12},
	{"fat16", 17 * mib, fat.Options{Label: "MIDDLE", VolumeID: 1, Time: when}, 16},
	{"fat32-small", 40*mib + 512, fat.Options{VolumeID: 2, Time: when}, 32},
	{"fat32-esp", 512 * mib, fat.Options{Label: "EFI-SYSTEM", VolumeID: 0xead70dfd, Time: when, HiddenSectors: 4096}, 32},
	{"fat32-4096", 512 * mib, fat.Options{Label: "EFI-SYSTEM", VolumeID: 3, Time: when, SectorSize: 4096}, 32},
	{"fat16-4096", 100 * mib, fat.Options{Label: "EFI-SYSTEM", VolumeID: 3, Time: when, SectorSize: 4096}, 16},
	{"fat32-10gib", 10 << 30, fat.Options{Label: "BIG", VolumeID: 4, Time: when}, 32},
}

func write(t testing.TB, size int64, o fat.Options, s tree.Stream) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "fat.img"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := fat.Write(f, size, o, s); err != nil {
		t.Fatal(err)
	}
	return f
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := tool.Run(context.Background(), name, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestFsckFindsNothing(t *testing.T) {
	fsck := tooltest.Need(t, "fsck.fat")
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			f := write(t, s.size, s.opts, stream(sample()...))
			out := run(t, fsck, "-n", "-v", f.Name())
			if !strings.Contains(out, "318 files") && !strings.Contains(out, "319 files") {
				t.Errorf("not all files are there:\n%s", out)
			}
			for _, bad := range []string{"wrong", "differ", "Dirty", "invalid", "Invalid", "mismatch", "Reclaim", "bad", "Duplicate", "no label", "Free cluster summary"} {
				if strings.Contains(out, bad) {
					t.Errorf("fsck.fat says %q:\n%s", bad, out)
				}
			}
		})
	}
}

func TestMtoolsReadsTheSame(t *testing.T) {
	mcopy, mdir := tooltest.Need(t, "mcopy"), tooltest.Need(t, "mdir")
	for _, s := range shapes {
		if s.opts.SectorSize == 4096 {
			continue // mtools reads sectors of 512 only
		}
		t.Run(s.name, func(t *testing.T) {
			f := write(t, s.size, s.opts, stream(sample()...))
			out := t.TempDir()
			c := tool.Cmd{Name: mcopy, Args: []string{"-s", "-m", "-i", f.Name(), "::", out}, Env: []string{"LC_ALL=C.UTF-8", "TZ=UTC"}}
			if _, err := c.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			for _, e := range sample() {
				if strings.Contains(e.Path, "𝄞") { // beyond what mtools' names hold
					continue
				}
				fi, err := os.Stat(filepath.Join(out, e.Path))
				if err != nil || fi.IsDir() != e.Mode.IsDir() {
					t.Errorf("%s: %v", e.Path, err)
					continue
				}
				if fi.IsDir() || e.Link != "" {
					continue
				}
				b, err := os.ReadFile(filepath.Join(out, e.Path))
				if err != nil || string(b) != string(e.Content.(tree.Text)) {
					t.Errorf("%s: %d bytes, %v", e.Path, len(b), err)
				}
				if !fi.ModTime().Equal(when) {
					t.Errorf("%s: time is %v", e.Path, fi.ModTime())
				}
			}
			if s.opts.Label != "" {
				if out := run(t, mdir, "-i", f.Name(), "::"); !strings.Contains(out, "Volume in drive : is "+s.opts.Label) {
					t.Error(out)
				}
			}
		})
	}
}

func TestReadBack(t *testing.T) {
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			f := write(t, s.size, s.opts, stream(sample()...))
			fsys, err := fat.Open(f)
			if err != nil {
				t.Fatal(err)
			}
			label := s.opts.Label
			if label == "" {
				label = "NO NAME"
			}
			if i := fsys.Info(); i.Bits != s.bits || i.Label != label || i.VolumeID != s.opts.VolumeID {
				t.Errorf("%+v", i)
			}
			want := sample()
			slices.SortFunc(want[1:], func(a, b tree.Entry) int { return walkOrder(a.Path, b.Path) })
			i := 0
			for e, err := range fsys.Tree() {
				if err != nil {
					t.Fatal(err)
				}
				checkEntry(t, want, want[i], e)
				i++
			}
			if i != len(want) {
				t.Errorf("%d entries of %d", i, len(want))
			}
			b, err := fsys.ReadFile("efi/Rocky/GRUB.cfg", 100)
			if string(b) != "search" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			if _, err := fsys.ReadFile("EFI/none", 100); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if _, err := fsys.ReadFile("EFI/BOOT/BOOTX64.EFI", 100); err == nil || !strings.Contains(err.Error(), "limit of 100") {
				t.Error(err)
			}
		})
	}
}

// walkOrder compares path by path component.
func walkOrder(a, b string) int {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}

func checkEntry(t *testing.T, all []tree.Entry, want, got tree.Entry) {
	t.Helper()
	if got.Path != want.Path || got.Mode.IsDir() != want.Mode.IsDir() {
		t.Fatalf("got %s, want %s", got.Path, want.Path)
	}
	if got.Path == "." || got.Mode.IsDir() {
		return
	}
	if want.Link != "" {
		want = all[slices.IndexFunc(all, func(e tree.Entry) bool { return e.Path == want.Link })]
	}
	b, err := tree.ReadAll(got.Content, mib)
	if err != nil || string(b) != string(want.Content.(tree.Text)) || !got.ModTime.Equal(when) {
		t.Errorf("%s: %d bytes, %v, %v", got.Path, len(b), got.ModTime, err)
	}
}

func TestTwiceTheSameAndSparse(t *testing.T) {
	for _, s := range shapes[:3] {
		a, b := write(t, s.size, s.opts, stream(sample()...)), write(t, s.size, s.opts, stream(sample()...))
		used, err := fat.Used(s.size, s.opts, stream(sample()...))
		if err != nil {
			t.Fatal(err)
		}
		x, err := os.ReadFile(a.Name())
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(b.Name())
		if err != nil || !bytes.Equal(x, y) {
			t.Errorf("%s: two writes differ, %v", s.name, err)
		}
		if last := len(bytes.TrimRight(x, "\x00")); int64(last) > used || used > int64(last)+40*kib {
			t.Errorf("%s: last byte is at %d, Used says %d", s.name, last, used)
		}
	}
}

func TestClusterSizeOfTheUsualESP(t *testing.T) {
	f := write(t, 512*mib, fat.Options{Label: "EFI-SYSTEM", Time: when}, stream(sample()...))
	fsys, err := fat.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if i := fsys.Info(); i.ClusterSize != 4096 || i.Bits != 32 {
		t.Errorf("%+v", i)
	}
}

// fake is content of a size that nobody reads.
type fake struct {
	tree.Text
	n int64
}

func (f fake) Size() int64 { return f.n }

func TestRefusals(t *testing.T) {
	big := file("big", "")
	big.Content = fake{"", 4 << 30}
	large := file("large", "")
	large.Content = fake{"", 33 * mib}
	lying := file("lying", "")
	lying.Content = fake{"four", 5}
	for want, es := range map[string][]tree.Entry{
		`"a/SAME.TXT": FAT takes it for the same name as "same.txt"`: {dir("a"), file("a/same.txt", ""), file("a/SAME.TXT", "")},
		`the same name as "straße"`:                                  {file("straße", ""), file("STRAßE", "")},
		"cannot hold a symbolic link":                                {{Path: "l", Mode: fs.ModeSymlink | 0o777, Link: "x"}},
		"cannot hold a device":                                       {{Path: "d", Mode: fs.ModeDevice}},
		"cannot hold a named pipe":                                   {{Path: "p", Mode: fs.ModeNamedPipe}},
		"cannot hold a socket":                                       {{Path: "s", Mode: fs.ModeSocket}},
		`the character ':'`:                                          {file("a:b", "")},
		`the character '\n'`:                                         {file("a\nb", "")},
		"not UTF-8":                                                  {file("a\xff", "")},
		"ends with a dot or a space":                                 {file("a.", "")},
		"longer than 255":                                            {file(strings.Repeat("x", 256), "")},
		"more than a file on FAT can have":                           {big},
		"its folder is not in the tree":                              {file("none/x", "")},
		"no file before it":                                          {{Path: "h", Mode: 0o644, Link: "none"}},
		"content is not the 5 bytes":                                 {lying},
		"takes 34603520 bytes, the file system has room for":         {large},
	} {
		m := make(memory, 33*mib)
		err := fat.Write(m, 33*mib, fat.Options{}, stream(append([]tree.Entry{dir(".")}, es...)...))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	var full *fat.FullError
	if err := fat.Write(make(memory, 33*mib), 33*mib, fat.Options{}, stream(dir("."), large)); !errors.As(err, &full) || full.Free <= 0 || full.Needed <= full.Free {
		t.Errorf("%v", err)
	}
	for want, c := range map[string]struct {
		size int64
		o    fat.Options
	}{
		"longer than 11 bytes":    {mib, fat.Options{Label: "TWELVE CHARS"}},
		"hint: labels take":       {mib, fat.Options{Label: "lower"}},
		"begins with a space":     {mib, fat.Options{Label: " X"}},
		"sector size 520":         {mib, fat.Options{SectorSize: 520}},
		"no FAT fits 1024 bytes":  {1024, fat.Options{}},
		"more than 2^32 sectors ": {1 << 42, fat.Options{}},
	} {
		if err := fat.Write(make(memory, mib), c.size, c.o, stream(dir("."))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// memory is a disk in memory that drops what lies behind its end.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < int64(len(m)) {
		copy(m[off:], p)
	}
	return len(p), nil
}

func (m memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }

// Fields that no other test or tool looks at.
func TestBootSectorAndEntryFields(t *testing.T) {
	m := make(memory, 40*mib)
	o := fat.Options{HiddenSectors: 0x01020304, Time: when}
	if err := fat.Write(m, 40*mib, o, stream(dir("."), file("a very long name.txt", "x"))); err != nil {
		t.Fatal(err)
	}
	if got := m[28:32]; !bytes.Equal(got, []byte{4, 3, 2, 1}) {
		t.Errorf("hidden sectors are % x", got)
	}
	at := bytes.Index(m, []byte("AVERYL~1TXT"))
	if at < 0 {
		t.Fatal("the short name of a cut name has no tail")
	}
	date := []byte{0x64, 0x5c} // 2026-03-04
	for _, field := range []int{16, 18, 24} {
		if got := m[at+field : at+field+2]; !bytes.Equal(got, date) {
			t.Errorf("date at byte %d is % x", field, got)
		}
	}
}

func TestEmptyTreeTakesTheRootsCluster(t *testing.T) {
	for _, s := range shapes {
		o := s.opts
		o.Label = ""
		used, err := fat.Used(s.size, o, stream(dir(".")))
		if err != nil {
			t.Fatal(err)
		}
		f := write(t, s.size, o, stream(dir(".")))
		fsys, err := fat.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		if c := fsys.Info().ClusterSize; used%c != 0 {
			t.Errorf("%s: data begins at %d, not on a multiple of its clusters of %d", s.name, used, c)
		}
		if fsck := tooltest.Need(t, "fsck.fat"); s.bits == 32 {
			if out := run(t, fsck, "-n", f.Name()); !strings.Contains(out, "1/") {
				t.Errorf("%s: the root has no cluster:\n%s", s.name, out)
			}
		}
	}
}

func TestTimesAreKeptInRange(t *testing.T) {
	m := make(memory, 2*mib)
	old, late := file("OLD", "x"), file("LATE", "x")
	old.ModTime, late.ModTime = time.Unix(0, 0), time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)
	none := file("NONE", "x")
	none.ModTime = time.Time{}
	if err := fat.Write(m, 2*mib, fat.Options{Time: when}, stream(dir("."), late, none, old)); err != nil {
		t.Fatal(err)
	}
	fsys, err := fat.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for e, err := range fsys.Tree() {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Path] = e.ModTime.Format(time.DateTime)
	}
	want := map[string]string{".": "0001-01-01 00:00:00", "OLD": "1980-01-01 00:00:00", "LATE": "2107-12-31 23:59:58", "NONE": when.Format(time.DateTime)}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
