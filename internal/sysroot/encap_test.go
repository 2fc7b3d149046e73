package sysroot

import (
	"archive/tar"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/layer/layertest"
	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"github.com/aitheros/aither-image/internal/tree"
)

// encapsulate writes the commit of a tree as exporters do: a commit layer with
// all metadata, and one chunk that holds every second file. With late, the
// attributes of a file follow it, and are shared hard links.
func encapsulate(t *testing.T, plain *layer.Image, late bool) (layers [2][]layertest.Entry, commit ostree.Checksum) {
	t.Helper()
	tr, err := Read(context.Background(), plain, plainStore{}, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRepository(tr)
	if err := r.hash(context.Background(), tr.root); err != nil {
		t.Fatal(err)
	}
	c := ostree.Commit{Timestamp: 1700000000, Metadata: map[string]ostree.Value{"version": ostree.StringValue("9.1"), "ostree.linux": ostree.StringValue("6.1.0")}}
	c.Root, c.RootMeta = r.addTree(tr.root, "")
	commit = r.addCommit(c)
	object := func(sum ostree.Checksum, ending string) string {
		return "sysroot/ostree/repo/objects/" + sum.String()[:2] + "/" + sum.String()[2:] + "." + ending
	}
	layers[0] = append(layers[0], layertest.File(object(commit, "commit"), 0o644, string(r.metas[commit].data)))
	for _, sum := range sortedSums(r.metas) {
		if sum != commit {
			layers[0] = append(layers[0], layertest.File(object(sum, string(r.metas[sum].kind)), 0o644, string(r.metas[sum].data)))
		}
	}
	for i, sum := range sortedSums(r.objects) {
		o := r.objects[sum]
		x := layertest.File(object(sum, "file-xattrs-link"), 0o644, string(ostree.Xattrs(withLabel(o.file.xattrs, o.label)).Encode()))
		f := layertest.Link(object(sum, "file"), o.file.target)
		if !o.file.symlink {
			b, err := tree.ReadAll(o.file.data, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			f = layertest.File(object(sum, "file"), int64(o.file.perm), string(b))
		}
		f = f.Own(int(o.file.uid), int(o.file.gid))
		pair := []layertest.Entry{x, f}
		if late {
			shared := "sysroot/ostree/repo/xattrs/" + sum.String()
			x.Name = shared
			pair = []layertest.Entry{f, x, layertest.Hard(object(sum, "file.xattrs"), shared)}
		}
		layers[i%2] = append(layers[i%2], pair...)
	}
	layers[0] = append(layers[0], layertest.Hard("usr/bin/a", object(sortedSums(r.objects)[0], "file")))
	return layers, commit
}

// encapsulated is an image of such layers, with ordinary layers on top.
func encapsulated(t *testing.T, base [2][]layertest.Entry, more ...[]layertest.Entry) *layer.Image {
	t.Helper()
	im := layertest.Image{Created: time.Unix(1700000001, 0).UTC()}
	for _, es := range append(base[:], more...) {
		im.Layers = append(im.Layers, layertest.Layer{Tar: layertest.Tar(t, es...), Compression: "gzip"})
	}
	im.Labels = map[string]string{"ostree.bootable": "true", "ostree.final-diffid": digest.FromBytes(im.Layers[1].Tar).String()}
	dir := t.TempDir()
	layertest.Write(t, dir, im)
	img, err := layer.Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestEncapsulatedImageKeepsItsCommit(t *testing.T) {
	for _, late := range []bool{false, true} {
		base, commit := encapsulate(t, deployable(t, true), late)
		im := encapsulated(t, base)
		tr, err := Read(context.Background(), im, plainStore{}, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := newRepository(tr)
		merge, err := r.commits(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		refOf := func(i int) ostree.Commit {
			ref, err := ostree.BlobRef(im.Layers[i].Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			c, err := ostree.ParseCommit(r.metas[r.refs[ref]].data)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if got := refOf(0).Checksum(); got != commit {
			t.Errorf("late %v: the first layer's commit is %s, want %s", late, got, commit)
		}
		dt, err := ostree.ParseDirTree(r.metas[refOf(1).Root].data)
		if err != nil || len(dt.Files) < 10 || dt.Files[0].Name != dt.Files[0].File.String() {
			t.Errorf("late %v: the chunk's commit has the files %v, %v", late, dt.Files, err)
		}
		m, err := ostree.ParseCommit(r.metas[merge].data)
		if err != nil || m.Root != refOf(0).Root || m.Parent == nil || *m.Parent != commit {
			t.Errorf("late %v: the merge commit is %+v, %v", late, m, err)
		}
	}
}

func TestRealOSTreeAcceptsAnEncapsulatedImage(t *testing.T) {
	tooltest.Need(t, "ostree")
	if os.Getuid() != 0 {
		t.Skip("only root can write files of other owners")
	}
	base, commit := encapsulate(t, deployable(t, true), false)
	kept := layertest.File("sysroot/ostree/repo/objects/aa/kept.file", 0o755, "written again")
	kept.ModTime = testTime
	again := layertest.Hard("usr/bin/again", kept.Name)
	again.ModTime = testTime
	im := encapsulated(t, base, []layertest.Entry{layertest.File("usr/bin/new", 0o755, "new"), layertest.File("etc/added", 0o644, "added"), layertest.File("usr/share/.wh.uid", 0, ""), kept, again})
	root := t.TempDir()
	d := deploy(t, im, nil)
	writeTree(t, root, d.RootTree)
	out, err := tool.Run(context.Background(), "ostree", "fsck", "--repo="+root+"/ostree/repo")
	if err != nil || !strings.Contains(string(out), "no errors found") {
		t.Errorf("ostree fsck says %s, %v", out, err)
	}
	out, err = tool.Run(context.Background(), "ostree", "ls", "-R", "-X", "--repo="+root+"/ostree/repo", d.Commit.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bin_t:s0')] } /usr/bin/new\n", "bin_t:s0')] } /usr/bin/again\n", "usr_etc_t:s0')] } /usr/etc/added\n", "bin_t:s0')] } /usr/bin/a\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the deployed commit has no %q", want)
		}
	}
	if strings.Contains(string(out), "/usr/share/uid") {
		t.Error("a whiteout over the base had no effect")
	}
	if p, err := tool.Run(context.Background(), "ostree", "show", "--raw", "--repo="+root+"/ostree/repo", d.Commit.String()); err != nil || commit.IsZero() || len(p) == 0 {
		t.Errorf("ostree show: %v", err)
	}
}

func TestForgedEncapsulatedImages(t *testing.T) {
	base, _ := encapsulate(t, deployable(t, true), false)
	find := func(ending string) int {
		for i, e := range base[0] {
			if strings.HasSuffix(e.Name, ending) && (e.Typeflag != tar.TypeReg || len(e.Body) > 5) {
				return i
			}
		}
		t.Fatalf("no %s in the layer", ending)
		return 0
	}
	edit := func(ending string, f func(*layertest.Entry)) [2][]layertest.Entry {
		out := [2][]layertest.Entry{append([]layertest.Entry(nil), base[0]...), base[1]}
		f(&out[0][find(ending)])
		return out
	}
	tests := map[string]struct {
		layers [2][]layertest.Entry
		want   string
	}{
		"changed content":          {edit(".file", func(e *layertest.Entry) { e.Body = "x" + e.Body[1:] }), "its checksum is"},
		"changed mode":             {edit(".file", func(e *layertest.Entry) { e.Mode ^= 0o1 }), "its checksum is"},
		"changed owner":            {edit(".file", func(e *layertest.Entry) { e.Uid++ }), "its checksum is"},
		"changed tree":             {edit(".dirtree", func(e *layertest.Entry) { e.Body = "x" + e.Body[1:] }), "its checksum is"},
		"changed commit":           {edit(".commit", func(e *layertest.Entry) { e.Body += "x" }), "its checksum is"},
		"attributes that are none": {edit(".file-xattrs-link", func(e *layertest.Entry) { e.Body = "junk!" }), "attributes"},
		"no commit":                {[2][]layertest.Entry{base[0][1:], base[1]}, "no commit"},
		"file missing":             {[2][]layertest.Entry{base[0], base[1][2:]}, "is in no layer"},
		"odd object name":          {edit(".commit", func(e *layertest.Entry) { e.Name = "sysroot/ostree/repo/objects/zz/x.commit" }), "named like an object"},
		"unknown object":           {edit(".dirmeta", func(e *layertest.Entry) { e.Name = strings.TrimSuffix(e.Name, "dirmeta") + "virus" }), "unknown type"},
		"metadata in a chunk":      {[2][]layertest.Entry{base[0], append(append([]layertest.Entry(nil), base[1]...), base[0][find(".dirtree")])}, "metadata objects in a chunk"},
	}
	for name, tt := range tests {
		_, err := Read(context.Background(), encapsulated(t, tt.layers), plainStore{}, ReadOptions{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}
