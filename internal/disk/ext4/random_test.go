package ext4

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// randomTree is a tree that the seed decides, with contents that mostly lie in
// arenas of w already.
func randomTree(t testing.TB, w *Writer, rng *rand.Rand, files int) *builder {
	t.Helper()
	b := newBuilder()
	dirs, regular := []string{"."}, []string{}
	arenas := []*Arena{w.NewArena(rng.Int64N(4 << 20)), w.NewArena(rng.Int64N(1 << 20)), w.NewArena(0)}
	current := 0
	for i := range files {
		if current < 2 && rng.IntN(files/2) == 0 {
			if err := arenas[current].Close(); err != nil {
				t.Fatal(err)
			}
			current++
		}
		e := tree.Entry{
			Path: join(dirs[rng.IntN(len(dirs))], randomName(rng, i)), Mode: fs.FileMode(rng.IntN(0o1000)),
			UID: int(rng.Uint32()), GID: rng.IntN(100_000), Xattrs: randomXattrs(rng),
			ModTime: time.Unix(rng.Int64N(1<<33), rng.Int64N(1e9)),
		}
		switch k := rng.IntN(12); {
		case k == 0:
			e.Mode |= fs.ModeDir | fs.ModeSetgid
			dirs = append(dirs, e.Path)
		case k == 1:
			e.Mode |= fs.ModeSymlink
			e.Link = string(bytes.Repeat([]byte{'t'}, 1+rng.IntN(300)))
		case k == 2:
			e.Mode |= fs.ModeDevice | fs.ModeCharDevice
			e.Rdev = [2]uint32{rng.Uint32N(1 << 12), rng.Uint32N(1 << 20)}
		case k == 3:
			e.Mode |= fs.ModeNamedPipe
		default:
			e.Content = randomContent(t, w, arenas[current], rng, k == 4)
			regular = append(regular, e.Path)
		}
		b.add(e)
	}
	for _, a := range arenas {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	linkSome(b, rng, dirs, regular)
	return b
}

// linkSome adds hard links to files, as their first names in the stream's order allow.
func linkSome(b *builder, rng *rand.Rand, dirs, regular []string) {
	at := map[string]int{}
	for i := range min(len(regular), 50) {
		target := regular[rng.IntN(len(regular))]
		b.add(tree.Entry{Path: join(dirs[rng.IntN(len(dirs))], fmt.Sprintf("~link%d", i)), Mode: b.entries[target].Mode, Link: target})
	}
	for i, e := range b.sorted() {
		at[e.Path] = i
	}
	first := map[string]string{}
	for _, e := range b.sorted() {
		if !e.IsHardLink() {
			continue
		}
		if _, ok := b.entries[e.Link]; !ok || at[e.Link] > at[e.Path] || first[e.Link] != "" && at[first[e.Link]] > at[e.Path] {
			delete(b.entries, e.Path)
		}
	}
}

func randomName(rng *rand.Rand, i int) string {
	n := make([]byte, 1+rng.IntN(30))
	for k := range n {
		if n[k] = byte(rng.IntN(256)); n[k] == 0 || n[k] == '/' {
			n[k] = 0xff
		}
	}
	return fmt.Sprintf("%s%d", n, i)
}

func randomXattrs(rng *rand.Rand) map[string][]byte {
	m := map[string][]byte{}
	for range rng.IntN(4) {
		switch rng.IntN(4) {
		case 0:
			m["security.selinux"] = fmt.Appendf(nil, "system_u:object_r:type%d_t:s0\x00", rng.IntN(20))
		case 1:
			m[fmt.Sprintf("user.a%d", rng.IntN(5))] = pattern(rng.Uint64N(4), rng.IntN(1000))
		case 2:
			m["trusted.x"] = pattern(1, rng.IntN(60))
		case 3:
			m["system.posix_acl_access"] = linuxACL(rng.Uint32N(3), 5)
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

func randomContent(t testing.TB, w *Writer, a *Arena, rng *rand.Rand, outside bool) tree.Content {
	t.Helper()
	c := pattern(rng.Uint64(), rng.IntN(1<<(5+rng.IntN(14))))
	for range rng.IntN(3) { // holes
		if from := rng.IntN(len(c) + 1); rng.IntN(2) == 0 {
			clear(c[from:min(len(c), from+rng.IntN(60_000))])
		}
	}
	if outside {
		return tree.Bytes(c)
	}
	d, err := a.Put(bytes.NewReader(c), int64(len(c)))
	if err != nil {
		t.Fatal(err)
	}
	if rng.IntN(10) == 0 {
		if err := w.Discard(d); err != nil {
			t.Fatal(err)
		}
		return tree.Bytes(c)
	}
	return known{d, c}
}

// known is placed content together with what it should be.
type known struct {
	*Data
	want []byte
}

// place replaces the known contents of a tree with the placed ones.
func place(b *builder) (placed []tree.Entry) {
	for _, e := range b.sorted() {
		if k, ok := e.Content.(known); ok {
			e.Content = k.Data
		}
		placed = append(placed, e)
	}
	return placed
}

func expected(b *builder) (want []tree.Entry) {
	for _, e := range b.sorted() {
		if k, ok := e.Content.(known); ok {
			e.Content = tree.Bytes(k.want)
		}
		want = append(want, e)
	}
	return append([]tree.Entry{{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: testTime}}, want...)
}

// TestRandomTrees writes trees, has e2fsck look at them, and reads them back.
// AITHER_EXT4_TREES is how many.
func TestRandomTrees(t *testing.T) {
	n := 25
	if v, err := strconv.Atoi(os.Getenv("AITHER_EXT4_TREES")); err == nil {
		n = v
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 3))
			o := testOptions()
			o.InodesPerGroup = 16 * (1 + rng.Uint32N(512))
			o.GrowTo = 1 << (30 + rng.IntN(13))
			o.Without = Features(rng.IntN(8))
			copy(o.HashSeed[:], pattern(uint64(seed), 16))
			w, err := NewWriter(newMemDevice(), o)
			if err != nil {
				t.Fatal(err)
			}
			b := randomTree(t, w, rng, 4+rng.IntN(600))
			st := finish(t, w, stream(place(b)...), rng.Int64N(400<<20))
			compare(t, openFS(t, w), expected(b))
			fsck(t, w.dev.(*memDevice).save(t, st.Size))
		})
	}
}
