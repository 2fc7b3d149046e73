package grub_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/ulikunitz/xz/lzma"

	"github.com/aitheros/aither-image/internal/disk/grub"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

const mib = 1 << 20

// folder is GRUB's folder: the host's, or that of another system to compare with.
func folder(t testing.TB) string {
	dir := os.Getenv("AITHER_GRUB_DIR")
	if dir == "" {
		dir = "/usr/lib/grub/i386-pc"
	}
	if _, err := os.Stat(filepath.Join(dir, "kernel.img")); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s has no GRUB, and CI must not skip", dir)
		}
		t.Skipf("%s has no GRUB", dir)
	}
	return dir
}

func options(t testing.TB) grub.Options {
	return grub.Options{Files: os.DirFS(folder(t)), Prefix: "(,gpt3)/boot/grub2", BIOSBootStart: mib, BIOSBootSize: mib}
}

// unpacked is the payload of a core image, taken apart as the decompressor does.
func unpacked(t *testing.T, core, decompressor []byte) []byte {
	t.Helper()
	head := core[512:]
	le := binary.LittleEndian
	packed, plain := le.Uint32(head[8:]), le.Uint32(head[12:])
	h := []byte{3 + 2*45, 0, 0, 1, 0}
	h = le.AppendUint64(h, uint64(plain))
	r, err := lzma.NewReader(io.MultiReader(bytes.NewReader(h), bytes.NewReader(head[len(decompressor):][:packed])))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || len(b) != int(plain) {
		t.Fatalf("%d bytes of %d: %v", len(b), plain, err)
	}
	return b
}

// grub-mkimage makes the same core image, but for the compressor's choices.
func TestSameAsGRUBMkimage(t *testing.T) {
	mkimage := tooltest.Need(t, "grub-mkimage")
	dir := folder(t)
	config := []byte("echo hello\n")
	cfg := filepath.Join(t.TempDir(), "early.cfg")
	if err := os.WriteFile(cfg, config, 0o600); err != nil {
		t.Fatal(err)
	}
	decompressor, err := os.ReadFile(filepath.Join(dir, "lzma_decompress.img"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		modules []string
		config  []byte
	}{
		"default": {nil, nil},
		"more":    {[]string{"biosdisk", "part_gpt", "xfs", "fat", "mdraid1x", "ext2"}, nil},
		"config":  {[]string{"biosdisk", "part_gpt", "ext2", "search_fs_uuid", "normal"}, config},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Modules, o.Config = c.modules, c.config
			b, err := grub.Install(o)
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "core.img")
			args := []string{"-O", "i386-pc", "-d", dir, "-p", o.Prefix, "-o", out}
			if c.config != nil {
				args = append(args, "-c", cfg)
			}
			if c.modules == nil {
				c.modules = grub.DefaultModules
			}
			if _, err := tool.Run(context.Background(), mkimage, append(args, c.modules...)...); err != nil {
				t.Fatal(err)
			}
			ref, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Core[:0x1f4], ref[:0x1f4]) || !bytes.Equal(b.Core[0x1fe:512], ref[0x1fe:512]) {
				t.Error("the first sector differs")
			}
			if !bytes.Equal(b.Core[512+0x18:512+len(decompressor)], ref[512+0x18:512+len(decompressor)]) {
				t.Error("the decompressor differs")
			}
			if !bytes.Equal(unpacked(t, b.Core, decompressor), unpacked(t, ref, decompressor)) {
				t.Error("the payload differs")
			}
			t.Logf("ours %d bytes, theirs %d", len(b.Core), len(ref))
		})
	}
}

func TestPlacement(t *testing.T) {
	b, err := grub.Install(options(t))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	list := b.Core[0x1f4:]
	if le.Uint64(list) != 2049 || int(le.Uint16(list[8:])) != len(b.Core)/512-1 || le.Uint16(list[10:]) != 0x820 || len(b.Core)%512 != 0 {
		t.Errorf("block list % x for %d bytes", list[:12], len(b.Core))
	}
	disk := make(memory, 3*mib)
	for i := range disk[:512] {
		disk[i] = byte(i)
	}
	if err := b.Write(disk); err == nil || !strings.Contains(err.Error(), "no partition table") {
		t.Error(err)
	}
	disk[510], disk[511] = 0x55, 0xaa
	before := bytes.Clone(disk[:512])
	if err := b.Write(disk); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(disk[mib:mib+len(b.Core)], b.Core) {
		t.Error("the core image is not at its place")
	}
	s := disk[:512]
	if !bytes.Equal(s[0x1b8:], before[0x1b8:]) || !bytes.Equal(s[3:0x5a], before[3:0x5a]) {
		t.Error("partition table or BIOS parameter block have changed")
	}
	if le.Uint64(s[0x5c:]) != 2048 || s[0x64] != 0xff || s[0x66] != 0x90 || s[0x67] != 0x90 || s[0] != 0xeb {
		t.Errorf("boot code is % x", s[0x5c:0x68])
	}
	again, err := grub.Install(options(t))
	if err != nil || !bytes.Equal(again.Core, b.Core) {
		t.Errorf("two core images differ, %v", err)
	}
}

type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }
func (m memory) ReadAt(p []byte, off int64) (int, error)  { return copy(p, m[off:]), nil }

// kernelELF is the smallest file that passes for GRUB's kernel.
func kernelELF(addr, size uint32) []byte {
	le := binary.LittleEndian
	b := make([]byte, 52+3*40+64)
	copy(b, "\x7fELF\x01\x01\x01")
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], 3)
	le.PutUint32(b[20:], 1)
	le.PutUint32(b[32:], 52)
	le.PutUint16(b[40:], 52)
	le.PutUint16(b[46:], 40)
	le.PutUint16(b[48:], 3)
	le.PutUint16(b[50:], 2)
	text := b[52+40:]
	le.PutUint32(text[4:], 1)
	le.PutUint32(text[8:], 2)
	le.PutUint32(text[12:], addr)
	le.PutUint32(text[16:], 52+3*40)
	le.PutUint32(text[20:], size)
	names := b[52+80:]
	le.PutUint32(names[4:], 3)
	le.PutUint32(names[16:], 52+3*40)
	le.PutUint32(names[20:], 1)
	return b
}

func fakeGRUB() fstest.MapFS {
	m := func(b []byte) *fstest.MapFile { return &fstest.MapFile{Data: b} }
	return fstest.MapFS{
		"boot.img": m(make([]byte, 512)), "diskboot.img": m(make([]byte, 512)),
		"kernel.img": m(kernelELF(0x9000, 64)), "lzma_decompress.img": m(make([]byte, 64)),
		"moddep.lst": m([]byte("a: b c\nb: c\nc:\nloop: pool\npool: loop\nlost: nowhere\n../x:\n")),
		"a.mod":      m([]byte("A")), "b.mod": m([]byte("BB")), "c.mod": m([]byte("CCC")),
	}
}

func TestModulesAndPrefixInOrder(t *testing.T) {
	b, err := grub.Install(grub.Options{Files: fakeGRUB(), Modules: []string{"a"}, Prefix: "(p)", Config: []byte("cfg"), BIOSBootStart: 512, BIOSBootSize: mib})
	if err != nil {
		t.Fatal(err)
	}
	p := unpacked(t, b.Core, make([]byte, 64))
	want := "mimg\x0c\x00\x00\x00\x48\x00\x00\x00" +
		"\x00\x00\x00\x00\x0c\x00\x00\x00CCC\x00" + "\x00\x00\x00\x00\x0c\x00\x00\x00BB\x00\x00" + "\x00\x00\x00\x00\x0c\x00\x00\x00A\x00\x00\x00" +
		"\x02\x00\x00\x00\x0c\x00\x00\x00cfg\x00" + "\x03\x00\x00\x00\x0c\x00\x00\x00(p)\x00"
	if got := string(p[64:]); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRefusals(t *testing.T) {
	huge := bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, mib)
	noise := make([]byte, mib)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	for want, spoil := range map[string]func(m fstest.MapFS, o *grub.Options){
		"kernel.img: open":              func(m fstest.MapFS, _ *grub.Options) { delete(m, "kernel.img") },
		"boot.img: it has 511 bytes":    func(m fstest.MapFS, _ *grub.Options) { m["boot.img"].Data = make([]byte, 511) },
		"it is larger than":             func(m fstest.MapFS, _ *grub.Options) { m["a.mod"].Data = huge },
		"too few":                       func(m fstest.MapFS, _ *grub.Options) { m["lzma_decompress.img"].Data = make([]byte, 8) },
		"bad magic number":              func(m fstest.MapFS, _ *grub.Options) { m["kernel.img"].Data = noise[:512] },
		"outside the kernel's memory":   func(m fstest.MapFS, _ *grub.Options) { m["kernel.img"].Data = kernelELF(0x8000, 64) },
		`section "": unexpected`:        func(m fstest.MapFS, _ *grub.Options) { m["kernel.img"].Data = kernelELF(0x9000, mib) },
		"no sections to load":           func(m fstest.MapFS, _ *grub.Options) { m["kernel.img"].Data = kernelELF(0x9000, 0) },
		"no module \"none\", which the": func(_ fstest.MapFS, o *grub.Options) { o.Modules = []string{"none"} },
		`which module "lost" needs`:     func(_ fstest.MapFS, o *grub.Options) { o.Modules = []string{"lost"} },
		"in a circle":                   func(_ fstest.MapFS, o *grub.Options) { o.Modules = []string{"loop"} },
		`no module "../x"`:              func(_ fstest.MapFS, o *grub.Options) { o.Modules = []string{"../x"} },
		"no BIOS boot partition":        func(_ fstest.MapFS, o *grub.Options) { o.BIOSBootStart = 1000 },
		"the BIOS boot partition has":   func(m fstest.MapFS, _ *grub.Options) { m["a.mod"].Data = noise },
	} {
		m := fakeGRUB()
		o := grub.Options{Files: m, Modules: []string{"a"}, BIOSBootStart: 512, BIOSBootSize: mib}
		spoil(m, &o)
		if _, err := grub.Install(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func FuzzKernel(f *testing.F) {
	f.Add(kernelELF(0x9000, 64), "a: b c\nb: c\nc:\n")
	f.Fuzz(func(t *testing.T, kernel []byte, deps string) {
		m := fakeGRUB()
		m["kernel.img"].Data, m["moddep.lst"].Data = kernel, []byte(deps)
		_, _ = grub.Install(grub.Options{Files: m, Modules: []string{"a"}, BIOSBootStart: 512, BIOSBootSize: mib})
	})
}
