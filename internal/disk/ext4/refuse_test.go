package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tree"
)

func finishError(t *testing.T, s tree.Stream) error {
	t.Helper()
	w, err := NewWriter(newMemDevice(), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Finish(context.Background(), s, exactly(0))
	return err
}

func TestTreesThatAreRefused(t *testing.T) {
	file := func(path string) tree.Entry { return tree.Entry{Path: path, Mode: 0o644} }
	dir := func(path string) tree.Entry { return tree.Entry{Path: path, Mode: fs.ModeDir | 0o755} }
	with := func(name string, n int) tree.Entry {
		return tree.Entry{Path: "a", Mode: 0o644, Xattrs: map[string][]byte{name: make([]byte, n)}}
	}
	for _, c := range []struct {
		want    string
		entries []tree.Entry
	}{
		{`adding "b/c": there is no directory "b" before it`, []tree.Entry{file("b/c")}},
		{`there is no directory "a" before it`, []tree.Entry{file("a"), file("a/b")}},
		{`"a" comes after "b"`, []tree.Entry{file("b"), file("a")}},
		{`"a" comes after "a"`, []tree.Entry{file("a"), dir("a")}},
		{"the root must come first, and once", []tree.Entry{dir("."), dir(".")}},
		{"the root must come first, and once", []tree.Entry{file("a"), dir(".")}},
		{"must be a directory", []tree.Entry{file(".")}},
		{"must be a directory", []tree.Entry{file("lost+found")}},
		{"not a clean path", []tree.Entry{file("")}},
		{"not a clean path", []tree.Entry{file("a/")}},
		{"not a clean path", []tree.Entry{file("..")}},
		{"no directory \"\" before it", []tree.Entry{file("/a")}},
		{"not a clean path", []tree.Entry{dir("a"), file("a/.")}},
		{"not a clean path", []tree.Entry{file("./a")}},
		{"not a clean path", []tree.Entry{file("a\x00b")}},
		{"a name of 256 bytes", []tree.Entry{file(strings.Repeat("n", 256))}},
		{"no such file before it", []tree.Entry{{Path: "a", Mode: 0o644, Link: "b"}, file("b")}},
		{"is a directory", []tree.Entry{dir("a"), {Path: "b", Mode: 0o644, Link: "a"}}},
		{`hard link to "x/y"`, []tree.Entry{{Path: "b", Mode: 0o644, Link: "x/y"}}},
		{"a target of 0 bytes", []tree.Entry{{Path: "l", Mode: fs.ModeSymlink | 0o777}}},
		{"a target of 4096 bytes", []tree.Entry{{Path: "l", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("t", 4096)}}},
		{"symbolic links have", []tree.Entry{{Path: "l", Mode: fs.ModeSymlink | 0o777, Link: "a\x00b"}}},
		{"owner -1:0 does not fit", []tree.Entry{{Path: "a", Mode: 0o644, UID: -1}}},
		{"owner 0:4294967296 does not fit", []tree.Entry{{Path: "a", Mode: 0o644, GID: 1 << 32}}},
		{"device number 4096:0", []tree.Entry{{Path: "a", Mode: fs.ModeDevice, Rdev: [2]uint32{4096, 0}}}},
		{"device number 0:1048576", []tree.Entry{{Path: "a", Mode: fs.ModeDevice, Rdev: [2]uint32{0, 1 << 20}}}},
		{"ext4 has no files of type", []tree.Entry{{Path: "a", Mode: fs.ModeIrregular}}},
		{"only files and directories can be immutable", []tree.Entry{{Path: "a", Mode: fs.ModeNamedPipe, Immutable: true}}},
		{"ext4 keeps only user", []tree.Entry{with("system.data", 3)}},
		{"ext4 keeps only user", []tree.Entry{with("selinux", 3)}},
		{"ext4 keeps only user", []tree.Entry{with("user.", 3)}},
		{"ext4 keeps only user", []tree.Entry{with("system.posix_acl_accessx", 3)}},
		{"name does not fit", []tree.Entry{with("user."+strings.Repeat("n", 256), 3)}},
		{"name does not fit", []tree.Entry{with("user.a\x00b", 3)}},
		{"ext4 keeps at most 4096 outside the inode", []tree.Entry{with("user.big", 4096)}},
		{"value of 70000 bytes", []tree.Entry{with("user.big", 70000)}},
		{"not a valid POSIX ACL", []tree.Entry{with("system.posix_acl_access", 12)}},
		{"unexpected EOF", []tree.Entry{{Path: "a", Mode: 0o644, Content: wrongSize{tree.Text("x"), 9}}}},
		{"more than the 0 bytes", []tree.Entry{{Path: "a", Mode: 0o644, Content: wrongSize{tree.Text("x"), 0}}}},
		{"opening its content: gone", []tree.Entry{{Path: "a", Mode: 0o644, Content: gone{}}}},
	} {
		if err := finishError(t, stream(c.entries...)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.want, err)
		}
	}
}

type wrongSize struct {
	tree.Content
	size int64
}

func (w wrongSize) Size() int64 { return w.size }

type gone struct{}

func (gone) Size() int64                  { return 1 }
func (gone) Open() (io.ReadCloser, error) { return nil, errors.New("gone") }

func TestLinkLimit(t *testing.T) {
	s := func(links int) tree.Stream {
		return func(yield func(tree.Entry, error) bool) {
			ok := yield(tree.Entry{Path: "a", Mode: 0o644}, nil)
			for i := 1; ok && i < links; i++ {
				ok = yield(tree.Entry{Path: fmt.Sprintf("b%06d", i), Mode: 0o644, Link: "a"}, nil)
			}
		}
	}
	if err := finishError(t, s(65_000)); err != nil {
		t.Error(err)
	}
	if err := finishError(t, s(65_001)); err == nil || !strings.Contains(err.Error(), "65000 links") {
		t.Error(err)
	}
}

// TestManySubdirectories has more of them than a link count can say.
func TestManySubdirectories(t *testing.T) {
	d := newDevice(t)
	w, err := NewWriter(d, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	s := func(yield func(tree.Entry, error) bool) {
		for i := range 65_100 {
			if !yield(tree.Entry{Path: fmt.Sprintf("%06d", i), Mode: fs.ModeDir | 0o755}, nil) {
				return
			}
		}
	}
	finish(t, w, s, 0)
	fsck(t, d.Name())
	if out := debugfs(t, d.Name(), "stat /"); !strings.Contains(out, "Links: 1 ") {
		t.Errorf("the root's links: %s", out)
	}
}

func TestStreamErrorEndsFinish(t *testing.T) {
	cause := errors.New("layer is damaged")
	err := finishError(t, func(yield func(tree.Entry, error) bool) { yield(tree.Entry{}, cause) })
	if !errors.Is(err, cause) {
		t.Error(err)
	}
}

func TestCancelEndsFinish(t *testing.T) {
	w, err := NewWriter(newMemDevice(), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := func(yield func(tree.Entry, error) bool) {
		for i := range 100_000 {
			if i == 1000 {
				cancel()
			}
			if !yield(tree.Entry{Path: fmt.Sprintf("%06d", i), Mode: 0o644}, nil) {
				return
			}
		}
		t.Error("the whole stream was read")
	}
	if _, err := w.Finish(ctx, s, exactly(0)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestFinishNeedsClosedArenas(t *testing.T) {
	w, err := NewWriter(newMemDevice(), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	a := w.NewArena(0)
	if _, err := w.Finish(context.Background(), stream(), exactly(0)); err == nil {
		t.Error("finished with an open arena")
	}
	a.Close()
	if _, err := w.Finish(context.Background(), stream(), exactly(0)); err != nil {
		t.Error(err)
	}
	if _, err := w.Finish(context.Background(), stream(), exactly(0)); err == nil {
		t.Error("finished twice")
	}
}

func TestDiscardedContentIsRefused(t *testing.T) {
	w, err := NewWriter(newMemDevice(), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	a := w.NewArena(0)
	d, err := a.Put(strings.NewReader("x"), 1)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if err := w.Discard(d); err != nil {
		t.Fatal(err)
	}
	_, err = w.Finish(context.Background(), stream(tree.Entry{Path: "a", Mode: 0o644, Content: d}), exactly(0))
	if err == nil || !strings.Contains(err.Error(), "discarded") {
		t.Error(err)
	}
}
