package qcow2_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/output/qcow2"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

var compressions = []qcow2.Compression{qcow2.None, qcow2.Zlib, qcow2.Zstd}

// sample is a disk with every kind of cluster: zeros, text, noise, runs and mixtures.
func sample(size int64) []byte {
	b := make([]byte, size)
	rnd := rand.New(rand.NewSource(1))
	for off := 0; off < len(b); off += 64 * kib {
		c := b[off:min(off+64*kib, len(b))]
		switch rnd.Intn(5) {
		case 1:
			rnd.Read(c)
		case 2:
			for i := range c {
				c[i] = "the quick brown fox "[(i*i/7)%20]
			}
		case 3:
			rnd.Read(c[:len(c)/2])
		case 4:
			c[len(c)-1] = 1
		}
	}
	return b
}

func write(t testing.TB, disk []byte, o qcow2.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	w, err := qcow2.NewWriter(f, int64(len(disk)), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(context.Background(), bytes.NewReader(disk), 0, int64(len(disk))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := tool.Run(context.Background(), name, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestQEMUAgrees(t *testing.T) {
	qemu := tooltest.Need(t, "qemu-img")
	for _, c := range compressions {
		for _, size := range []int64{512, 64 * kib, 64*kib + 512, 20*mib + 1536} {
			t.Run(fmt.Sprintf("%s-%d", c, size), func(t *testing.T) {
				disk := sample(size)
				path := write(t, disk, qcow2.Options{Compression: c})
				raw := filepath.Join(t.TempDir(), "disk.raw")
				if err := os.WriteFile(raw, disk, 0o600); err != nil {
					t.Fatal(err)
				}
				if out := run(t, qemu, "check", "-f", "qcow2", path); !strings.Contains(out, "No errors were found") {
					t.Error(out)
				}
				if out := run(t, qemu, "compare", "-f", "qcow2", "-F", "raw", path, raw); !strings.Contains(out, "Images are identical") {
					t.Error(out)
				}
				want := "compression type: zlib"
				if c == qcow2.Zstd {
					want = "compression type: zstd"
				}
				if out := run(t, qemu, "info", "-f", "qcow2", path); !strings.Contains(out, want) || !strings.Contains(out, "corrupt: false") {
					t.Error(out)
				}
			})
		}
	}
}

// A disk of 5 TiB with a little data far apart needs many tables and little else.
func TestLargeSparseDisk(t *testing.T) {
	qemu := tooltest.Need(t, "qemu-img")
	const size = int64(5) << 40
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := qcow2.NewWriter(f, size, qcow2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < size; off += size / 5 {
		if err := w.Add(context.Background(), ones{}, off, 128*kib); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if out := run(t, qemu, "check", "-f", "qcow2", path); !strings.Contains(out, "No errors were found") {
		t.Error(out)
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() > 3*mib {
		t.Errorf("%v, %v", fi.Size(), err)
	}
}

type ones struct{}

func (ones) ReadAt(p []byte, _ int64) (int, error) {
	for i := range p {
		p[i] = 1
	}
	return len(p), nil
}

func TestSameBytesForAnyNumberOfWorkers(t *testing.T) {
	disk := sample(30*mib + 512)
	copy(disk[30*mib:], "a last cluster that is not whole")
	for _, c := range compressions {
		var first []byte
		for _, n := range []int{1, 2, 3, 7, 0} {
			b, err := os.ReadFile(write(t, disk, qcow2.Options{Compression: c, Workers: n}))
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = b
			}
			if !bytes.Equal(first, b) {
				t.Errorf("%s: %d workers give other bytes than one", c, n)
			}
		}
	}
}

// Compressed clusters lie close together, across the borders of clusters too.
func TestCompressedClustersArePacked(t *testing.T) {
	disk := make([]byte, 100*64*kib)
	rnd := rand.New(rand.NewSource(3))
	for off := 0; off < len(disk); off += 64 * kib {
		rnd.Read(disk[off : off+40*kib])
	}
	fi, err := os.Stat(write(t, disk, qcow2.Options{Compression: qcow2.Zstd}))
	if most := int64(100*41*kib + 8*64*kib); err != nil || fi.Size() > most {
		t.Errorf("file of %d bytes, more than %d, %v", fi.Size(), most, err)
	}
}

// failing is a disk of which some bytes cannot be read.
type failing struct{}

func (failing) ReadAt(p []byte, off int64) (int, error) {
	if off >= 5*mib {
		return 0, errors.New("bad sector")
	}
	return ones{}.ReadAt(p, off)
}

// full is a file that takes no more than a few bytes.
type full struct{}

func (full) WriteAt(p []byte, off int64) (int, error) {
	if off > 3*mib {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

// endless is a file that takes everything.
type endless struct{}

func (endless) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestErrorsComeOut(t *testing.T) {
	for want, c := range map[string]struct {
		r io.ReaderAt
		w io.WriterAt
	}{"bad sector": {failing{}, endless{}}, "no space left": {ones{}, full{}}} {
		w, err := qcow2.NewWriter(c.w, 64*mib, qcow2.Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = w.Add(context.Background(), c.r, 0, 64*mib)
		if err = errors.Join(err, w.Close()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	for _, size := range []int64{0, -512, 513, 1 << 60} {
		if _, err := qcow2.NewWriter(full{}, size, qcow2.Options{}); err == nil {
			t.Errorf("a disk of %d bytes is taken", size)
		}
	}
	if _, err := qcow2.NewWriter(full{}, mib, qcow2.Options{Compression: "lz4"}); err == nil || !strings.Contains(err.Error(), "hint:") {
		t.Error(err)
	}
	w, err := qcow2.NewWriter(full{}, mib+512, qcow2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	ctx := context.Background()
	for _, r := range [][2]int64{{-64 * kib, 64 * kib}, {512, 64 * kib}, {0, 512}, {mib, 64 * kib}} {
		if err := w.Add(ctx, ones{}, r[0], r[1]); err == nil {
			t.Errorf("range %v is taken", r)
		}
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if err := w.Add(stopped, ones{}, 0, 64*kib); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := w.Add(ctx, ones{}, mib, 512); err != nil {
		t.Error(err)
	}
	if err := errors.Join(w.Add(ctx, ones{}, mib, 512), w.Close()); err == nil || !strings.Contains(err.Error(), "added twice") {
		t.Error(err)
	}
}
