package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func scratch(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRegionReadsZerosWhereNobodyWrote(t *testing.T) {
	r := &region{f: scratch(t), off: 1000}
	if _, err := r.WriteAt([]byte("abc"), 10); err != nil {
		t.Fatal(err)
	}
	got := bytes.Repeat([]byte{0xff}, 8)
	if n, err := r.ReadAt(got, 9); n != 8 || err != nil || string(got) != "\x00abc\x00\x00\x00\x00" {
		t.Errorf("got %q, %d, %v", got, n, err)
	}
	if fi, err := r.f.Stat(); err != nil || fi.Size() != 1013 {
		t.Errorf("the file has %v bytes, %v", fi, err)
	}
}

func TestPunchedRangesReadAsZeros(t *testing.T) {
	r := &region{f: scratch(t), off: 4096}
	if _, err := r.WriteAt(bytes.Repeat([]byte("x"), 300_000), 0); err != nil {
		t.Fatal(err)
	}
	if err := r.PunchHole(8192, 200_000); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 300_000)
	if _, err := r.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("x"), 300_000)
	clear(want[8192:208_192])
	if !bytes.Equal(got, want) {
		t.Error("another range was punched")
	}
}

func TestFullMediumIsNamed(t *testing.T) {
	f := scratch(t)
	err := full(f, 77, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC})
	var e *FullError
	if !errors.As(err, &e) || e.Need != 77 || e.Free <= 0 || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), f.Name()) {
		t.Errorf("got %+v", err)
	}
	if err := full(f, 1, syscall.EIO); errors.As(err, &e) {
		t.Errorf("EIO was taken for a full medium: %v", err)
	}
}
