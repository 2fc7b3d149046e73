package ext4

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// FuzzWrite makes trees of what the fuzzer says, which the writer takes or
// refuses with an error; what it takes must read back. With AITHER_HEAVY_TESTS,
// e2fsck looks at it too.
func FuzzWrite(f *testing.F) {
	f.Add([]byte("a\x00b\x01\x02longer\x05"), uint16(3))
	f.Add([]byte("\xff\xfe\x00/\x01..\x02"), uint16(40_000))
	f.Fuzz(func(t *testing.T, program []byte, size uint16) {
		w, err := NewWriter(newMemDevice(), Options{GrowTo: 8 << 30, InodesPerGroup: 64, Time: testTime})
		if err != nil {
			t.Fatal(err)
		}
		entries := fuzzEntries(program, int(size))
		st, err := w.Finish(context.Background(), stream(entries...), exactly(0))
		if err != nil {
			return
		}
		hasRoot := len(entries) > 0 && entries[0].Path == "."
		if !hasRoot {
			entries = append([]tree.Entry{{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: testTime}}, entries...)
		}
		compare(t, openFS(t, w), entries)
		if os.Getenv("AITHER_HEAVY_TESTS") != "" {
			fsck(t, w.dev.(*memDevice).save(t, st.Size))
		}
	})
}

// fuzzEntries cuts the program into names, each with a byte that says what it is.
func fuzzEntries(program []byte, size int) []tree.Entry {
	b := newBuilder()
	dir := "."
	for i, word := range strings.SplitAfterN(string(program), "\x00", 200) {
		if len(word) < 2 {
			continue
		}
		kind, name := word[0], word[1:len(word)-1]
		e := tree.Entry{Path: join(dir, name), Mode: fs.FileMode(kind), ModTime: time.Unix(int64(i)<<kind, 0)}
		switch kind % 8 {
		case 0:
			e.Mode |= fs.ModeDir
			dir = e.Path
		case 1:
			e.Mode |= fs.ModeSymlink
			e.Link = strings.Repeat(name, 1+size%7)
		case 2:
			dir = "."
			e.Xattrs = map[string][]byte{"user." + name: pattern(uint64(i), size%5000)}
		case 3:
			e.Xattrs = map[string][]byte{"security." + name: []byte(name), name: nil}
		default:
			e.Content = tree.Bytes(pattern(uint64(i), size*int(kind)/100))
		}
		b.add(e)
	}
	list := b.sorted()
	return slices.DeleteFunc(list, func(e tree.Entry) bool { return e.ModTime.Unix() < minSec || e.ModTime.Unix() > maxSec })
}

func ExampleWriter() {
	w, err := NewWriter(newMemDevice(), Options{Label: "root", Time: time.Unix(1_700_000_000, 0)})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Contents first: one arena for each source, filled in its goroutine.
	a := w.NewArena(1 << 20)
	hello, err := a.Put(strings.NewReader("hello\n"), 6)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := a.Close(); err != nil {
		fmt.Println(err)
		return
	}
	// Then the tree, parents before children, siblings by name.
	st, err := w.Finish(context.Background(), func(yield func(tree.Entry, error) bool) {
		_ = yield(tree.Entry{Path: "etc", Mode: fs.ModeDir | 0o755}, nil) &&
			yield(tree.Entry{Path: "etc/motd", Mode: 0o644, Content: hello}, nil) &&
			yield(tree.Entry{Path: "motd", Mode: fs.ModeSymlink | 0o777, Link: "etc/motd"}, nil)
	}, func(u Usage) int64 { return max(u.MinBytes, 1<<30) })
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(st.Size, st.JournalBytes)

	f, err := Open(w.dev)
	if err != nil {
		fmt.Println(err)
		return
	}
	for e, err := range f.Tree(".") {
		fmt.Println(e.Mode, e.Path, e.Link, err)
	}
	// Output:
	// 1073741824 33554432
	// drwxr-xr-x .  <nil>
	// drwxr-xr-x etc  <nil>
	// -rw-r--r-- etc/motd  <nil>
	// drwx------ lost+found  <nil>
	// Lrwxrwxrwx motd etc/motd <nil>
}
