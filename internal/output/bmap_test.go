package output_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aitheros/aither-image/internal/disk/fat"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/output"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"github.com/aitheros/aither-image/internal/tree"
)

func TestBmaptoolAgrees(t *testing.T) {
	bmaptool := tooltest.Need(t, "bmaptool")
	src, rs, all := disk(t)
	dir := t.TempDir()
	dst := filepath.Join(dir, "disk.raw")
	zero := []output.Range{{Off: 45 * mib, Len: mib}, {Off: mib + 1, Len: 1}}
	if _, err := (output.Raw{}).Write(context.Background(), dst, output.Source{R: src, Size: int64(len(all)), Data: rs, Zero: zero}, output.Options{}); err != nil {
		t.Fatal(err)
	}
	medium := filepath.Join(dir, "medium")
	if _, err := tool.Run(context.Background(), bmaptool, "copy", "--bmap", dst+".bmap", dst, medium); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(medium)
	if err != nil || !bytes.Equal(got, all) {
		t.Errorf("the medium differs, %v", err)
	}
	// One wrong byte of the image is found by its range's checksum.
	b, err := os.ReadFile(dst)
	if err != nil {
		t.Fatal(err)
	}
	b[16*mib] ^= 1
	if err := os.WriteFile(dst, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tool.Run(context.Background(), bmaptool, "copy", "--bmap", dst+".bmap", dst, medium); err == nil || !strings.Contains(err.Error(), "checksum mismatch") {
		t.Error(err)
	}
}

// flash writes what a block map names onto a medium full of old data.
func flash(t *testing.T, disk string, size int) string {
	t.Helper()
	raw, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	m := bytes.Repeat([]byte{0xaa}, size)
	for _, r := range mapped(t, disk+".bmap") {
		first, last, ok := strings.Cut(r, "-")
		if !ok {
			last = first
		}
		from, err := strconv.Atoi(first)
		if err != nil {
			t.Fatal(err)
		}
		to, err := strconv.Atoi(last)
		if err != nil {
			t.Fatal(err)
		}
		end := min((to+1)*4096, len(raw))
		copy(m[from*4096:end], raw[from*4096:end])
	}
	path := filepath.Join(t.TempDir(), "medium")
	if err := os.WriteFile(path, m, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mapped is the list of a block map's ranges: "0-5", "768".
func mapped(t *testing.T, path string) (rs []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "<Range") {
			rs = append(rs, strings.Fields(strings.Split(line, ">")[1])[0])
		}
	}
	return rs
}

// A partition table and a FAT file system are whole on a medium with old data.
func TestBmapOnUsedMedium(t *testing.T) {
	sgdisk, fsck := tooltest.Need(t, "sgdisk"), tooltest.Need(t, "fsck.fat")
	l, err := plan.New(plan.Options{RootSize: plan.Size{Bytes: plan.MiB}, ESPSize: plan.Size{Bytes: 40 * plan.MiB}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := errors.Join(raw.Truncate(l.DiskSize), l.Table().Write(raw)); err != nil {
		t.Fatal(err)
	}
	files := func(yield func(tree.Entry, error) bool) {
		_ = yield(tree.Entry{Path: ".", Mode: fs.ModeDir}, nil) && yield(tree.Entry{Path: "zeros", Content: tree.Bytes(make([]byte, mib))}, nil)
	}
	esp := l.Find(plan.ESP)
	o := fat.Options{HiddenSectors: uint32(esp.Start / 512)}
	if err := fat.Write(io.NewOffsetWriter(raw, esp.Start), esp.Size, o, files); err != nil {
		t.Fatal(err)
	}
	used, err := fat.Used(esp.Size, o, files)
	if err != nil {
		t.Fatal(err)
	}
	src := output.Source{R: raw, Size: l.DiskSize, Zero: []output.Range{
		{Off: 0, Len: l.Table().FirstUsable()}, {Off: l.Table().LastUsable(), Len: l.DiskSize - l.Table().LastUsable()}, {Off: esp.Start, Len: used},
	}}
	dst := filepath.Join(t.TempDir(), "out.raw")
	if _, err := (output.Raw{}).Write(context.Background(), dst, src, output.Options{}); err != nil {
		t.Fatal(err)
	}
	medium := flash(t, dst, int(l.DiskSize))
	if out := run(t, sgdisk, "-v", medium); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	b, err := os.ReadFile(medium)
	if err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(t.TempDir(), "esp")
	if err := os.WriteFile(part, b[esp.Start:esp.End()], 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, fsck, "-n", part)
	fsys, err := fat.Open(bytes.NewReader(b[esp.Start:esp.End()]))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fsys.ReadFile("zeros", mib); err != nil || !bytes.Equal(got, make([]byte, mib)) {
		t.Errorf("the file of zeros has old data, %v", err)
	}
}

func TestBmapNamesWhatMatters(t *testing.T) {
	_, rs, all := disk(t)
	dst := filepath.Join(t.TempDir(), "disk.raw")
	src := output.Source{R: bytes.NewReader(all), Size: int64(len(all)), Data: rs, Zero: []output.Range{{Off: 20 * kib, Len: 4096}}}
	if _, err := (output.Raw{}).Write(context.Background(), dst, src, output.Options{NoChecksum: true}); err != nil {
		t.Fatal(err)
	}
	got := mapped(t, dst+".bmap")
	if d := cmp.Diff([]string{"0-5", "3840-4095", "4096-4352", "15361", "17920"}, got); d != "" {
		t.Error(d)
	}
	if _, err := os.Stat(dst + ".sha256"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
