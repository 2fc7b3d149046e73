package ext4

import (
	"testing"
	"time"
)

func openFS(t testing.TB, w *Writer) *FS {
	t.Helper()
	f, err := Open(w.dev)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func writeTree(t testing.TB, d Device, b *builder, o Options, size int64) (*Writer, Stats) {
	t.Helper()
	w, err := NewWriter(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return w, finish(t, w, b.stream(), size)
}

func TestNastyTree(t *testing.T) {
	d, b := newDevice(t), nastyTree()
	w, st := writeTree(t, d, b, testOptions(), 700<<20)
	if st.Size != 700<<20 {
		t.Fatalf("size %d", st.Size)
	}
	compare(t, openFS(t, w), b.sorted())
	fsck(t, d.Name())
}

// newTime is the modification time of what has none.
func newTime(o Options) time.Time {
	s := newStamp(o.Time)
	return time.Unix(s.sec, int64(s.nsec))
}
