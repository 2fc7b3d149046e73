package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/layer"
)

// The names of the steps that goals compare.
const (
	stepInflateZstd = "inflate + sha256 of the zstd layers, a core each"
	stepRawGzip     = "gzip layers → raw"
	stepRawZstd     = "zstd layers → raw"
	stepBothGzip    = "gzip layers → raw + qcow2"
	stepZstdQcow    = "gzip layers → raw + compressed qcow2"
	stepAgain       = "the same again, nothing changed"
	stepLoop        = "loop + mkfs.ext4 + gunzip + tar x"
	stepUnpack      = "gunzip + tar x into a folder"
	stepMke2fs      = "mke2fs -d FOLDER"
	stepRepart      = "systemd-repart --offline from the folder"
	stepQemu        = "qemu-img convert raw → qcow2"
	stepQemuZstd    = "qemu-img convert -c zstd -m 16 -W"
	stepCopy        = "cp + sha256sum of the raw disk"
)

// A benchmark is the image in both compressions and where things are written.
type benchmark struct {
	config
	gzip, zstd string // layouts
	blobs      []string
	layers     int
	packed     int64
	inflated   int64
}

func newBench(ctx context.Context, c config) (*benchmark, error) {
	if _, err := os.Stat(filepath.Join(c.layout, "index.json")); err != nil {
		return nil, fmt.Errorf("%w\nhint: name the OCI layout of a bootable image with -layout; `make image` leaves one", err)
	}
	b := &benchmark{config: c, gzip: filepath.Join(c.scratch, "gzip"), zstd: filepath.Join(c.scratch, "zstd")}
	for how, dir := range map[string]string{"gzip": b.gzip, "zstd": b.zstd} {
		if _, _, err := command(ctx, []string{self(), "-layout", c.layout, "-tag", c.tag, "-pack", dir, "-packing", how}); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(b.gzip, inflatedName))
	if err != nil {
		return nil, err
	}
	if b.inflated, err = strconv.ParseInt(string(text), 10, 64); err != nil {
		return nil, err
	}
	packed, err := layer.Open(b.gzip, "")
	if err != nil {
		return nil, err
	}
	b.layers = len(packed.Layers)
	for _, l := range packed.Layers {
		p, err := packed.BlobPath(l.Digest)
		if err != nil {
			return nil, err
		}
		b.blobs, b.packed = append(b.blobs, p), b.packed+l.Size
	}
	return b, nil
}

// self is this program, for the steps that it does itself.
func self() string {
	name, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return name
}

func (b *benchmark) in(name string) string { return filepath.Join(b.scratch, name) }

// measureAll runs every step in an order in which one finds what the one before left.
func (b *benchmark) measureAll(ctx context.Context) (rs []result) {
	for _, s := range b.steps() {
		if ctx.Err() != nil {
			return rs
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", s.name)
		rs = append(rs, measure(ctx, s, b.runs))
	}
	return rs
}

func (b *benchmark) steps() []step {
	raw := filepath.Join(b.in("kept"), "image", "disk.raw")
	steps := []step{
		{name: base, argv: [][]string{{self(), "-inflate", b.gzip}}},
		{name: stepInflateZstd, argv: [][]string{{self(), "-inflate", b.zstd}}},
		b.ours(stepRawGzip, b.gzip, "--type", "raw"),
		b.ours(stepRawZstd, b.zstd, "--type", "raw"),
		b.ours(stepBothGzip, b.gzip, "--type", "raw,qcow2"),
		b.ours(stepZstdQcow, b.gzip, "--type", "raw,qcow2", "--compress", "zstd"),
		{name: stepAgain, ours: true, argv: [][]string{b.build(b.gzip, "kept", "--type", "raw")},
			prepare: func() error { return b.keep(raw) }},
		{name: stepCopy, argv: [][]string{{"cp", "--sparse=always", raw, b.in("copy.raw")}, {"sha256sum", b.in("copy.raw")}, {"sync", b.in("copy.raw")}}, clean: b.remove("copy.raw")},
		{name: stepQemu, needs: []string{"qemu-img"}, argv: [][]string{{"qemu-img", "convert", "-O", "qcow2", raw, b.in("peer.qcow2")}, {"sync", b.in("peer.qcow2")}}, clean: b.remove("peer.qcow2")},
		{name: stepQemuZstd, needs: []string{"qemu-img"}, argv: [][]string{{"qemu-img", "convert", "-c", "-o", "compression_type=zstd", "-m", "16", "-W", "-O", "qcow2", raw, b.in("peer.qcow2")}, {"sync", b.in("peer.qcow2")}}, clean: b.remove("peer.qcow2")},
	}
	return append(steps, b.peers()...)
}

// ours is our program making a disk of a layout, in a fresh folder each time.
func (b *benchmark) ours(name, layout string, flags ...string) step {
	return step{name: name, ours: true, argv: [][]string{b.build(layout, "out", flags...)}, prepare: b.remove("out"), clean: b.remove("out")}
}

func (b *benchmark) build(layout, out string, flags ...string) []string {
	argv := []string{b.program, "build", "--progress", "json", "--image", "oci:" + layout,
		"--update-source", "localhost:5000/bench:latest", "--cache", b.in("cache"), "--output", b.in(out)}
	return append(argv, flags...)
}

// keep makes the disk once that later steps copy and convert.
func (b *benchmark) keep(raw string) error {
	if _, err := os.Stat(raw); err == nil {
		return nil
	}
	_, _, err := command(context.Background(), b.build(b.gzip, "kept", "--type", "raw"))
	return err
}

func (b *benchmark) remove(names ...string) func() error {
	return func() error {
		var errs []error
		for _, n := range names {
			errs = append(errs, os.RemoveAll(b.in(n)))
		}
		return errors.Join(errs...)
	}
}

// peers are the ways to a disk that others take. They run as root where owners
// have to be kept, and get the layers without whiteouts applied: less work, not more.
func (b *benchmark) peers() []step {
	size := (b.inflated + b.inflated/2 + 1<<30) >> 20 << 20
	disk, mnt, dir := b.in("peer.raw"), b.in("mnt"), b.in("tree")
	var unpack, extract [][]string
	for _, blob := range b.blobs {
		unpack = append(unpack, []string{"tar", "-xzf", blob, "-C", dir})
		extract = append(extract, []string{"tar", "-xzf", blob, "-C", mnt})
	}
	loop := [][]string{{"truncate", "-s", fmt.Sprint(size), disk}, {"mkfs.ext4", "-q", "-F", disk}, {"mount", "-o", "loop", disk, mnt}}
	loop = append(append(loop, extract...), []string{"umount", mnt}, []string{"sync", disk})
	folder := func(d string) func() error {
		return func() error { return errors.Join(os.RemoveAll(d), os.MkdirAll(d, 0o755)) }
	}
	return []step{
		{name: stepLoop, root: true, needs: []string{"mkfs.ext4", "mount", "losetup"}, argv: loop, prepare: folder(mnt), clean: func() error {
			_, _, _ = command(context.Background(), []string{"umount", "-q", mnt}) // only still mounted where a step failed
			return b.remove("peer.raw")()
		}},
		{name: stepUnpack, root: true, argv: unpack, prepare: folder(dir)},
		{name: stepMke2fs, root: true, needs: []string{"mke2fs"}, argv: [][]string{{"mke2fs", "-q", "-t", "ext4", "-d", dir, disk, fmt.Sprintf("%dk", size>>10)}, {"sync", disk}}, clean: b.remove("peer.raw")},
		{name: stepRepart, root: true, needs: []string{"systemd-repart"}, speaks: "--offline", argv: [][]string{{"systemd-repart", "--offline=yes", "--empty=create", "--size=auto",
			"--dry-run=no", "--definitions=" + b.in("repart.d"), "--copy-source=" + dir, disk}, {"sync", disk}}, prepare: b.repartDefinitions, clean: b.remove("peer.raw")},
	}
}

// repartDefinitions describes one root partition in repart.d(5).
func (b *benchmark) repartDefinitions() error {
	if err := os.MkdirAll(b.in("repart.d"), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(b.in("repart.d"), "10-root.conf"), []byte("[Partition]\nType=root\nFormat=ext4\nCopyFiles=/\n"), 0o644)
}
