package ext4

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"github.com/aitheros/aither-image/internal/tree"
)

// fileDevice is a sparse file as a Device.
type fileDevice struct{ *os.File }

func (f fileDevice) PunchHole(off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func newDevice(t testing.TB) fileDevice {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "fs.img"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return fileDevice{f}
}

var testTime = time.Unix(1_700_000_000, 0)

func testOptions() Options {
	o := Options{Label: "root", Time: testTime}
	copy(o.UUID[:], "\x11\x22\x33\x44\x55\x66\x47\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01")
	copy(o.HashSeed[:], "\xa1\xa2\xa3\xa4\x55\x66\x47\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x02")
	return o
}

// stream yields the entries as they are.
func stream(entries ...tree.Entry) tree.Stream {
	return func(yield func(tree.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// exactly asks for a size, or for what is needed where that is more.
func exactly(n int64) func(Usage) int64 {
	return func(u Usage) int64 { return max(n, u.MinBytes) }
}

func finish(t testing.TB, w *Writer, s tree.Stream, size int64) Stats {
	t.Helper()
	st, err := w.Finish(context.Background(), s, exactly(size))
	if err != nil {
		t.Fatal(err)
	}
	if f, ok := w.dev.(fileDevice); ok {
		if err := f.Truncate(st.Size); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// fsck runs e2fsck on an image, which must not find anything to say.
func fsck(t testing.TB, path string) {
	t.Helper()
	tooltest.Need(t, "e2fsck")
	out, err := tool.Run(context.Background(), "e2fsck", "-fn", path)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if line != "\n" && !strings.HasPrefix(line, "Pass ") && !strings.Contains(line, " files (") {
			t.Fatalf("e2fsck says:\n%s", out)
		}
	}
}

func debugfs(t testing.TB, path, command string) string {
	t.Helper()
	tooltest.Need(t, "debugfs")
	out, err := tool.Run(context.Background(), "debugfs", "-R", command, path)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// memDevice is a sparse device in memory.
type memDevice struct {
	pagesMu sync.RWMutex
	pages   map[int64]*[blockSize]byte
}

func newMemDevice() *memDevice { return &memDevice{pages: map[int64]*[blockSize]byte{}} }

func (m *memDevice) ReadAt(p []byte, off int64) (int, error) {
	m.pagesMu.RLock()
	defer m.pagesMu.RUnlock()
	for n := 0; n < len(p); {
		at := (off + int64(n)) % blockSize
		part := p[n:min(len(p), n+int(blockSize-at))]
		if page := m.pages[(off+int64(n))/blockSize]; page != nil {
			copy(part, page[at:])
		} else {
			clear(part)
		}
		n += len(part)
	}
	return len(p), nil
}

func (m *memDevice) WriteAt(p []byte, off int64) (int, error) {
	m.pagesMu.Lock()
	defer m.pagesMu.Unlock()
	for n := 0; n < len(p); {
		at := (off + int64(n)) % blockSize
		key := (off + int64(n)) / blockSize
		page := m.pages[key]
		if page == nil {
			page = new([blockSize]byte)
			m.pages[key] = page
		}
		n += copy(page[at:], p[n:])
	}
	return len(p), nil
}

func (m *memDevice) PunchHole(off, n int64) error {
	if off%blockSize != 0 || n%blockSize != 0 {
		return errors.New("a hole that is not whole blocks")
	}
	m.pagesMu.Lock()
	defer m.pagesMu.Unlock()
	for i := off / blockSize; i < (off+n)/blockSize; i++ {
		delete(m.pages, i)
	}
	return nil
}

// sum is a checksum of all that is not zero.
func (m *memDevice) sum() [32]byte {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(m.pages)) {
		if page := m.pages[k]; !isZero(page[:]) {
			fmt.Fprintln(h, k)
			h.Write(page[:])
		}
	}
	return [32]byte(h.Sum(nil))
}

// save writes the device to a sparse file.
func (m *memDevice) save(t testing.TB, size int64) string {
	t.Helper()
	f := newDevice(t)
	for k, page := range m.pages {
		if _, err := f.WriteAt(page[:], k*blockSize); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
