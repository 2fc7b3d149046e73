package ostree

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"golang.org/x/sys/unix"
)

// tortureTree writes files with every attribute that the file system and the
// user running the test allow.
func tortureTree(t *testing.T, root string) {
	t.Helper()
	mkdir := func(name string, mode fs.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name, content string, mode fs.FileMode) string {
		t.Helper()
		p := filepath.Join(root, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	mkdir("usr/bin", 0o755)
	mkdir("usr/share/ünï", 0o2775&0o777|fs.ModeSetgid)
	mkdir("tmp", 0o777|fs.ModeSticky)
	put("usr/bin/setuid", "#!/bin/sh\n", 0o755|fs.ModeSetuid)
	put("usr/empty", "", 0o644)
	put("usr/large", strings.Repeat("block", 40000), 0o400)
	for i := range 300 {
		put("usr/share/ünï/"+strings.Repeat("n", 1+i%200)+string(rune('a'+i%26)), strings.Repeat("x", i), 0o644)
	}
	marked := put("usr/marked", "attributes", 0o640)
	for name, size := range map[string]int{"user.long": 3000, "user.a": 1, "user.empty": 0} {
		if err := unix.Lsetxattr(marked, name, bytes.Repeat([]byte{0xff}, size), 0); err != nil {
			t.Logf("no extended attributes here: %v", err)
			break
		}
	}
	for name, target := range map[string]string{"bin": "usr/bin", "usr/long": strings.Repeat("../", 60), "usr/ü": "ünï"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		for _, name := range []string{"usr/marked", "usr/long", "tmp"} {
			if err := os.Lchown(filepath.Join(root, name), 1000, 70000); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func xattrsOf(t *testing.T, path string) Xattrs {
	t.Helper()
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, list)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	x := Xattrs{}
	for name := range strings.SplitSeq(string(list[:max(n, 0)]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		x[name] = value[:n]
	}
	return x
}

// headerOf reads the attributes of a content object, and its content.
func headerOf(t *testing.T, path string) (FileHeader, []byte) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	h := FileHeader{UID: st.Uid, GID: st.Gid, Mode: st.Mode, Xattrs: xattrsOf(t, path)}
	var content []byte
	if info.Mode().Type() == fs.ModeSymlink {
		h.Symlink, err = os.Readlink(path)
	} else {
		content, err = os.ReadFile(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h, content
}

// call runs ostree in a locale in which it takes and prints UTF-8.
func call(t *testing.T, ostree string, args []string) ([]byte, error) {
	return tool.Cmd{Name: ostree, Args: args, Env: []string{"LC_ALL=C.UTF-8"}}.Run(t.Context())
}

func TestOracleRepository(t *testing.T) {
	ostree := tooltest.Need(t, "ostree")
	dir := t.TempDir()
	src, repo := filepath.Join(dir, "src"), filepath.Join(dir, "repo")
	tortureTree(t, src)
	run := func(args ...string) string {
		t.Helper()
		out, err := call(t, ostree, append([]string{"--repo=" + repo}, args...))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "--mode=bare")
	run("commit", "-b", "first", "-s", "one", src)
	head := run("commit", "-b", "first", "-s", "two", "-m", "bödy\n", "--timestamp=@1700000000",
		"--add-metadata-string=version=1.0", "--add-metadata=n=uint64 5", "--add-metadata=l=['a','b']", "--add-metadata=odd=(1,@ms nothing,{'k':<true>})", src)

	count := map[Kind]int{}
	err := filepath.WalkDir(filepath.Join(repo, "objects"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			count[checkObject(t, path)]++
		}
		return err
	})
	if err != nil || count[KindFile] < 300 || count[KindCommit] != 2 || count[KindDirTree] < 4 {
		t.Errorf("objects: %v, %v", count, err)
	}
	checkHead(t, repo, head)
}

// checkObject recomputes the name of an object, and encodes what it parses.
func checkObject(t *testing.T, path string) Kind {
	t.Helper()
	name, ext, _ := strings.Cut(filepath.Base(path), ".")
	want := filepath.Base(filepath.Dir(path)) + name
	kind := Kind(ext)
	if kind == KindFile {
		h, content := headerOf(t, path)
		if got := FileChecksum(h, content).String(); got != want {
			t.Errorf("%s.file has the checksum %s", want, got)
		}
		if err := h.Check(); err != nil {
			t.Errorf("%s.file: %v", want, err)
		}
		return kind
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var again []byte
	switch kind {
	case KindDirTree:
		var d DirTree
		d, err = ParseDirTree(b)
		again = d.Encode()
	case KindDirMeta:
		var d DirMeta
		d, err = ParseDirMeta(b)
		again = d.Encode()
	case KindCommit:
		_, err = ParseCommit(b)
		again = b // keys need not be sorted
	}
	if err != nil || !bytes.Equal(again, b) || ChecksumOf(b).String() != want {
		t.Errorf("%s.%s: %v, or it encodes differently", want, kind, err)
	}
	return kind
}

func checkHead(t *testing.T, repo, head string) {
	t.Helper()
	sum := mustSum(t, head)
	b, err := os.ReadFile(filepath.Join(repo, sum.ObjectPath(KindCommit)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCommit(b)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "two" || c.Body != "bödy\n" || c.Timestamp != 1700000000 || c.Parent == nil {
		t.Errorf("commit: %+v", c)
	}
	if v, err := c.Metadata["version"].Text(); v != "1.0" || err != nil {
		t.Errorf("version %q, %v", v, err)
	}
	if v, err := c.Metadata["n"].Uint(); v != 5 || err != nil {
		t.Errorf("n %d, %v", v, err)
	}
	if v, err := c.Metadata["l"].Strings(); strings.Join(v, ",") != "a,b" || err != nil {
		t.Errorf("l %v, %v", v, err)
	}
	if got := c.Metadata["odd"].Type; got != "(imsa{sv})" {
		t.Errorf("odd has type %s", got)
	}
}

// store writes objects into a bare repository.
type store struct {
	t    *testing.T
	repo string
}

func (s store) put(sum Checksum, k Kind, b []byte) Checksum {
	s.t.Helper()
	path := filepath.Join(s.repo, sum.ObjectPath(k))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		s.t.Fatal(err)
	}
	return sum
}

func (s store) meta(k Kind, b []byte) Checksum { return s.put(ChecksumOf(b), k, b) }

func (s store) file(content string, mode uint32) Checksum {
	s.t.Helper()
	h := FileHeader{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Mode: ModeRegular | mode}
	sum := s.put(FileChecksum(h, []byte(content)), KindFile, []byte(content))
	if err := os.Chmod(filepath.Join(s.repo, sum.ObjectPath(KindFile)), FileMode(h.Mode).Perm()); err != nil {
		s.t.Fatal(err)
	}
	return sum
}

func (s store) symlink(target string) Checksum {
	s.t.Helper()
	h := FileHeader{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Mode: SymlinkMode, Symlink: target}
	sum := FileChecksum(h, nil)
	path := filepath.Join(s.repo, sum.ObjectPath(KindFile))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
		s.t.Fatal(err)
	}
	return sum
}

// TestOracleFsck writes a repository without ostree, and lets ostree judge it.
func TestOracleFsck(t *testing.T) {
	ostree := tooltest.Need(t, "ostree")
	s := store{t, filepath.Join(t.TempDir(), "repo")}
	for _, dir := range RepoDirs() {
		if err := os.MkdirAll(filepath.Join(s.repo, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.repo, "config"), []byte(RepoConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	meta := s.meta(KindDirMeta, DirMeta{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Mode: ModeDir | 0o755, Xattrs: Xattrs{"user.x": []byte("y")}}.Encode())
	sub := s.meta(KindDirTree, DirTree{Files: []FileEntry{{"ü", s.file("sub", 0o600)}}}.Encode())
	var root DirTree
	root.Dirs = append(root.Dirs, DirEntry{"sub", sub, meta})
	root.Files = append(root.Files, FileEntry{"link", s.symlink("sub/ü")}, FileEntry{"empty", s.file("", 0o644)})
	for i := range 500 {
		root.Files = append(root.Files, FileEntry{strings.Repeat("f", 1+i%100) + string(rune('a'+i/100)), s.file(strings.Repeat("c", i), 0o755)})
	}
	c := Commit{
		Metadata: map[string]Value{"ostree.importer.version": StringValue("1"), "list": StringsValue([]string{"a"}), "number": Uint64Value(3)},
		Subject:  "subject", Timestamp: 1700000000, Root: s.meta(KindDirTree, root.Encode()), RootMeta: meta,
	}
	sum := s.meta(KindCommit, c.Encode())
	ref, err := ImageRef("docker://example.com/os/t:latest")
	if err != nil {
		t.Fatal(err)
	}
	name, err := RefFile(ref)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.repo, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(RefContent(sum)), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"fsck", "object fsck of 1 commits completed successfully - no errors found."},
		{"refs --list", ref},
		{"config get core.mode", "bare"},
		{"config get sysroot.bootloader", "none"},
		{"config get sysroot.bootprefix", "true"},
		{"config get sysroot.readonly", "true"},
		{"show " + ref, c.ContentChecksum().String()},
		{"show --print-metadata-key=list " + ref, "['a']"},
		{"ls -R " + ref + " /sub", "/sub/ü"},
	} {
		out, err := call(t, ostree, append([]string{"--repo=" + s.repo}, strings.Fields(c.args)...))
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("ostree %s: %v, %.500s", c.args, err, out)
		}
	}
}
