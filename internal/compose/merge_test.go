package compose

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// archiveOf makes a tar of lines: "d etc", "f etc/x content", "l b -> a" (hard
// link), "s b -> a" (symbolic link).
func archiveOf(t *testing.T, entries ...string) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		f := strings.Fields(e)
		h := &tar.Header{Name: f[1], Mode: 0o644, ModTime: epoch}
		content := ""
		switch f[0] {
		case "d":
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case "f":
			h.Typeflag = tar.TypeReg
			if len(f) > 2 {
				content = f[2]
			}
			h.Size = int64(len(content))
		case "l":
			h.Typeflag, h.Linkname = tar.TypeLink, f[3]
		case "s":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f[3]
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// entries is the other way round.
func entries(t *testing.T, r io.Reader) []string {
	t.Helper()
	var out []string
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		switch h.Typeflag {
		case tar.TypeDir:
			out = append(out, "d "+name)
		case tar.TypeReg:
			out = append(out, strings.TrimSpace("f "+name+" "+string(b)))
		case tar.TypeLink:
			out = append(out, "l "+name+" -> "+h.Linkname)
		case tar.TypeSymlink:
			out = append(out, "s "+name+" -> "+h.Linkname)
		}
	}
}

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]string
		want   []string
	}{
		"replaced":                {[][]string{{"f a 1", "f b 2"}, {"f a 3"}}, []string{"f a 3", "f b 2"}},
		"deleted":                 {[][]string{{"d x", "f x/a 1", "f x/b 2"}, {"d x", "f x/.wh.a"}}, []string{"d x", "f x/.wh.a", "f x/b 2"}},
		"deleted below":           {[][]string{{"f a 1"}, {"f .wh.base"}}, []string{"f .wh.base", "f a 1"}},
		"deleted folder":          {[][]string{{"d x", "d x/y", "f x/y/a 1"}, {"f .wh.x"}}, []string{"f .wh.x"}},
		"deleted and again":       {[][]string{{"f a 1"}, {"f .wh.a"}, {"f a 2"}}, []string{"f a 2"}},
		"folder anew":             {[][]string{{"d x", "f x/a 1"}, {"f .wh.x"}, {"d x", "f x/b 2"}}, []string{"d x", "f x/.wh..wh..opq", "f x/b 2"}},
		"folder for a file":       {[][]string{{"f x 1"}, {"d x", "f x/a 2"}}, []string{"d x", "f x/.wh..wh..opq", "f x/a 2"}},
		"file for a folder":       {[][]string{{"d x", "f x/a 1"}, {"f x 2"}}, []string{"f x 2"}},
		"opaque":                  {[][]string{{"d x", "f x/a 1"}, {"d x", "f x/.wh..wh..opq", "f x/b 2"}}, []string{"d x", "f x/.wh..wh..opq", "f x/b 2"}},
		"opaque after its names":  {[][]string{{"d x", "f x/a 1"}, {"d x", "f x/b 2", "f x/.wh..wh..opq"}}, []string{"d x", "f x/.wh..wh..opq", "f x/b 2"}},
		"whiteout beside its own": {[][]string{{"f a 1"}, {"f a 2", "f .wh.a"}}, []string{"f a 2"}},
		"links":                   {[][]string{{"f a 1", "l b -> a"}}, []string{"f a 1", "l b -> a"}},
		"link loses its first":    {[][]string{{"f a 1", "l b -> a", "l c -> a"}, {"f .wh.a"}}, []string{"f .wh.a", "f b 1", "l c -> b"}},
		"link's first replaced":   {[][]string{{"f a 1", "l b -> a"}, {"f a 2"}}, []string{"f a 2", "f b 1"}},
		"links in reverse order":  {[][]string{{"f z 1", "l a -> z"}}, []string{"f a 1", "l z -> a"}},
		"symbolic links":          {[][]string{{"s a -> b"}, {"s a -> c"}}, []string{"s a -> c"}},
		"like names":              {[][]string{{"d x", "f x/a 1", "f x-y 1", "f xz 1"}, {"f .wh.x"}}, []string{"f .wh.x", "f x-y 1", "f xz 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMerger(epoch)
			defer m.close()
			for _, l := range c.layers {
				if err := m.add(archiveOf(t, l...), t.TempDir()); err != nil {
					t.Fatal(err)
				}
			}
			var buf bytes.Buffer
			w := tar.NewWriter(&buf)
			if err := m.write(&layerWriter{w: w, epoch: epoch}); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, entries(t, &buf)); d != "" {
				t.Error(d)
			}
		})
	}
}

// The bytes of a blob do not depend on how many processors made it.
func TestFramesAreTheSameOnAnyMachine(t *testing.T) {
	dir := t.TempDir()
	w, err := openWorkdir(dir)
	if err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 3*frameSize+12345)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range big {
		big[i] = byte(r.IntN(4)) * byte(i>>10)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var first *Layer
	for _, c := range []Compression{Zstd, Gzip, Plain} {
		first = nil
		big := big
		if c == Gzip {
			big = big[:2<<20] // one stream, whatever its length
		}
		for _, n := range []int{1, 2, 4, 7} {
			runtime.GOMAXPROCS(n)
			l, err := w.writeLayer(c, epoch, nil, "", func(lw *layerWriter) error {
				return lw.add(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Mode: 0o644, Size: int64(len(big))}, bytes.NewReader(big))
			})
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = l
			} else if l.Digest != first.Digest || l.DiffID != first.DiffID || l.Size != first.Size {
				t.Errorf("%s with %d processors: %s, not %s", c, n, l.Digest, first.Digest)
			}
		}
		rc, err := w.openLayer(*first)
		if err != nil {
			t.Fatal(err)
		}
		d, err := digest.FromReader(rc)
		if err != nil || d != first.DiffID {
			t.Errorf("%s reads back as %s, %v, want %s", c, d, err, first.DiffID)
		}
		if err := rc.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOverlayRules(t *testing.T) {
	for name, want := range map[string]bool{
		"usr/bin/x": true, "usr/sbin/x": true, "usr/libexec/a/b": true, "usr/lib/x.sh": true, "etc/profile.d/x.sh": false,
		"usr/lib/systemd/system-generators/x": true, "usr/lib/systemd/system/x.service": false, "etc/x": false, "usr/lib/binary": false,
	} {
		if got := isProgram(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestImagesOf(t *testing.T) {
	for text, want := range map[string]string{
		"FROM scratch":                                        "[]",
		"FROM docker.io/x@sha256:1 AS a\nFROM a":              "[{docker.io/x@sha256:1 docker.io/x@sha256:1}]",
		"ARG V=1\nFROM img:${V}\n":                            "[{img:${V} img:1}]",
		"ARG GIVEN=1\nFROM img:${GIVEN}\n":                    "[{img:${GIVEN} img:2}]",
		"FROM x\nCOPY --from=y /a /b\nCOPY --from=0 /a /b\n":  "[{x x} {y y}]",
		"FROM x\nRUN --mount=type=bind,from=z,target=/z ls\n": "[{x x} {z z}]",
		"FROM x\nFROM x\n":                                    "[{x x}]",
	} {
		got, err := imagesOf([]byte(text), map[string]string{"GIVEN": "2"}, false)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if s := fmt.Sprint(got); s != want {
			t.Errorf("%q names %s, want %s", text, s, want)
		}
	}
}
