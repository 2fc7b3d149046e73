package qcow2_test

import (
	"bytes"
	"context"
	"encoding/binary"
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
	disk := sample(30 * mib)
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

func TestReadBack(t *testing.T) {
	disk := sample(20*mib + 512)
	for _, c := range compressions {
		f, err := os.Open(write(t, disk, qcow2.Options{Compression: c}))
		if err != nil {
			t.Fatal(err)
		}
		checkReads(t, f, disk)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkReads compares whole and partial reads of an image with the disk.
func checkReads(t *testing.T, r io.ReaderAt, disk []byte) *qcow2.Image {
	t.Helper()
	m, err := qcow2.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	if m.Size() != int64(len(disk)) {
		t.Fatalf("size is %d", m.Size())
	}
	got := make([]byte, len(disk))
	if n, err := m.ReadAt(got, 0); n != len(got) || err != nil || !bytes.Equal(got, disk) {
		t.Fatalf("whole read: %d, %v", n, err)
	}
	rnd := rand.New(rand.NewSource(2))
	for range 200 {
		off := rnd.Intn(len(disk))
		p := make([]byte, rnd.Intn(200*kib))
		n, err := m.ReadAt(p, int64(off))
		want := disk[off:min(off+len(p), len(disk))]
		if !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) {
			t.Fatalf("read of %d at %d: %d, %v", len(p), off, n, err)
		}
	}
	return m
}

func TestReadsWhatQEMUWrites(t *testing.T) {
	qemu := tooltest.Need(t, "qemu-img")
	disk := sample(9*mib + 512)
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(raw, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, opts := range [][]string{
		{"-o", "compat=0.10"},
		{"-o", "compat=0.10", "-c"},
		{"-o", "compat=1.1"},
		{"-o", "cluster_size=512"},
		{"-o", "cluster_size=2M", "-c"},
		{"-o", "cluster_size=4k", "-c"},
		{"-o", "compression_type=zstd", "-c"},
		{"-o", "compression_type=zstd,cluster_size=2M", "-c"},
		{"-o", "preallocation=metadata"},
	} {
		t.Run(strings.Join(opts, " "), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.qcow2")
			args := append([]string{"convert", "-f", "raw", "-O", "qcow2"}, opts...)
			run(t, qemu, append(args, raw, path)...)
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			checkReads(t, f, disk)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestReaderRefuses(t *testing.T) {
	path := write(t, sample(mib), qcow2.Options{Compression: qcow2.Zstd})
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(b []byte) []byte{
		"mark of qcow2":       func(b []byte) []byte { b[0] = 0; return b },
		"reading header":      func(b []byte) []byte { return b[:71] },
		"version 4":           func(b []byte) []byte { b[7] = 4; return b },
		"backing file":        func(b []byte) []byte { b[15] = 9; return b },
		"encrypted":           func(b []byte) []byte { b[35] = 1; return b },
		"cluster bits 22":     func(b []byte) []byte { b[23] = 22; return b },
		"too large":           func(b []byte) []byte { b[24] = 0x7f; return b },
		"does not fit a disk": func(b []byte) []byte { b[26] = 1; return b },
		"marked corrupt":      func(b []byte) []byte { b[79] |= 2; return b },
		"in another file":     func(b []byte) []byte { b[79] |= 4; return b },
		"extended L2":         func(b []byte) []byte { b[79] |= 16; return b },
		"not known":           func(b []byte) []byte { b[78] |= 1; return b },
		"compression type 7":  func(b []byte) []byte { b[104] = 7; return b },
		"too short for its":   func(b []byte) []byte { b[103] = 104; return b },
		"reading L1 table":    func(b []byte) []byte { b[42] = 1; return b },
	} {
		if _, err := qcow2.Open(bytes.NewReader(spoil(bytes.Clone(good)))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestBrokenClustersAreErrors(t *testing.T) {
	good, err := os.ReadFile(write(t, bytes.Repeat([]byte("data"), 64*kib), qcow2.Options{Compression: qcow2.Zstd}))
	if err != nil {
		t.Fatal(err)
	}
	l1 := binary.BigEndian.Uint64(good[40:])
	l2 := binary.BigEndian.Uint64(good[l1:]) & 0x00fffffffffffe00
	for name, spoil := range map[string]func(b []byte){
		"unaligned L2 table":    func(b []byte) { b[l1+6] |= 2 },
		"L2 table behind end":   func(b []byte) { b[l1+2] = 9 },
		"unaligned cluster":     func(b []byte) { binary.BigEndian.PutUint64(b[l2:], 512) },
		"cluster behind end":    func(b []byte) { binary.BigEndian.PutUint64(b[l2:], 1<<40) },
		"compressed behind end": func(b []byte) { binary.BigEndian.PutUint64(b[l2:], 1<<62|1<<40) },
		"compressed garbage":    func(b []byte) { binary.BigEndian.PutUint64(b[l2:], 1<<62|l1) },
	} {
		b := bytes.Clone(good)
		spoil(b)
		m, err := qcow2.Open(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.ReadAt(make([]byte, 512), 0); err == nil || err == io.EOF {
			t.Errorf("%s: %v", name, err)
		}
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

func FuzzOpen(f *testing.F) {
	for _, c := range compressions {
		b, err := os.ReadFile(write(f, sample(256*kib), qcow2.Options{Compression: c}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, int64(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, off int64) {
		m, err := qcow2.Open(bytes.NewReader(b))
		if err != nil {
			return
		}
		if m.Size() < 0 {
			t.Fatal("negative size")
		}
		p := make([]byte, 300*kib)
		if n, err := m.ReadAt(p, off); n < len(p) && err == nil {
			t.Fatal("short read without an error")
		}
	})
}
