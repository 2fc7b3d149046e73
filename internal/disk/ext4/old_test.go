package ext4

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// TestOverOldContents copies an image without its zeros over a medium with old
// contents, as programs that know about holes do, and lets the kernel use it.
func TestOverOldContents(t *testing.T) {
	const size = 640 << 20 // five whole groups: the last one's bitmap is all zeros
	d, b := newMemDevice(), nastyTree()
	_, st := writeTree(t, d, b, testOptions(), size)
	medium := newDevice(t)
	junk := bytes.Repeat([]byte("\x39\x98\x3b\xc0\x00\x02\xea\x53\xef\x11\x0a"), 1<<20)
	for off := int64(0); off < size; off += int64(len(junk)) {
		if _, err := medium.WriteAt(junk[:min(int64(len(junk)), size-off)], off); err != nil {
			t.Fatal(err)
		}
	}
	keys, data := d.compact()
	for i, k := range keys {
		if _, err := medium.WriteAt(data[i*blockSize:(i+1)*blockSize], k*blockSize); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range st.Zero {
		if _, err := medium.WriteAt(make([]byte, r.Len), r.Off); err != nil {
			t.Fatal(err)
		}
	}
	fsck(t, medium.Name())
	compareImage(t, medium.Name(), b.sorted())
	useMounted(t, medium.Name())
}

// useMounted has the kernel make files in a file system, where it may.
func useMounted(t *testing.T, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	tooltest.Need(t, "mount")
	dir := t.TempDir()
	if _, err := tool.Run(context.Background(), "mount", "-t", "ext4", "-o", "loop,init_itable=0", path, dir); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	for i := range 20 {
		sub := filepath.Join(dir, fmt.Sprintf("new%d", i)) // directories spread over groups
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Error(err)
		}
		for k := range 600 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(k)), []byte("x"), 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	run(t, "umount", dir)
	needUnmounted(t, path)
	fsck(t, path)
}
