package composefs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// normal brings a tree to the form that Read returns.
func normal(n *Node) *Node {
	out := *n
	out.Children = nil
	if len(n.Xattrs) == 0 {
		out.Xattrs = nil
	}
	if !n.External() {
		out.Payload, out.Size = "", 0
	}
	for _, c := range n.Children {
		out.Children = append(out.Children, normal(c))
	}
	slices.SortFunc(out.Children, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
	return &out
}

func TestRoundTrip(t *testing.T) {
	for seed := range 60 {
		r := rand.New(rand.NewPCG(uint64(seed), 8))
		root := randomTree(r, 1+r.IntN(600))
		before := dump(root)
		b := image(t, root)
		if dump(root) != before {
			t.Fatalf("seed %d: Write changed the tree", seed)
		}
		got, err := Read(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if d := firstDifference(dump(normal(root)), dump(got)); d != "" {
			t.Fatalf("seed %d: read back differently: %s", seed, d)
		}
		compare(t, fmt.Sprintf("seed %d, written again", seed), image(t, got), b)
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d: %.300s, want %.300s", i+1, g[i], w[i])
		}
	}
	if len(w) != len(g) {
		return fmt.Sprintf("%d lines, want %d", len(g), len(w))
	}
	return ""
}

// bigTree has directories around every limit of a block, and long links.
func bigTree() *Node {
	root := &Node{Mode: typeDir | 0o755, Xattrs: map[string][]byte{"security.selinux": []byte("r\x00")}}
	for _, n := range []int{0, 1, 100, 113, 114, 115, 150, 200, 226, 227, 228, 250, 5000} {
		dir := &Node{Name: fmt.Sprintf("dir%d", n), Mode: typeDir | 0o700, UID: uint32(n)}
		for i := range n {
			dir.Children = append(dir.Children, &Node{
				Name: fmt.Sprintf("%06d", i*7919%n), Mode: typeRegular | 0o644, Size: 1 << (i % 54), Payload: fmt.Sprintf("%02x/%d.file", i&0xff, i/3),
			})
		}
		root.Children = append(root.Children, dir)
	}
	for extra := range 3 {
		// "." and "..", eight entries: half a block, less one byte to more one byte.
		dir := &Node{Name: fmt.Sprintf("half%d", extra), Mode: typeDir | 0o700}
		for i := range 8 {
			size := 240
			if i == 0 {
				size = blockSize/2 - 1 + extra - (direntSize + 1 + direntSize + 2) - 8*direntSize - 7*size
			}
			dir.Children = append(dir.Children, &Node{Name: strings.Repeat(string(rune('a'+i)), size), Mode: typeRegular})
		}
		root.Children = append(root.Children, dir)
	}
	for i := range 200 {
		root.Children = append(root.Children, &Node{
			Name: fmt.Sprintf("link%d", i), Mode: typeSymlink | 0o777, Target: strings.Repeat("x", 3900+i%196),
			Xattrs: map[string][]byte{"user.pad": bytes.Repeat([]byte{1}, i)},
		})
	}
	return root
}

func TestOracleBigTree(t *testing.T) {
	tooltest.Need(t, "mkcomposefs")
	compare(t, "big tree", image(t, bigTree()), oracle(t, bigTree()))
}

// subdirs has more links than a compact inode can count.
func subdirs() *Node {
	dir := &Node{Name: "dir", Mode: typeDir | 0o755}
	for i := range 65534 {
		dir.Children = append(dir.Children, &Node{Name: fmt.Sprintf("%05d", i), Mode: typeDir | 0o755})
	}
	return &Node{Mode: typeDir | 0o755, Children: []*Node{dir}}
}

func TestOracleManyShared(t *testing.T) {
	tooltest.Need(t, "mkcomposefs")
	root := &Node{Mode: typeDir | 0o755}
	for _, count := range []int{127, 128, 129, 180} {
		for i := range 3 {
			n := &Node{Name: fmt.Sprintf("f%d-%d", count, i), Mode: typeRegular | 0o644, Xattrs: map[string][]byte{}}
			for k := range count {
				n.Xattrs[fmt.Sprintf("user.shared%03d", k)] = []byte("v")
			}
			root.Children = append(root.Children, n)
		}
	}
	compare(t, "many shared", image(t, root), oracle(t, root))
}

// goldens are trees whose images, made by mkcomposefs 1.0.8, are pinned by their
// digests; TestOracleGoldens prints new ones.
func goldens() map[string]*Node {
	empty := &Node{Mode: typeDir | 0o755}
	return map[string]*Node{
		"empty": empty, "big": bigTree(), "subdirs": subdirs(), "random": randomTree(rand.New(rand.NewPCG(1, 9)), 900), "whiteout": {
			Mode: typeDir | 0o755, Children: []*Node{{Name: "d", Mode: typeDir | 0o711, Children: []*Node{{Name: "gone", Mode: typeChar | 0o600}}}},
		},
	}
}

const goldenFile = "testdata/goldens.txt"

func TestGoldens(t *testing.T) {
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		want[name] = sum
	}
	for name, root := range goldens() {
		sum := sha256.Sum256(image(t, root))
		if got := hex.EncodeToString(sum[:]); got != want[name] {
			t.Errorf("%s  %s, want %s", got, name, want[name])
		}
	}
}

// TestOracleGoldens proves that the pinned digests are those of mkcomposefs.
func TestOracleGoldens(t *testing.T) {
	tooltest.Need(t, "mkcomposefs")
	var b strings.Builder
	all := goldens()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(oracle(t, all[name])), name)
	}
	text, err := os.ReadFile(goldenFile)
	if err != nil || string(text) != b.String() {
		t.Errorf("%s (%v) should be\n%s", goldenFile, err, b.String())
	}
}

func TestFsck(t *testing.T) {
	fsck := tooltest.Need(t, "fsck.erofs")
	for name, root := range goldens() {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, image(t, root), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tool.Run(t.Context(), fsck, file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEnsureDirs(t *testing.T) {
	root := &Node{Mode: typeDir | 0o755, Children: []*Node{{Name: "usr", Mode: typeDir | 0o700}}}
	root.EnsureDirs(DeploymentDirs()...)
	if got := dump(root); strings.Count(got, "\n") != 6 || !strings.Contains(got, "/usr 0 40700") || !strings.Contains(got, "/sysroot 0 40755") {
		t.Errorf("tree:\n%s", got)
	}
}

func TestWriteRefuses(t *testing.T) {
	file := func(name string) *Node { return &Node{Name: name, Mode: typeRegular} }
	for name, bad := range map[string]*Node{
		"name empty":      file(""),
		"name dot":        file("."),
		"name slash":      file("a/b"),
		"name NUL":        file("a\x00"),
		"name long":       file(strings.Repeat("a", 256)),
		"no type":         {Name: "a", Mode: 0o644},
		"unknown bits":    {Name: "a", Mode: 0o1100644},
		"link empty":      {Name: "a", Mode: typeSymlink},
		"link long":       {Name: "a", Mode: typeSymlink, Target: strings.Repeat("x", 4096)},
		"children":        {Name: "a", Mode: typeRegular, Children: []*Node{file("b")}},
		"too large":       {Name: "a", Mode: typeRegular, Size: 1 << 63},
		"payload NUL":     {Name: "a", Mode: typeRegular, Size: 1, Payload: "\x00"},
		"attribute name":  {Name: "a", Mode: typeRegular, Xattrs: map[string][]byte{"": {1}}},
		"attribute long":  {Name: "a", Mode: typeRegular, Xattrs: map[string][]byte{"user." + strings.Repeat("x", 256): {1}}},
		"attribute value": {Name: "a", Mode: typeRegular, Xattrs: map[string][]byte{"user.x": make([]byte, 40000)}},
		"twice":           {Name: "a", Mode: typeDir, Children: []*Node{file("b"), file("b")}},
	} {
		err := Write(io.Discard, &Node{Mode: typeDir, Children: []*Node{bad}})
		if err == nil || !strings.Contains(err.Error(), "/") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if Write(io.Discard, file("")) == nil {
		t.Error("a file is accepted as root")
	}
	if err := Write(failing{}, &Node{Mode: typeDir}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a failing writer: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestReadAltered alters bytes: what is still accepted must be what is then there.
func TestReadAltered(t *testing.T) {
	b := image(t, randomTree(rand.New(rand.NewPCG(2, 2)), 40))
	r := rand.New(rand.NewPCG(3, 3))
	for range 800 {
		m := slices.Clone(b)
		m[r.IntN(len(m))] ^= 1 << r.IntN(8)
		if n, err := Read(bytes.NewReader(m)); err == nil {
			Write(io.Discard, n)
		}
	}
	for n := range len(b) {
		if n%37 == 0 {
			if _, err := Read(bytes.NewReader(b[:n])); err == nil {
				t.Fatalf("%d of %d bytes are accepted", n, len(b))
			}
		}
	}
}

func TestReadRefuses(t *testing.T) {
	b := image(t, &Node{Mode: typeDir | 0o755, Children: []*Node{{Name: "a", Mode: typeDir}, {Name: "b", Mode: typeDir}}})
	for name, c := range map[string]struct {
		change func(b []byte)
		want   string
	}{
		"magic":          {func(b []byte) { b[0]++ }, "not a composefs image"},
		"version":        {func(b []byte) { b[12] = 2 }, "version"},
		"version 1":      {func(b []byte) { b[12] = 1 }, "version does not fit"},
		"superblock":     {func(b []byte) { b[superOffset+4] = 1 }, "superblock"},
		"inode count":    {func(b []byte) { b[superOffset+16]++ }, "counts"},
		"huge":           {func(b []byte) { le.PutUint32(b[superOffset+36:], 1<<30) }, "limit"},
		"short":          {func(b []byte) { le.PutUint32(b[superOffset+36:], 1<<10) }, "shorter"},
		"root elsewhere": {func(b []byte) { le.PutUint16(b[superOffset+14:], 0xffff) }, "outside"},
	} {
		m := slices.Clone(b)
		c.change(m)
		if _, err := Read(bytes.NewReader(m)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// TestReadSecondName lets two entries of a directory lead to one inode.
func TestReadSecondName(t *testing.T) {
	b := image(t, &Node{Mode: typeDir | 0o755, Children: []*Node{{Name: "d", Mode: typeDir, Children: []*Node{{Name: "a", Mode: typeDir}, {Name: "b", Mode: typeDir}}}}})
	at := bytes.Index(b, []byte("...ab"))
	if at < 0 {
		t.Fatal("the directory is not where it was")
	}
	entries := b[at-4*direntSize:]
	copy(entries[3*direntSize:][:8], entries[2*direntSize:][:8])
	if _, err := Read(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), "second name") {
		t.Errorf("error %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(image(f, &Node{Mode: typeDir | 0o755}))
	f.Add(image(f, randomTree(rand.New(rand.NewPCG(4, 4)), 12)))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, n); err != nil {
			return // the reader takes some sizes that libcomposefs would not
		}
		again, err := Read(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Fatalf("written again, it is refused: %v", err)
		}
		if d := firstDifference(dump(n), dump(again)); d != "" {
			t.Errorf("written again, it differs: %s", d)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	root := &Node{Mode: typeDir | 0o755}
	label := map[string][]byte{"security.selinux": []byte("system_u:object_r:usr_t:s0\x00")}
	for d := range 2000 {
		dir := &Node{Name: fmt.Sprintf("d%d", d), Mode: typeDir | 0o755, Xattrs: label}
		for i := range 250 {
			dir.Children = append(dir.Children, &Node{Name: fmt.Sprintf("file%d", i), Mode: typeRegular | 0o644, Size: 100, Xattrs: label, Payload: fmt.Sprintf("%02x/%062x.file", i, d*250+i)})
		}
		root.Children = append(root.Children, dir)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(io.Discard, root); err != nil {
			b.Fatal(err)
		}
	}
}
