package output_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/output"
	"github.com/aitheros/aither-image/internal/output/qcow2"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// disk is a sparse disk in a file: its ranges of data, and all its bytes.
func disk(t testing.TB) (*os.File, []output.Range, []byte) {
	t.Helper()
	all := make([]byte, 70*mib+512)
	rs := []output.Range{{Off: 0, Len: 20 * kib}, {Off: 15 * mib, Len: 2*mib + 4096}, {Off: 60*mib + 4096, Len: 4096}, {Off: 70 * mib, Len: 512}}
	f, err := os.Create(filepath.Join(t.TempDir(), "source.raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	rnd := rand.New(rand.NewSource(7))
	for _, r := range rs {
		rnd.Read(all[r.Off:r.End()])
		if _, err := f.WriteAt(all[r.Off:r.End()], r.Off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(int64(len(all))); err != nil {
		t.Fatal(err)
	}
	return f, rs, all
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := tool.Run(context.Background(), name, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// contents reads the disk inside an output back.
func contents(t *testing.T, f output.Format, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !qcow2.Is(b) {
		return b
	}
	m, err := qcow2.Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	d := make([]byte, m.Size())
	if _, err := m.ReadAt(d, 0); err != nil {
		t.Fatal(err)
	}
	return d
}

// Every format holds the disk, says its checksum, repeats and leaves nothing else.
func TestEveryFormat(t *testing.T) {
	src, rs, all := disk(t)
	patch := []byte("console=ttyS0")
	for _, f := range output.Formats {
		t.Run(f.Name(), func(t *testing.T) {
			dir := t.TempDir()
			dst := filepath.Join(dir, f.Path())
			for name, s := range map[string]output.Source{
				"file":   {R: src, Size: int64(len(all))},
				"ranges": {R: src, Size: int64(len(all)), Data: rs},
				"memory": {R: bytes.NewReader(all), Size: int64(len(all))},
			} {
				res, err := f.Write(context.Background(), dst, s, output.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(contents(t, f, dst), all) {
					t.Errorf("%s: the disk differs", name)
				}
				b, err := os.ReadFile(dst)
				if err != nil || res.SHA256 != sumOf(b) || res.Size != int64(len(b)) || res.Path != dst {
					t.Errorf("%s: %+v, %v", name, res, err)
				}
				if res.Stored > 5*mib && name != "memory" {
					t.Errorf("%s: takes %d bytes", name, res.Stored)
				}
				line, err := os.ReadFile(dst + ".sha256")
				if want := sumOf(b) + "  " + filepath.Base(dst) + "\n"; string(line) != want || err != nil {
					t.Errorf("%s: .sha256 is %q, %v", name, line, err)
				}
				checkFiles(t, filepath.Dir(dst), res.Files)
			}
			s := output.Source{R: src, Size: int64(len(all)), Data: rs, Patches: []output.Patch{{Off: 50*mib - 3, Data: patch}, {Off: 5, Data: patch}}}
			if _, err := f.Write(context.Background(), dst, s, output.Options{}); err != nil {
				t.Fatal(err)
			}
			want := bytes.Clone(all)
			copy(want[50*mib-3:], patch)
			copy(want[5:], patch)
			if !bytes.Equal(contents(t, f, dst), want) {
				t.Error("the patches are not in the disk")
			}
		})
	}
}

func checkFiles(t *testing.T, dir string, want []string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(es) != len(want) {
		t.Errorf("%v for %v", es, want)
	}
	for _, w := range want {
		if fi, err := os.Stat(w); err != nil || fi.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v", w, err)
		}
	}
}

func TestSameBytesForAnyNumberOfWorkers(t *testing.T) {
	src, rs, all := disk(t)
	for _, f := range output.Formats {
		for _, c := range []qcow2.Compression{qcow2.None, qcow2.Zlib, qcow2.Zstd} {
			var first string
			for _, n := range []int{1, 3, 0} {
				dst := filepath.Join(t.TempDir(), "disk")
				res, err := f.Write(context.Background(), dst, output.Source{R: src, Size: int64(len(all)), Data: rs}, output.Options{Workers: n, Compression: c})
				if err != nil {
					t.Fatal(err)
				}
				got := res.SHA256
				if b, err := os.ReadFile(dst + ".bmap"); err == nil {
					got += sumOf(b)
				}
				if first == "" {
					first = got
				}
				if got != first {
					t.Errorf("%s %s: %d workers give other bytes", f.Name(), c, n)
				}
			}
		}
	}
}

func TestQEMUAgrees(t *testing.T) {
	qemu := tooltest.Need(t, "qemu-img")
	src, rs, all := disk(t)
	dst := filepath.Join(t.TempDir(), "disk.qcow2")
	for _, c := range []qcow2.Compression{qcow2.None, qcow2.Zlib, qcow2.Zstd} {
		if _, err := (output.QCOW2{}).Write(context.Background(), dst, output.Source{R: src, Size: int64(len(all)), Data: rs}, output.Options{Compression: c}); err != nil {
			t.Fatal(err)
		}
		if out := run(t, qemu, "check", dst); !strings.Contains(out, "No errors were found") {
			t.Error(out)
		}
		run(t, qemu, "compare", "-F", "raw", dst, src.Name())
	}
}

func TestCommitInPlace(t *testing.T) {
	_, rs, all := disk(t)
	dst := filepath.Join(t.TempDir(), "image", "disk.raw")
	for _, data := range [][]output.Range{nil, rs} {
		f, err := atomicfile.Create(dst, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			if _, err := f.WriteAt(all[r.Off:r.End()], r.Off); err != nil {
				t.Fatal(err)
			}
		}
		res, err := output.Commit(context.Background(), f, output.Source{Size: int64(len(all)), Data: data}, output.Options{})
		if err != nil || res.SHA256 != sumOf(all) {
			t.Fatalf("%+v, %v", res, err)
		}
		checkFiles(t, filepath.Dir(dst), []string{dst, dst + ".bmap", dst + ".sha256"})
	}
}

func TestMeasureLeavesTheName(t *testing.T) {
	_, rs, all := disk(t)
	dst := filepath.Join(t.TempDir(), "disk.raw")
	f, err := atomicfile.Create(dst, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(all, 0); err != nil {
		t.Fatal(err)
	}
	m, err := output.Measure(context.Background(), f, output.Source{Size: int64(len(all)), Data: rs}, output.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dst); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the name is taken before Commit: %v", err)
	}
	if _, err := f.ReadAt(make([]byte, 10), 0); err != nil {
		t.Errorf("the file is closed before Commit: %v", err)
	}
	if res, err := m.Commit(); err != nil || res.SHA256 != sumOf(all) {
		t.Errorf("%+v, %v", res, err)
	}
	checkFiles(t, filepath.Dir(dst), []string{dst, dst + ".bmap", dst + ".sha256"})
	g, err := atomicfile.Create(dst, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := output.Measure(context.Background(), g, output.Source{Size: 512, Patches: []output.Patch{{Data: []byte("x")}}}, output.Options{}); err == nil {
		t.Error("a patch is taken")
	}
}

// failing gives an error where the disk has its later data.
type failing struct{ io.ReaderAt }

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off > 30*mib {
		return 0, errors.New("bad sector")
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestFailureLeavesTheOlderOutput(t *testing.T) {
	_, rs, all := disk(t)
	for _, f := range output.Formats {
		dst := filepath.Join(t.TempDir(), "disk")
		good := output.Source{R: bytes.NewReader(all), Size: int64(len(all)), Data: rs}
		res, err := f.Write(context.Background(), dst, good, output.Options{})
		if err != nil {
			t.Fatal(err)
		}
		bad := good
		bad.R = failing{good.R}
		if _, err := f.Write(context.Background(), dst, bad, output.Options{}); err == nil || !strings.Contains(err.Error(), "bad sector") || !strings.Contains(err.Error(), dst) {
			t.Errorf("%s: %v", f.Name(), err)
		}
		stopped, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := f.Write(stopped, dst, good, output.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", f.Name(), err)
		}
		b, err := os.ReadFile(dst)
		if err != nil || sumOf(b) != res.SHA256 {
			t.Errorf("%s: the older output is gone, %v", f.Name(), err)
		}
		checkFiles(t, filepath.Dir(dst), res.Files)
	}
}

func TestProgressReachesTheTotal(t *testing.T) {
	_, rs, all := disk(t)
	var last progress.Event
	ctx := progress.With(context.Background(), progress.Func(func(e progress.Event) {
		if e.Done <= last.Done || e.Stage != output.Stage || e.Kind != progress.Update {
			t.Errorf("%+v after %+v", e, last)
		}
		last = e
	}))
	src := output.Source{R: bytes.NewReader(all), Size: int64(len(all)), Data: rs}
	if _, err := (output.QCOW2{}).Write(ctx, filepath.Join(t.TempDir(), "disk"), src, output.Options{}); err != nil {
		t.Fatal(err)
	}
	if last.Done != last.Total || last.Total < 2*mib {
		t.Errorf("ends with %+v", last)
	}
}

// What described an older output goes, even if nothing describes the new one.
func TestNothingStaleStandsBeside(t *testing.T) {
	_, rs, all := disk(t)
	for _, f := range output.Formats {
		dst := filepath.Join(t.TempDir(), "disk")
		src := output.Source{R: bytes.NewReader(all), Size: int64(len(all)), Data: rs}
		for _, o := range []output.Options{{}, {NoChecksum: true, NoBmap: true}} {
			res, err := f.Write(context.Background(), dst, src, o)
			if err != nil {
				t.Fatal(err)
			}
			checkFiles(t, filepath.Dir(dst), res.Files)
		}
	}
}

func TestRefusals(t *testing.T) {
	r := bytes.NewReader(make([]byte, mib))
	for want, s := range map[string]output.Source{
		"not a multiple of 512":      {R: r, Size: 513},
		"data range 4096+4096":       {R: r, Size: mib, Data: []output.Range{{Off: 8192, Len: 1}, {Off: 4096, Len: 4096}}},
		"data range 0+1048577":       {R: r, Size: mib, Data: []output.Range{{Off: 0, Len: mib + 1}}},
		"zero range 1048575+2":       {R: r, Size: mib, Zero: []output.Range{{Off: mib - 1, Len: 2}}},
		"patch 1048575+2 is outside": {R: r, Size: mib, Patches: []output.Patch{{Off: mib - 1, Data: []byte("xx")}}},
	} {
		for _, f := range output.Formats {
			if _, err := f.Write(context.Background(), filepath.Join(t.TempDir(), "x"), s, output.Options{}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("want %q, got %v", want, err)
			}
		}
	}
}

// A limit on the size of files stands for a full medium.
func TestFullMedium(t *testing.T) {
	if os.Getenv("OUTPUT_TEST_LIMITED") == "" {
		bash := tooltest.Need(t, "bash")
		c := tool.Cmd{Name: bash, Args: []string{"-c", `ulimit -f 20480; trap "" XFSZ; exec "$0" -test.run=TestFullMedium`, os.Args[0]}, Env: []string{"OUTPUT_TEST_LIMITED=1", "TMPDIR=" + t.TempDir()}}
		if out, err := c.Run(context.Background()); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	all := bytes.Repeat([]byte{1}, 40*mib)
	for _, f := range output.Formats {
		dst := filepath.Join(t.TempDir(), "disk")
		_, err := f.Write(context.Background(), dst, output.Source{R: bytes.NewReader(all), Size: int64(len(all))}, output.Options{})
		var full *output.FullError
		if !errors.As(err, &full) || full.Path != dst || full.Need != 40*mib || full.Free <= 0 || !errors.Is(err, syscall.EFBIG) {
			t.Errorf("%s: %v", f.Name(), err)
		}
		checkFiles(t, filepath.Dir(dst), nil)
	}
}
