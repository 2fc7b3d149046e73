package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"testing"

	"github.com/aitheros/aither-image/internal/tree"
)

// BenchmarkWrite makes file systems of 40 000 files and 1.2 GB, as an operating
// system has them: many small files, some large. Peak is the heap after
// Finish's stream, arenas and all.
func BenchmarkWrite(b *testing.B) {
	for _, arenas := range []int{1, 4} {
		b.Run(fmt.Sprintf("arenas=%d", arenas), func(b *testing.B) {
			sizes, total := benchSizes(40_000, 1_200_000_000)
			source := pattern(1, 4<<20)
			b.SetBytes(total)
			for b.Loop() {
				b.StopTimer()
				d := newDevice(b)
				b.StartTimer()
				benchWrite(b, d, arenas, sizes, source)
				b.StopTimer()
				d.Truncate(0)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkPut places one large file after the other.
func BenchmarkPut(b *testing.B) {
	const size = 256 << 20
	source := pattern(1, size)
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		d := newDevice(b)
		w, err := NewWriter(d, testOptions())
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		a := w.NewArena(size)
		if _, err := a.Put(bytes.NewReader(source), size); err != nil {
			b.Fatal(err)
		}
		if err := a.Close(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		d.Truncate(0)
		b.StartTimer()
	}
}

// BenchmarkPutZeros places zeros, which are not written.
func BenchmarkPutZeros(b *testing.B) {
	const size = 256 << 20
	source := make([]byte, size)
	d := newDevice(b)
	w, err := NewWriter(d, testOptions())
	if err != nil {
		b.Fatal(err)
	}
	a := w.NewArena(0)
	b.SetBytes(size)
	for b.Loop() {
		if _, err := a.Put(bytes.NewReader(source), size); err != nil {
			b.Fatal(err)
		}
	}
}

// benchSizes are n sizes, half of them under 4 KiB, which sum up to about total.
func benchSizes(n int, total int64) ([]int, int64) {
	sizes, sum := make([]int, n), int64(0)
	for i := range sizes {
		switch {
		case i%2 == 0:
			sizes[i] = 200 + i%3800
		case i%100 == 1:
			sizes[i] = int(total) / n * 100 * 6 / 10
		default:
			sizes[i] = int(total) / n * 7 / 10
		}
		sum += int64(sizes[i])
	}
	return sizes, sum
}

func benchWrite(b *testing.B, d Device, arenas int, sizes []int, source []byte) {
	w, err := NewWriter(d, testOptions())
	if err != nil {
		b.Fatal(err)
	}
	data := make([]*Data, len(sizes))
	var list []*Arena
	share := len(sizes) / arenas
	for i := range arenas {
		hint := int64(0)
		for _, n := range sizes[i*share : (i+1)*share] {
			hint += int64(n+blockSize-1) &^ (blockSize - 1)
		}
		list = append(list, w.NewArena(hint))
	}
	var wg sync.WaitGroup
	for i, a := range list {
		wg.Go(func() {
			var r bytes.Reader
			for k := i * share; k < (i+1)*share; k++ {
				r.Reset(source[:sizes[k]])
				var err error
				if data[k], err = a.Put(&r, int64(sizes[k])); err != nil {
					b.Error(err)
				}
			}
			if err := a.Close(); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	label := map[string][]byte{"security.selinux": []byte("system_u:object_r:usr_t:s0\x00")}
	s := func(yield func(tree.Entry, error) bool) {
		for i, d := range data {
			if i%100 == 0 && !yield(tree.Entry{Path: fmt.Sprintf("dir%06d", i/100), Mode: fs.ModeDir | 0o755, Xattrs: label}, nil) {
				return
			}
			if !yield(tree.Entry{Path: fmt.Sprintf("dir%06d/file%02d", i/100, i%100), Mode: 0o644, Xattrs: label, Content: d}, nil) {
				return
			}
		}
	}
	if _, err := w.Finish(context.Background(), s, exactly(4<<30)); err != nil {
		b.Fatal(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapSys)/(1<<20), "heap-MiB")
}
