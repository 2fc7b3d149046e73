package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/aitheros/aither-image/internal/tree"
)

// slowReader yields the processor, or sleeps, at random.
type slowReader struct {
	r   io.Reader
	rng *rand.Rand
}

func (s slowReader) Read(p []byte) (int, error) {
	if s.rng.IntN(20) == 0 {
		time.Sleep(time.Duration(s.rng.IntN(300)) * time.Microsecond)
	}
	runtime.Gosched()
	return s.r.Read(p[:min(len(p), 1+s.rng.IntN(100_000))])
}

// arenaJob is what one arena gets; hints that are too small make it overflow.
type arenaJob struct {
	hint  int64
	sizes []int
}

var arenaJobs = []arenaJob{
	{3 << 20, []int{1 << 20, 5000, 0, 4096, 700_000}},
	{100_000, []int{2 << 20, 10, 3 << 20, 77}},
	{0, []int{40_000, 1 << 20}},
	{1 << 20, []int{500, 600, 5 << 20, 1 << 19}},
	{200 << 20, []int{9000}},
}

// buildConcurrently makes a file system from the jobs, with timing that seed decides.
func buildConcurrently(t testing.TB, d *memDevice, seed uint64) [32]byte {
	t.Helper()
	w, err := NewWriter(d, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	var arenas []*Arena
	for _, j := range arenaJobs {
		arenas = append(arenas, w.NewArena(j.hint))
	}
	data := make([][]*Data, len(arenas))
	var wg sync.WaitGroup
	for _, i := range rand.New(rand.NewPCG(seed, 1)).Perm(len(arenas)) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for k, n := range arenaJobs[i].sizes {
				x, err := arenas[i].Put(slowReader{bytes.NewReader(pattern(uint64(i*100+k), n)), rng}, int64(n))
				if err != nil {
					t.Error(err)
				}
				data[i] = append(data[i], x)
			}
			if err := arenas[i].Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	late := w.NewArena(10_000) // a second round, once all are closed
	x, err := late.Put(strings.NewReader("late"), 4)
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, []*Data{x})
	if err := late.Close(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*Data{data[1][2], data[3][0]} { // a large one and a small one
		if err := w.Discard(x); err != nil {
			t.Fatal(err)
		}
	}
	b := newBuilder()
	for i, list := range data {
		for k, x := range list {
			if x.state != discarded && (i != 0 || k != 4) { // one is forgotten
				b.add(tree.Entry{Path: fmt.Sprintf("f%d-%d", i, k), Mode: 0o644, Content: x})
			}
		}
	}
	b.add(tree.Entry{Path: "g-same", Mode: 0o644, Content: data[1][0]})
	b.add(tree.Entry{Path: "h-other", Mode: 0o644, Content: tree.Text("from elsewhere")})
	finish(t, w, b.stream(), 600<<20)
	return d.sum()
}

func TestSameBytesWhateverTheTiming(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var first [32]byte
	for i, procs := range []int{1, 2, 4, 8, 4} {
		runtime.GOMAXPROCS(procs)
		d := newMemDevice()
		sum := buildConcurrently(t, d, uint64(i))
		if i == 0 {
			first = sum
			fsck(t, d.save(t, 600<<20))
			checkContents(t, d)
		} else if sum != first {
			t.Fatalf("run %d on %d processors differs", i, procs)
		}
	}
}

func checkContents(t *testing.T, d *memDevice) {
	t.Helper()
	f, err := Open(d)
	if err != nil {
		t.Fatal(err)
	}
	for i, j := range arenaJobs {
		for k, n := range j.sizes {
			path := fmt.Sprintf("f%d-%d", i, k)
			if path == "f1-2" || path == "f3-0" || path == "f0-4" {
				continue
			}
			e, err := f.Lookup(path)
			if err != nil {
				t.Fatal(err)
			}
			if s := diffContent(e.Content, tree.Bytes(pattern(uint64(i*100+k), n))); s != "" {
				t.Errorf("%s: %s", path, s)
			}
		}
	}
	for path, want := range map[string]tree.Content{
		"f5-0": tree.Text("late"), "g-same": tree.Bytes(pattern(100, 2<<20)), "h-other": tree.Text("from elsewhere"),
	} {
		e, err := f.Lookup(path)
		if err != nil {
			t.Fatal(err)
		}
		if s := diffContent(e.Content, want); s != "" {
			t.Errorf("%s: %s", path, s)
		}
	}
	if used := len(d.pages) * blockSize; used > 25<<20 {
		t.Errorf("the image takes %d bytes: what was discarded is still there", used)
	}
}

func TestDataReadsBack(t *testing.T) {
	w, err := NewWriter(newDevice(t), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	a := w.NewArena(0)
	for _, n := range []int{0, 10, 4096, 3 << 20} {
		want := pattern(uint64(n), n)
		d, err := a.Put(bytes.NewReader(want), int64(n))
		if err != nil {
			t.Fatal(err)
		}
		got, err := readContent(d) // partly still in the arena's buffer
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %v, equal %v", n, err, bytes.Equal(got, want))
		}
		if s := diffContent(onDevice(t, w, d), tree.Bytes(want)); s != "" {
			t.Error(s)
		}
		if d.Size() != int64(n) {
			t.Errorf("size %d, want %d", d.Size(), n)
		}
		if err := w.Discard(d); err != nil {
			t.Fatal(err)
		}
		if _, ok := d.Extents(); ok {
			t.Error("discarded content has extents")
		}
		if _, err := d.Open(); err == nil {
			t.Error("discarded content can be opened")
		}
		if err := w.Discard(d); err == nil {
			t.Error("content can be discarded twice")
		}
	}
}

// onDevice is what lies on the device where Extents says.
func onDevice(t *testing.T, w *Writer, d *Data) tree.Content {
	t.Helper()
	es, ok := d.Extents()
	if !ok {
		t.Fatal("no extents")
	}
	b := make([]byte, (d.Size()+blockSize-1)/blockSize*blockSize)
	for _, e := range es {
		if _, err := w.dev.ReadAt(b[e.At:e.At+e.Len], e.Off); err != nil {
			t.Fatal(err)
		}
	}
	return tree.Bytes(b[:d.Size()])
}

// TestNothingIsLeftBehind looks for contents that no file has.
func TestNothingIsLeftBehind(t *testing.T) {
	d := newMemDevice()
	w, err := NewWriter(d, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	a := w.NewArena(0)
	var kept tree.Content
	for i, n := range []int{5000, 5000, 3 << 20, 5000, 5000} {
		r := io.Reader(bytes.NewReader(bytes.Repeat([]byte("secret"), n/6+1)[:n]))
		if i == 3 {
			r = io.LimitReader(r, 4999) // fails, having placed a block
		}
		x, err := a.Put(r, int64(n))
		switch i {
		case 0, 2:
			err = w.Discard(x)
		case 1: // forgotten
		case 3:
			if err == nil {
				t.Error("short content is taken")
			}
			err = nil
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if kept, err = a.Put(strings.NewReader("kept"), 4); err != nil {
		t.Fatal(err)
	}
	a.Close()
	finish(t, w, stream(tree.Entry{Path: "a", Mode: 0o644, Content: kept}), 0)
	for k, page := range d.pages {
		if bytes.Contains(page[:], []byte("secret")) {
			t.Fatalf("block %d holds what no file has", k)
		}
	}
	fsck(t, d.save(t, openFS(t, w).Info().Size))
}

func TestPutRefuses(t *testing.T) {
	w, err := NewWriter(newDevice(t), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	a := w.NewArena(1 << 20)
	broken := errors.New("broken pipe")
	for _, c := range []struct {
		name string
		r    io.Reader
		size int64
		want string
	}{
		{"short", strings.NewReader("abc"), 4, "unexpected EOF"},
		{"empty", strings.NewReader(""), 1, "unexpected EOF"},
		{"long", strings.NewReader("abc"), 2, "more than the 2 bytes"},
		{"long by one block", bytes.NewReader(make([]byte, 4097)), 4096, "more than"},
		{"negative", strings.NewReader(""), -1, "at most 16 TiB"},
		{"huge", strings.NewReader(""), 17 << 40, "at most 16 TiB"},
		{"failing", io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)), 9000, "broken pipe"},
		{"failing at its end", io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)), 2, "broken pipe"},
	} {
		if _, err := a.Put(c.r, c.size); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	d, err := a.Put(strings.NewReader("fine"), 4)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readContent(d); err != nil || string(got) != "fine" {
		t.Errorf("after errors: %q, %v", got, err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Put(strings.NewReader("x"), 1); err == nil {
		t.Error("a closed arena takes content")
	}
}

func TestArenaMadeTooLate(t *testing.T) {
	w, err := NewWriter(newDevice(t), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	a := w.NewArena(0)
	if _, err := a.Put(strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.NewArena(0).Put(strings.NewReader("x"), 1); err == nil {
		t.Error("an arena made while another is being filled depends on timing")
	}
}

func TestAbortWakesWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := NewWriter(newMemDevice(), testOptions())
		if err != nil {
			t.Fatal(err)
		}
		w.NewArena(0) // stays open
		b := w.NewArena(0)
		cause := errors.New("layer is damaged")
		done := make(chan error, 1)
		go func() {
			_, err := b.Put(strings.NewReader("x"), 1)
			done <- err
		}()
		synctest.Wait() // Put waits for the first arena
		w.Abort(cause)
		if err := <-done; !errors.Is(err, cause) {
			t.Errorf("waiting Put ended with %v", err)
		}
		if _, err := b.Put(strings.NewReader("x"), 1); !errors.Is(err, cause) {
			t.Errorf("Put after Abort ended with %v", err)
		}
	})
}

func TestAbortWithoutCause(t *testing.T) {
	w, err := NewWriter(newMemDevice(), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	w.Abort(nil)
	if _, err := w.NewArena(0).Put(strings.NewReader("x"), 1); !errors.Is(err, ErrAborted) {
		t.Error(err)
	}
}

// brokenDevice fails after a number of bytes were written.
type brokenDevice struct {
	memDevice
	mu   sync.Mutex
	left int
}

var errFull = errors.New("no space left")

func (b *brokenDevice) WriteAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left -= len(p); b.left < 0 {
		return 0, errFull
	}
	return b.memDevice.WriteAt(p, off)
}

func TestDeviceErrors(t *testing.T) {
	whole := 0
	for left := 0; ; left += 199_999 {
		d := &brokenDevice{left: left}
		d.pages = map[int64]*[blockSize]byte{}
		if err := writeSome(d); err == nil {
			whole = left
			break
		} else if !errors.Is(err, errFull) {
			t.Fatalf("after %d bytes: %v", left, err)
		}
		b := make([]byte, superSize)
		d.ReadAt(b, superOffset)
		if b[0x38] != 0 {
			t.Fatalf("after %d bytes there is a superblock", left)
		}
	}
	if whole < 4<<20 {
		t.Errorf("only %d bytes were written", whole)
	}
}

func writeSome(d Device) error {
	w, err := NewWriter(d, testOptions())
	if err != nil {
		return err
	}
	a := w.NewArena(0)
	x, err := a.Put(bytes.NewReader(pattern(3, 3<<20)), 3<<20)
	err = errors.Join(err, a.Close())
	if err != nil {
		return err
	}
	_, err = w.Finish(context.Background(), stream(
		tree.Entry{Path: "a", Mode: 0o644, Content: x},
		tree.Entry{Path: "b", Mode: fs.ModeDir | 0o755},
		tree.Entry{Path: "b/c", Mode: 0o644, Content: tree.Bytes(pattern(4, 100_000))},
	), exactly(300<<20))
	return err
}
