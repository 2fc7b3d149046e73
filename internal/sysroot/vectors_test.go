package sysroot

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/layer/layertest"
	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/tree"
)

// plainStore holds content in memory.
type plainStore struct{}

func (plainStore) NewArena(int64) (Arena, error) { return plainStore{}, nil }
func (plainStore) Discard(tree.Content) error    { return nil }
func (plainStore) Abort(error)                   {}
func (plainStore) Close() error                  { return nil }
func (plainStore) Put(r io.Reader, size int64) (tree.Content, error) {
	b, err := io.ReadAll(io.LimitReader(r, size))
	c := tree.Text(b)
	return &c, err
}

// torture is an image with every rule of the importer in it: whiteouts, opaque
// folders, folders for files and back, hard links, folders that no member names.
func torture(t *testing.T) [][]byte {
	t.Helper()
	dir, file, link, hard := layertest.Dir, layertest.File, layertest.Link, layertest.Hard
	var a []layertest.Entry
	for _, d := range strings.Fields("usr usr/bin usr/lib usr/lib/modules usr/lib/modules/6.1.0 usr/lib/ostree usr/share usr/share/doc etc var var/lib boot sysroot run") {
		a = append(a, dir("./"+d, 0o755))
	}
	a = append(a, dir("./tmp", 0o1777), dir("./dev", 0o755), dir("./proc", 0o755), dir("./sys", 0o755),
		link("ostree", "sysroot/ostree"), link("bin", "usr/bin"),
		file("usr/lib/os-release", 0o644, "NAME=\"T\"\nID=t\nPRETTY_NAME=\"T Linux 1\"\nVERSION_ID=1\n"),
		file("usr/lib/modules/6.1.0/vmlinuz", 0o755, strings.Repeat("KERNEL", 100)),
		file("usr/lib/modules/6.1.0/initramfs.img", 0o600, strings.Repeat("INITRD", 200)),
		file("usr/lib/ostree/prepare-root.conf", 0o644, "[composefs]\nenabled = yes\n"),
		file("usr/bin/a", 0o4755, "#!/bin/sh\n"), hard("usr/bin/b", "usr/bin/a"),
		file("usr/bin/cap", 0o755, "capfile").Xattr("security.capability", "\x01\x00\x00\x02\x00\x04\x00\x00"+strings.Repeat("\x00", 12)),
		file("usr/share/empty1", 0o644, ""), file("usr/share/empty2", 0o644, ""), hard("usr/share/empty3", "usr/share/empty2"),
		file("usr/share/uid", 0o640, "uid").Own(1000, 70000).Xattr("user.zed", "z").Xattr("user.abc", strings.Repeat("long", 10)),
		dir("usr/share/dperm", 0o2775).Own(5, 6).Xattr("user.dir", "d"),
		file("usr/share/dperm/x", 0o644, "1"), file("usr/share/dperm/y", 0o644, "2"),
		dir("usr/share/op", 0o755), file("usr/share/op/gone", 0o644, "g"), file("usr/share/op/stay", 0o644, "s"),
		dir("usr/share/todel", 0o755), file("usr/share/todel/q", 0o644, "q"),
		file("usr/share/f2d", 0o644, "f"), dir("usr/share/d2f", 0o755), file("usr/share/d2f/in", 0o644, "in"),
		link("usr/share/l2d", "op"), dir("usr/share/d2l", 0o755), file("usr/share/d2l/inner", 0o644, ""),
		file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n"), file("etc/shadow", 0, "root:*:::::::\n"),
		file("etc/hostname", 0o644, ""), file("etc/resolv.conf", 0o644, ""), hard("etc/passwd-", "etc/passwd"),
		file("var/lib/content", 0o644, "v"), file("run/secret", 0o644, "n"), file("tmp/junk", 0o644, "j"),
		file("opt/thing", 0o644, "o"), link("home", "var/home"),
		file("usr/share/"+strings.Repeat("n", 120)+"/"+strings.Repeat("m", 130), 0o644, "long"),
		file("usr/share/ünïcode", 0o644, "u"), dir("usr/share/implicit", 0o700))
	b := []layertest.Entry{dir("usr", 0o755), dir("usr/share", 0o755),
		dir("usr/share/dperm", 0o700).Own(9, 9), file("usr/share/dperm/.wh.x", 0o644, ""), file("usr/share/dperm/z", 0o644, "3"),
		dir("usr/share/op", 0o711), file("usr/share/op/.wh..wh..opq", 0o644, ""), file("usr/share/op/new", 0o644, "n"),
		file("usr/share/.wh.todel", 0o644, ""),
		dir("usr/share/f2d", 0o755), file("usr/share/f2d/now", 0o644, "dir"), file("usr/share/d2f", 0o644, "nowfile"),
		dir("usr/share/l2d", 0o755), file("usr/share/l2d/k", 0o644, "k"), link("usr/share/d2l", "f2d"),
		file("usr/bin/a", 0o755, "#!/bin/sh\n#2\n"),
		file("etc/newdir/deep/file", 0o644, "implicit").Own(3, 4), file("etc/.wh.passwd-", 0o644, ""),
		file("var/lib/content2", 0o644, "v2"), dir("usr/share/implicit", 0o755)}
	return [][]byte{layertest.Tar(t, a...), layertest.Tar(t, b...), layertest.Tar(t)}
}

func readTorture(t *testing.T, compression ...string) *Tree {
	t.Helper()
	dir := t.TempDir()
	im := layertest.Image{Labels: map[string]string{"containers.bootc": "1"}, Created: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)}
	for i, b := range torture(t) {
		im.Layers = append(im.Layers, layertest.Layer{Tar: b, Compression: compression[i%len(compression)]})
	}
	layertest.Write(t, dir, im)
	img, err := layer.Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := Read(context.Background(), img, plainStore{}, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// The checksums are those that bootc 1.16.9 gave the commits of this image.
func TestCommitsEqualTheRealImporters(t *testing.T) {
	for _, c := range [][]string{{""}, {"gzip"}, {"zstd", "gzip", ""}} {
		tr := readTorture(t, c...)
		r := newRepository(tr)
		merge, err := r.commits(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"332d300ad0e0a0f420f2533809d681c43a6cc48fb9b24f4fb5c2828e99d48e82",
			"5ade67cb264a6c0d9573f31c63a0d81df22156957ff880b28f345115c4843e28",
			"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
			"c097b98beca39bb8b0ea2569436a600f76550d479e4a26b8715c98042247a112",
		}
		for i, d := range tr.Image.Layers {
			ref, err := ostree.BlobRef(d.Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			checkRoot(t, r, r.refs[ref], want[i])
		}
		checkRoot(t, r, merge, want[3])
	}
}

func checkRoot(t *testing.T, r *repository, commit ostree.Checksum, want string) {
	t.Helper()
	c, err := ostree.ParseCommit(r.metas[commit].data)
	if err != nil {
		t.Fatal(err)
	}
	if c.Root.String() != want {
		t.Errorf("commit %s: root %s, want %s", commit, c.Root, want)
	}
	if c.RootMeta.String() != "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488" {
		t.Errorf("commit %s: attributes of the root %s", commit, c.RootMeta)
	}
}
