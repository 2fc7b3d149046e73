package lint

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/aitheros/aither-image/internal/tree"
)

// A mem is a tree in memory.
type mem map[string]tree.Entry

// dir adds folders with their parents.
func (m mem) dir(paths ...string) mem {
	for _, p := range paths {
		for ; p != "."; p = path.Dir(p) {
			if _, ok := m[p]; !ok {
				m[p] = tree.Entry{Path: p, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	return m
}

// file adds a regular file with its folders.
func (m mem) file(p, content string) mem {
	m.dir(path.Dir(p))
	m[p] = tree.Entry{Path: p, Mode: 0o644, Content: tree.Text(content)}
	return m
}

// program adds an executable file.
func (m mem) program(paths ...string) mem {
	for _, p := range paths {
		m.file(p, "ELF")
		e := m[p]
		e.Mode = 0o755
		m[p] = e
	}
	return m
}

// link adds a symbolic link.
func (m mem) link(p, to string) mem {
	m.dir(path.Dir(p))
	m[p] = tree.Entry{Path: p, Mode: fs.ModeSymlink | 0o777, Link: to}
	return m
}

// special adds a file of another type.
func (m mem) special(p string, t fs.FileMode) mem {
	m.dir(path.Dir(p))
	m[p] = tree.Entry{Path: p, Mode: t | 0o600}
	return m
}

// remove takes away a path and everything below it.
func (m mem) remove(paths ...string) mem {
	for _, p := range paths {
		for k := range m {
			if k == p || under(k, p) {
				delete(m, k)
			}
		}
	}
	return m
}

func (m mem) Lookup(p string) (tree.Entry, error) {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	if p == "" {
		return tree.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil
	}
	for links := 0; ; links++ {
		moved := false
		for i := range p {
			if p[i] != '/' {
				continue
			}
			if e, ok := m[p[:i]]; ok && e.Mode.Type() == fs.ModeSymlink {
				p, moved = path.Join(target(p[:i], e.Link), p[i:]), true
				break
			}
		}
		if links > maxLinks {
			return tree.Entry{}, fmt.Errorf("%s: too many links", p)
		}
		if !moved {
			break
		}
	}
	e, ok := m[p]
	if !ok {
		return e, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	}
	return e, nil
}

func (m mem) ReadDir(p string) ([]tree.Entry, error) {
	e, err := m.Lookup(p)
	if err != nil || !e.Mode.IsDir() {
		return nil, fmt.Errorf("%s is no folder", p)
	}
	var out []tree.Entry
	for _, k := range m.names() {
		if path.Dir(k) == e.Path {
			out = append(out, m[k])
		}
	}
	return out, nil
}

func (m mem) names() []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

func (m mem) Tree() tree.Stream {
	return func(yield func(tree.Entry, error) bool) {
		if !yield(tree.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil) {
			return
		}
		for _, k := range m.names() {
			if !yield(m[k], nil) {
				return
			}
		}
	}
}

const kver = "usr/lib/modules/6.1.0"

// sound is an image without a fault.
func sound() mem {
	m := mem{}
	m.dir("dev", "proc", "sys", "run", "tmp", "var", "boot", "sysroot", "etc/ssh", "usr/lib/tmpfiles.d")
	m.link("ostree", "sysroot/ostree").link("home", "var/home").link("root", "var/roothome")
	m.link("bin", "usr/bin")
	m.program("usr/bin/ostree", "usr/bin/skopeo", "usr/bin/podman", "usr/bin/bwrap", "usr/sbin/semodule", "usr/bin/bootc")
	m.file("etc/selinux/config", "SELINUX=enforcing\n")
	m.file("etc/machine-id", "")
	m.file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n").file("etc/group", "root:x:0:\nwheel:x:10:\n")
	m.file("usr/lib/sysusers.d/basic.conf", "# comment\nu root 0 \"Super User\" /root\ng wheel 10\n")
	m.file("usr/lib/tmpfiles.d/var.conf", "d /var/lib 0755 - - -\n")
	m.dir("var/lib")
	m.file(prepareRootPath, "[composefs]\nenabled = yes\n")
	m.file(kargsDir+"/00.toml", "kargs = [\"quiet\", \"systemd.gpt_auto=0\"]\nmatch-architectures = [\"x86_64\"]\n")
	m.file("usr/lib/bootc/install/00.toml", "[install]\nroot-fs-type = \"ext4\"\nkargs = [\"rw\"]\n[install.filesystem.root]\ntype = \"ext4\"\n")
	m.program("usr/lib/systemd/system-generators/systemd-gpt-auto-generator")
	m.file("usr/lib/sysimage/dpkg/status", "Package: bash\nVersion: 5\n\nPackage: libostree-1-1\nStatus: install ok installed\nVersion: 2026.4-1\n")
	m.file(kver+"/vmlinuz", "MZ").file(kver+"/modules.dep", "").file(kver+"/modules.builtin", "kernel/fs/ext4/ext4.ko\n")
	m.file(kver+"/initramfs.img", dracut(nil))
	return m
}

// dracut is an initramfs with an early uncompressed part; change edits the members of the main one.
func dracut(change func(map[string]string)) string {
	members := map[string]string{
		"usr/lib/ostree/ostree-prepare-root": "ELF", "usr/lib/systemd/system/ostree-prepare-root.service": "[Unit]",
		prepareRootPath:              "[composefs]\nenabled = yes\n",
		kver + "/kernel/erofs.ko.xz": "x", kver + "/kernel/overlay.ko": "x",
	}
	for _, d := range drivers {
		members[kver+"/kernel/"+strings.ReplaceAll(d, "_", "-")+".ko.zst"] = "x"
	}
	if change != nil {
		change(members)
	}
	return cpioOf(map[string]string{"early_cpio": "1\n", "kernel/x86/microcode/GenuineIntel.bin": "code"}) + strings.Repeat("\x00", 512) + pressed("zstd", cpioOf(members))
}

func cpioOf(members map[string]string) string {
	var b strings.Builder
	add := func(name, data string) {
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00")
		for _, s := range []string{"", data} {
			b.WriteString(s)
			for b.Len()%4 != 0 {
				b.WriteByte(0)
			}
		}
	}
	var names []string
	for n := range members {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		add(n, members[n])
	}
	add("TRAILER!!!", "")
	return b.String()
}

func pressed(how, data string) string {
	var b bytes.Buffer
	switch how {
	case "gzip":
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(data))
		_ = w.Close()
	case "xz":
		w, _ := xz.NewWriter(&b)
		_, _ = w.Write([]byte(data))
		_ = w.Close()
	case "zstd":
		w, _ := zstd.NewWriter(&b)
		_, _ = w.Write([]byte(data))
		_ = w.Close()
	case "lz4": // one block of literals only
		b.WriteString("\x02\x21\x4c\x18")
		block := []byte{0xf0}
		n := len(data) - 15
		for ; n >= 255; n -= 255 {
			block = append(block, 255)
		}
		block = append(append(block, byte(n)), data...)
		b.Write([]byte{byte(len(block)), byte(len(block) >> 8), byte(len(block) >> 16), 0})
		b.Write(block)
	}
	return b.String()
}
