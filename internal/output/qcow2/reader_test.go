package qcow2_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/output/qcow2"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

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

// small is an image of version 2 with clusters of 512 bytes, small enough for
// a fuzzer to reach every field.
func small() []byte {
	b := make([]byte, 5*512)
	be := binary.BigEndian
	be.PutUint32(b, 0x514649fb)
	be.PutUint32(b[4:], 2)
	be.PutUint32(b[20:], 9)
	be.PutUint64(b[24:], 4*512)
	be.PutUint32(b[36:], 1)
	be.PutUint64(b[40:], 512)
	be.PutUint64(b[512:], 1<<63|1024)
	be.PutUint64(b[1024:], 1<<63|1536)
	be.PutUint64(b[1032:], 1<<62|2048)
	copy(b[1536:], "plain")
	copy(b[2048:], "\x63\x00") // one empty deflate block, not the last
	return b
}

func TestSmallImage(t *testing.T) {
	m, err := qcow2.Open(bytes.NewReader(small()))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 512)
	if _, err := m.ReadAt(b, 0); err != nil || string(b[:5]) != "plain" {
		t.Errorf("%q, %v", b[:5], err)
	}
	if _, err := m.ReadAt(b, 512); err == nil {
		t.Error("a compressed cluster that ends too soon is no error")
	}
	if _, err := m.ReadAt(b, 1024); err != nil || b[0] != 0 {
		t.Errorf("%v, %v", b[0], err)
	}
}

func TestZeroFlagHidesTheCluster(t *testing.T) {
	b := append(small(), make([]byte, 512)...)
	binary.BigEndian.PutUint32(b[4:], 3)
	b[103] = 104
	b[1031] |= 1
	m, err := qcow2.Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	p := []byte{1, 2, 3}
	if _, err := m.ReadAt(p, 0); err != nil || !bytes.Equal(p, make([]byte, 3)) {
		t.Errorf("%v, %v", p, err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(small(), int64(0))
	zstd := append(small(), make([]byte, 512)...)
	binary.BigEndian.PutUint32(zstd[4:], 3)
	zstd[79], zstd[103], zstd[104] = 8, 112, 1
	f.Add(zstd, int64(512))
	f.Fuzz(func(t *testing.T, b []byte, off int64) {
		m, err := qcow2.Open(bytes.NewReader(b))
		if err != nil {
			return
		}
		if m.Size() < 0 {
			t.Fatal("negative size")
		}
		p := make([]byte, 5*kib)
		if n, err := m.ReadAt(p, off); n < len(p) && err == nil {
			t.Fatal("short read without an error")
		}
	})
}
