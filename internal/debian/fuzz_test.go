package debian

import (
	"archive/tar"
	"bytes"
	"io"
	"path"
	"strings"
	"testing"
)

// FuzzUnpack holds that no package file makes a panic, a name outside the tree,
// or a member below something that is no folder.
func FuzzUnpack(f *testing.F) {
	for _, p := range base() {
		f.Add(makeDeb(f, p))
	}
	f.Add(makeDeb(f, fakePackage{entries: []entry{
		{name: "./a", kind: tar.TypeSymlink, link: "usr/b"}, {name: "./a/c", content: "x"}, {name: "./d", kind: tar.TypeLink, link: "./a/c"},
	}, comp: ".tar"}))
	f.Fuzz(func(t *testing.T, deb []byte) {
		data, err := dataTar(bytes.NewReader(deb))
		if err != nil {
			return
		}
		defer data.Close()
		var out bytes.Buffer
		rw := &rootWriter{tw: tar.NewWriter(&out), date: released, kinds: map[string]byte{}, links: map[string]string{}}
		if err := rw.folder("."); err != nil {
			t.Fatal(err)
		}
		_ = rw.unpack(io.LimitReader(data, 4<<20))
		_ = rw.tw.Flush()
		kinds := map[string]byte{}
		for tr := tar.NewReader(&out); ; {
			h, err := tr.Next()
			if err != nil {
				return
			}
			name := path.Clean(h.Name)
			if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
				t.Fatalf("%q leads out of the tree", h.Name)
			}
			if name != "." && kinds[path.Dir(name)] != tar.TypeDir {
				t.Fatalf("%q lies below no folder", h.Name)
			}
			kinds[name] = h.Typeflag
		}
	})
}

// FuzzIndex holds that what an index names can be a file name of ours.
func FuzzIndex(f *testing.F) {
	f.Add("Package: x\nVersion: 1:2-3\nArchitecture: all\nFilename: pool/x.deb\nSize: 1\nSHA256: " + strings.Repeat("0", 64) + "\n\n")
	f.Add("Package: x\n continued\n\nDepends: a | b (>= 1), c:any\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseIndex(strings.NewReader(text), "amd64")
		if err != nil {
			return
		}
		for _, s := range all {
			if strings.ContainsAny(s.deb(), "/\x00") || path.Clean("/"+s.filename) != "/"+s.filename {
				t.Fatalf("package file %q from %q", s.deb(), s.filename)
			}
		}
		_, _ = resolve(all, nil)
	})
}

// FuzzRelease holds that unsigned or odd text is an error and no more.
func FuzzRelease(f *testing.F) {
	f.Add("Suite: testing\nCodename: forky\nDate: Sun, 01 Mar 2026 12:00:00 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n " + strings.Repeat("0", 64) + " 1 x\n")
	f.Fuzz(func(t *testing.T, text string) {
		o := Options{Now: released}.withDefaults()
		if _, err := verify([]byte(text), o); err == nil {
			t.Fatal("text without a signature was accepted")
		}
		_, _ = parseRelease([]byte(text), o)
	})
}
