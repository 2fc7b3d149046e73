package fat_test

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/disk/fat"
	"github.com/aitheros/aither-image/internal/tree"
)

func FuzzOpen(f *testing.F) {
	es := []tree.Entry{dir("."), dir("EFI"), dir("EFI/BOOT"), file("EFI/BOOT/BOOTX64.EFI", "shim"), file("EFI/long name.txt", "l")}
	for _, size := range []int64{48 * kib, 17 * mib, 33 * mib} { // one of each kind
		m := make(memory, size)
		if err := fat.Write(m, size, fat.Options{Label: "X", Time: when}, stream(es...)); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(m[:min(len(bytes.TrimRight(m, "\x00"))+kib, 600*kib)]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys, err := fat.Open(memory(b))
		if err != nil {
			return
		}
		n := 0
		for e, err := range fsys.Tree() {
			if err != nil || n > 2000 {
				break
			}
			n++
			if !fs.ValidPath(e.Path) {
				t.Fatalf("path %q", e.Path)
			}
			if e.Content != nil {
				_, _ = tree.ReadAll(e.Content, mib)
			}
		}
		_, _ = fsys.ReadFile("EFI/BOOT/BOOTX64.EFI", mib)
	})
}

func FuzzNames(f *testing.F) {
	f.Add("a", "b")
	f.Add("long name.txt", "LONGNA~1.TXT")
	f.Add("ünï", "ÜNÏ.x")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "/") || a == "." || b == "." {
			return
		}
		m := make(memory, 2*mib)
		if err := fat.Write(m, 2*mib, fat.Options{Time: when}, stream(dir("."), file(a, "first"), file(b, "second"))); err != nil {
			return
		}
		fsys, err := fat.Open(m)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{a: "first", b: "second"} {
			if got, err := fsys.ReadFile(name, 100); err != nil || string(got) != want {
				t.Fatalf("%q holds %q, %v", name, got, err)
			}
		}
	})
}
