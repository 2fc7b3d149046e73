package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"github.com/aitheros/aither-image/internal/tree"
)

// run runs a program that the test needs.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	tooltest.Need(t, name)
	out, err := tool.Run(context.Background(), name, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// nastyImage is a file with the nasty tree in it.
func nastyImage(t testing.TB, o Options, size int64) (string, []tree.Entry) {
	t.Helper()
	d, b := newDevice(t), nastyTree()
	writeTree(t, d, b, o, size)
	return d.Name(), b.sorted()
}

func compareImage(t testing.TB, path string, want []tree.Entry) *FS {
	t.Helper()
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	f, err := Open(r)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, f, want)
	return f
}

func TestResize(t *testing.T) {
	for _, step := range []struct {
		name       string
		from, to   int64
		wantGroups int
	}{
		{"grow in the last flexible group", 700 << 20, 1 << 30, 8},
		{"grow over several", 700 << 20, 9 << 30, 72},
		{"grow to a terabyte", 1 << 30, 1 << 40, 8192},
		{"shrink", 5 << 30, 1 << 30, 8},
	} {
		t.Run(step.name, func(t *testing.T) {
			path, want := nastyImage(t, testOptions(), step.from)
			if err := os.Truncate(path, max(step.from, step.to)); err != nil {
				t.Fatal(err)
			}
			run(t, "resize2fs", "-f", path, fmt.Sprintf("%dK", step.to>>10))
			fsck(t, path)
			f := compareImage(t, path, want)
			if f.groups != uint64(step.wantGroups) {
				t.Errorf("%d groups, want %d", f.groups, step.wantGroups)
			}
		})
	}
}

func TestNewUUID(t *testing.T) {
	path, want := nastyImage(t, testOptions(), 700<<20)
	before := blocksOf(t, path)
	run(t, "tune2fs", "-U", "99999999-2222-3333-4444-555555555555", path)
	fsck(t, path)
	f := compareImage(t, path, want)
	if f.info.UUID[0] != 0x99 {
		t.Errorf("UUID is %x", f.info.UUID)
	}
	if n := blocksOf(t, path) - before; n > 1<<20 {
		t.Errorf("a new UUID took %d bytes: checksums were written anew", n)
	}
}

func blocksOf(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestOptimizedDirectories(t *testing.T) {
	path, want := nastyImage(t, testOptions(), 700<<20)
	tooltest.Need(t, "e2fsck")
	_, err := tool.Run(context.Background(), "e2fsck", "-fyD", path)
	if err != nil && !strings.Contains(err.Error(), "exit status 1") {
		t.Fatal(err)
	}
	fsck(t, path)
	compareImage(t, path, want)
}

// TestDebugfs reads the tree with another implementation.
func TestDebugfs(t *testing.T) {
	path, want := nastyImage(t, testOptions(), 700<<20)
	out := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	debugfs(t, path, "rdump /sizes /types /attrs "+out)
	for _, e := range want {
		if !strings.HasPrefix(e.Path, "sizes/") {
			continue
		}
		got, err := os.ReadFile(filepath.Join(out, e.Path))
		if err != nil {
			t.Fatal(err)
		}
		if d := diffContent(tree.Bytes(got), e.Content); d != "" {
			t.Errorf("%s: %s", e.Path, d)
		}
	}
	for _, c := range []struct{ command, want string }{
		{"stat /types/suid", "Mode:  04755"},
		{"stat /types/suid", "User: -2147483643   Group:    -2"},
		{"stat /types/disk", "Device major/minor number: 259:70000"},
		{"stat /types/null", "Device major/minor number: 01:03"},
		{"stat /types/immutable", "Flags: 0x80010"},
		{"stat /links/n5000", "Links: 5001"},
		{"stat /times/5", "mtime: 0x80000000:ee6b27fd"},
		{"stat /many", "Flags: 0x81000"},
		{"stat /lost+found", "Size: 16384"},
		{"ea_get -x /attrs/acl system.posix_acl_access", "02 00 00 00 01 00 07 00 00 00 00 00 02 00 05 00 e8 03 00 00"},
		{"ea_list /attrs/both", `security.selinux (33) = "system_u:object_r:bin_t:s0:c1,c2\000"`},
		{"ea_list /attrs/both", "user.empty (0)"},
	} {
		if got := debugfs(t, path, c.command); !strings.Contains(got, c.want) {
			t.Errorf("debugfs %s lacks %q:\n%s", c.command, c.want, got)
		}
	}
}

// TestGRUB reads files as the boot loader does.
func TestGRUB(t *testing.T) {
	tooltest.Need(t, "grub-fstest")
	path, want := nastyImage(t, testOptions(), 700<<20)
	local := filepath.Join(t.TempDir(), "content")
	for _, e := range want {
		inside := "/" + e.Path
		if e.Content == nil || !strings.HasPrefix(e.Path, "sizes/") && !strings.HasPrefix(e.Path, "types/") {
			continue
		}
		if err := writeFile(local, e.Content); err != nil {
			t.Fatal(err)
		}
		if e.Content.Size() > 0 { // it has nothing to compare in an empty file
			run(t, "grub-fstest", path, "cmp", "(loop0)"+inside, local)
		}
	}
	for inside, want := range map[string]string{"/links/n4999": "shared", "/attrs/link": "#!", "/names/ünï": string(pattern(2, 100))} {
		if got := run(t, "grub-fstest", path, "cat", "(loop0)"+inside); got != want {
			t.Errorf("%s: %q, want %q", inside, got, want)
		}
	}
	if got := run(t, "grub-fstest", path, "ls", "(loop0)/many/"); strings.Count(got, "-") < 6000 {
		t.Errorf("the large directory has %d names", strings.Count(got, "-"))
	}
}

func TestLikeMke2fs(t *testing.T) {
	d := newDevice(t)
	writeTree(t, d, newBuilder(), testOptions(), 10<<30)
	other := filepath.Join(t.TempDir(), "mke2fs.img")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(other, 10<<30); err != nil {
		t.Fatal(err)
	}
	run(t, "mke2fs", "-q", "-t", "ext4", "-O", "verity,metadata_csum_seed,^orphan_file", "-L", "root",
		"-U", "11223344-5566-4788-99aa-bbccddeeff01", other)
	// What may differ: times, the hash seed, one block of growth, and what follows from them.
	differs := []string{"time", "created", "checked", "Lifetime", "Hash Seed", "Checksum:", "Reserved GDT", "Free blocks", "Overhead"}
	lines := func(path string) []string {
		list := strings.Split(run(t, "dumpe2fs", "-h", path), "\n")
		return slices.DeleteFunc(list, func(l string) bool {
			return slices.ContainsFunc(differs, func(d string) bool { return strings.Contains(l, d) })
		})
	}
	if got, want := lines(d.Name()), lines(other); !slices.Equal(got, want) {
		t.Errorf("dumpe2fs -h says\n%s\nwhere mke2fs's file system has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	f := compareImage(t, other, []tree.Entry{{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: rootTime(t, other)}})
	if f.Info().Label != "root" {
		t.Errorf("label %q", f.Info().Label)
	}
}

func rootTime(t testing.TB, path string) time.Time {
	t.Helper()
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := Open(r)
	if err != nil {
		t.Fatal(err)
	}
	e, err := f.Lookup(".")
	if err != nil {
		t.Fatal(err)
	}
	return e.ModTime
}

// TestReadMke2fs reads a tree that mke2fs copied, with its own shapes of
// directories and extents.
func TestReadMke2fs(t *testing.T) {
	tooltest.Need(t, "mke2fs")
	dir := t.TempDir()
	b := newBuilder()
	for i := range 3000 {
		b.add(tree.Entry{Path: fmt.Sprintf("file-%d", i), Mode: 0o640, Content: tree.Bytes(pattern(uint64(i), i))})
	}
	b.add(tree.Entry{Path: "link", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("l", 200)})
	for _, e := range b.sorted() {
		p := filepath.Join(dir, e.Path)
		var err error
		if e.Link != "" {
			err = os.Symlink(e.Link, p)
		} else {
			err = writeFile(p, e.Content)
		}
		if err == nil {
			err = unix.Lutimes(p, []unix.Timeval{{Sec: testTime.Unix()}, {Sec: testTime.Unix()}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, blocks := range []string{"1024", "4096"} {
		img := filepath.Join(t.TempDir(), "img")
		run(t, "mke2fs", "-q", "-t", "ext4", "-b", blocks, "-E", "root_owner=0:0", "-d", dir, img, "64M")
		run(t, "e2fsck", "-fyD", img)
		r, err := os.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		f, err := Open(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range b.sorted() {
			got, err := f.Lookup(want.Path)
			if err != nil {
				t.Fatal(err)
			}
			got.UID, got.GID, got.Xattrs = 0, 0, nil
			if d := diffEntry(&got, &want); d != "" {
				t.Fatalf("%s: %s: %+v", want.Path, d, got)
			}
		}
	}
}

func writeFile(path string, c tree.Content) error {
	b, err := readContent(c)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o640)
}

// TestMount lets the kernel read the tree, change it and grow it, where it may.
func TestMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	tooltest.Need(t, "mount")
	tooltest.Need(t, "losetup")
	path, want := nastyImage(t, testOptions(), 700<<20)
	out, err := tool.Run(context.Background(), "losetup", "-f", "--show", path)
	if err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	loop, dir := strings.TrimSpace(string(out)), t.TempDir()
	defer run(t, "losetup", "-d", loop)
	if _, err := tool.Run(context.Background(), "mount", "-t", "ext4", loop, dir); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Run("use", func(t *testing.T) {
		defer run(t, "umount", dir)
		for _, e := range want {
			checkMounted(t, filepath.Join(dir, e.Path), &e)
		}
		if err := os.WriteFile(filepath.Join(dir, "many", "new"), []byte("new"), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Remove(filepath.Join(dir, "many", "-0")); err != nil {
			t.Error(err)
		}
	})
	needUnmounted(t, path)
	fsck(t, path)
	t.Run("grow", func(t *testing.T) {
		run(t, "mount", "-t", "ext4", loop, dir)
		defer run(t, "umount", dir)
		growOnline(t, path, loop, dir)
	})
	needUnmounted(t, path)
	fsck(t, path)
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := Open(r)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := f.Lookup("many/new"); err != nil || e.Content.Size() != 3 {
		t.Errorf("the new file: %+v, %v", e, err)
	}
}

// needUnmounted skips the rest where another mount namespace, cloned meanwhile,
// keeps the file system mounted.
func needUnmounted(t *testing.T, path string) {
	t.Helper()
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = Open(r)
	if u := (*UnsupportedError)(nil); errors.As(err, &u) && u.Feature == "needs_recovery" {
		t.Skip("the file system is still mounted elsewhere")
	}
}

// growOnline grows the mounted file system from 700 MiB to 5 GiB.
func growOnline(t *testing.T, path, loop, dir string) {
	t.Helper()
	if err := os.Truncate(path, 5<<30); err != nil {
		t.Fatal(err)
	}
	run(t, "losetup", "-c", loop)
	tooltest.Need(t, "resize2fs")
	if _, err := tool.Run(context.Background(), "resize2fs", loop); err != nil {
		if strings.Contains(err.Error(), "Permission denied") {
			t.Skip("growing a mounted file system is not allowed here")
		}
		t.Fatal(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*blockSize < 4<<30 {
		t.Errorf("grown to %d blocks", st.Blocks)
	}
}

func checkMounted(t *testing.T, path string, e *tree.Entry) {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if e.IsHardLink() {
		return
	}
	if st.Mode() != e.Mode || !st.ModTime().Equal(e.ModTime) {
		t.Errorf("%s: mode %v, time %v; want %v, %v", path, st.Mode(), st.ModTime(), e.Mode, e.ModTime)
	}
	for name, want := range e.Xattrs {
		got := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, got)
		if err != nil || string(got[:max(n, 0)]) != string(want) {
			t.Errorf("%s: %s is %q, %v; want %q", path, name, got[:max(n, 0)], err, want)
		}
	}
	if e.Content == nil {
		return
	}
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if d := diffContent(tree.Bytes(got), e.Content); d != "" {
		t.Errorf("%s: %s", path, d)
	}
}
