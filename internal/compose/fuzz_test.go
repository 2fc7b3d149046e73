package compose

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
)

// FuzzMerge gives two layers of any bytes to the merger: it must fail or make a
// layer whose names stay inside, come after their folders' and are there once.
func FuzzMerge(f *testing.F) {
	read := func(r io.Reader) []byte {
		b, err := io.ReadAll(r)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	var t testing.T
	f.Add(read(archiveOf(&t, "d x", "f x/a 1", "l x/b -> x/a")), read(archiveOf(&t, "f x/.wh.a", "d y", "f y/.wh..wh..opq")))
	f.Add(read(archiveOf(&t, "f a 1", "s b -> a")), read(archiveOf(&t, "d a", "f a/b 2", "l c -> b")))
	f.Add(read(archiveOf(&t, "f ../a 1")), read(archiveOf(&t, "l b -> /etc/passwd")))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		m := newMerger(epoch)
		defer m.close()
		dir := t.TempDir()
		for _, b := range [][]byte{lower, upper} {
			if m.add(bytes.NewReader(b), dir) != nil {
				return
			}
		}
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		index := newTreeIndex()
		if m.write(&layerWriter{w: w, epoch: epoch, index: index}) != nil {
			return
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		tr := tar.NewReader(&out)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatalf("the result cannot be read: %v", err)
			}
			name := strings.TrimSuffix(h.Name, "/")
			if clean, err := cleanName(name); err != nil || clean != name || name == "" {
				t.Fatalf("the result holds %q", h.Name)
			}
			if seen[name] {
				t.Fatalf("the result holds %q twice", name)
			}
			if h.Typeflag == tar.TypeLink && strings.HasPrefix(h.Linkname, "/") {
				t.Fatalf("%q links to %q", name, h.Linkname)
			}
			seen[name] = true
		}
	})
}
