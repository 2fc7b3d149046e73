package qcow2_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/output/qcow2"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// BenchmarkWrite compares the writer with qemu-img on the raw image that
// AITHER_BENCH_RAW names: go test -bench Write -benchtime 3x.
func BenchmarkWrite(b *testing.B) {
	path := os.Getenv("AITHER_BENCH_RAW")
	if path == "" {
		b.Skip("AITHER_BENCH_RAW names no raw image")
	}
	qemu := tooltest.Need(b, "qemu-img")
	dst := filepath.Join(b.TempDir(), "disk.qcow2")
	for _, c := range []struct {
		name string
		comp qcow2.Compression
		args []string
	}{
		{"plain", qcow2.None, []string{"-W"}},
		{"zstd", qcow2.Zstd, []string{"-c", "-W", "-m", "16", "-o", "compression_type=zstd"}},
		{"zlib", qcow2.Zlib, []string{"-c", "-W", "-m", "16", "-o", "compression_type=zlib"}},
	} {
		b.Run(c.name+"/ours", func(b *testing.B) {
			for b.Loop() {
				b.SetBytes(convert(b, path, dst, c.comp))
			}
			report(b, dst)
		})
		b.Run(c.name+"/qemu-img", func(b *testing.B) {
			for b.Loop() {
				if err := os.Remove(dst); err != nil && !errors.Is(err, os.ErrNotExist) {
					b.Fatal(err)
				}
				args := append([]string{"convert", "-f", "raw", "-O", "qcow2"}, c.args...)
				if _, err := tool.Run(context.Background(), qemu, append(args, path, dst)...); err != nil {
					b.Fatal(err)
				}
			}
			report(b, dst)
		})
	}
}

func report(b *testing.B, dst string) {
	if fi, err := os.Stat(dst); err == nil {
		b.ReportMetric(float64(fi.Size())/1e6, "MB-file")
	}
}

// convert writes what is no hole of src and returns its size.
func convert(b *testing.B, src, dst string, c qcow2.Compression) int64 {
	in, err := os.Open(src)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.Remove(dst); err != nil && !errors.Is(err, os.ErrNotExist) {
		b.Fatal(err)
	}
	out, err := os.Create(dst)
	if err != nil {
		b.Fatal(err)
	}
	size, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		b.Fatal(err)
	}
	w, err := qcow2.NewWriter(out, size, qcow2.Options{Compression: c})
	if err != nil {
		b.Fatal(err)
	}
	var total, done int64
	for off := int64(0); off < size; {
		from, err := unix.Seek(int(in.Fd()), off, unix.SEEK_DATA)
		if err != nil {
			break
		}
		to, err := unix.Seek(int(in.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			b.Fatal(err)
		}
		off = to
		total += to - from
		from = max(from/qcow2.ClusterSize*qcow2.ClusterSize, done)
		done = min((to+qcow2.ClusterSize-1)/qcow2.ClusterSize*qcow2.ClusterSize, size)
		if err := w.Add(context.Background(), in, from, done-from); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), out.Close(), in.Close()); err != nil {
		b.Fatal(err)
	}
	return total
}
