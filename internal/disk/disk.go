// Package disk assembles one raw disk image: the root file system is filled
// while the image's layers are read, everything around it is written when the
// trees are known. It refuses to mount, to attach and to run anything, and it
// needs no privilege.
package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/aitheros/aither-image/internal/disk/ext4"
	"github.com/aitheros/aither-image/internal/disk/fat"
	"github.com/aitheros/aither-image/internal/disk/grub"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/tree"
)

// Options are the properties of a disk that do not come from its content.
type Options struct {
	// Plan is the layout asked for; RootSize is a minimum beside the rule.
	Plan plan.Options
	// RootFree is room to keep free on the root file system, in bytes.
	RootFree int64
	// Time stands in all file systems where the trees tell no time.
	Time time.Time
}

// An Image is a raw disk image while it is written.
type Image struct {
	file   *os.File
	opts   Options
	layout *plan.Layout
	root   *ext4.Writer
	boot   *ext4.Writer // nil without a separate /boot
}

// Parts are the trees of a disk's file systems and what their sizes follow from.
type Parts struct {
	Root tree.Stream
	Boot tree.Stream // nil without a separate /boot
	ESP  tree.Stream
	// GRUB are the files of usr/lib/grub/i386-pc; nil without BIOS boot.
	GRUB map[string]tree.Content
	// Content is the size of the image's files in bytes.
	Content int64
	// Kernel is the size of one kernel with its initial RAM disk in bytes.
	Kernel int64
}

// A Result describes a finished disk image.
type Result struct {
	Layout *plan.Layout
	Root   ext4.Stats
	// Zero are ranges that hold zeros and must be written even by programs
	// that copy only what is not a hole.
	Zero []ext4.Range
}

// A TooSmallError says that a partition before the root is too small for what
// it must hold: the disk has to be written again with the sizes it names.
type TooSmallError struct{ ESP, Boot plan.Size }

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("the partitions before the root are too small: ESP needs %d bytes (%s), /boot %d bytes (%s)", e.ESP.Bytes, e.ESP.Why, e.Boot.Bytes, e.Boot.Why)
}

// New starts a disk image in an empty file.
func New(f *os.File, o Options) (*Image, error) {
	l, err := plan.New(o.Plan)
	if err != nil {
		return nil, fmt.Errorf("planning the partitions: %w", err)
	}
	im := &Image{file: f, opts: o, layout: l}
	root := l.Find(plan.Root)
	im.root, err = ext4.NewWriter(&region{f: f, off: root.Start}, im.fsOptions(root))
	if err != nil {
		return nil, fmt.Errorf("preparing the root file system: %w", err)
	}
	return im, nil
}

func (im *Image) fsOptions(p *plan.Partition) ext4.Options {
	id := uuid.MustParse(p.UUID)
	return ext4.Options{UUID: id, HashSeed: uuid.NewSHA1(id, []byte("hash seed")), Label: p.Label, Time: im.opts.Time}
}

// Root is the root file system, to be filled.
func (im *Image) Root() *ext4.Writer { return im.root }

// UUIDs are what UUID= names the file systems by; boot is empty without a
// separate one.
func (im *Image) UUIDs() (root, boot, esp string) {
	if p := im.layout.Find(plan.Boot); p != nil {
		boot = p.UUID
	}
	return im.layout.Find(plan.Root).UUID, boot, im.layout.Find(plan.ESP).UUID
}

// Finish writes the file systems, the boot loader and the partition table.
func (im *Image) Finish(ctx context.Context, p Parts) (*Result, error) {
	if err := im.checkSizes(p); err != nil {
		return nil, err
	}
	var size plan.Size
	stats, err := im.root.Finish(ctx, p.Root, func(u ext4.Usage) int64 {
		size = im.rootSize(u, p)
		return size.Bytes
	})
	if err != nil {
		return nil, fmt.Errorf("writing the root file system: %w", err)
	}
	final := im.opts.Plan
	final.RootSize = plan.Size{Bytes: max(size.Bytes, stats.Size), Why: size.Why}
	l, err := plan.New(final)
	if err != nil {
		return nil, fmt.Errorf("planning the partitions: %w", err)
	}
	if l.Find(plan.Root).Start != im.layout.Find(plan.Root).Start {
		return nil, errors.New("internal error: the root partition has moved")
	}
	im.layout = l
	if err := im.file.Truncate(l.DiskSize); err != nil {
		return nil, fmt.Errorf("sizing %s to %d bytes: %w", im.file.Name(), l.DiskSize, err)
	}
	r := &Result{Layout: l, Root: stats}
	for _, z := range stats.Zero {
		r.Zero = append(r.Zero, ext4.Range{Off: l.Find(plan.Root).Start + z.Off, Len: z.Len})
	}
	return r, im.rest(ctx, p, r)
}

func (im *Image) rootSize(u ext4.Usage, p Parts) plan.Size {
	s := plan.RootSize(plan.Usage{Image: p.Content, Extra: im.opts.RootFree})
	if asked := im.opts.Plan.RootSize; asked.Bytes > s.Bytes {
		s = asked
	}
	if u.MinBytes > s.Bytes {
		s = plan.Size{Bytes: u.MinBytes, Why: "what the content takes on disk"}
	}
	if d := im.opts.Plan.DiskSize; d > 0 {
		if rest := d - im.layout.Find(plan.Root).Start - plan.MiB; rest > s.Bytes {
			s = plan.Size{Bytes: rest, Why: "the rest of the disk"}
		}
	}
	s.Bytes = (s.Bytes + plan.MiB - 1) / plan.MiB * plan.MiB
	return s
}

func (im *Image) checkSizes(p Parts) error {
	esp := plan.ESPSize(treeBytes(p.ESP))
	boot := plan.Size{}
	small := esp.Bytes > im.layout.Find(plan.ESP).Size
	if b := im.layout.Find(plan.Boot); b != nil {
		boot = plan.BootSize(p.Kernel, 0)
		small = small || boot.Bytes > b.Size
	}
	if small {
		return &TooSmallError{ESP: esp, Boot: boot}
	}
	return nil
}

func treeBytes(s tree.Stream) int64 {
	var n int64
	for e, err := range s {
		if err == nil && e.Content != nil {
			n += e.Content.Size()
		}
	}
	return n
}

// rest writes everything beside the root file system.
func (im *Image) rest(ctx context.Context, p Parts, r *Result) error {
	l := im.layout
	if part := l.Find(plan.Boot); part != nil {
		if err := im.separateBoot(ctx, part, p.Boot, r); err != nil {
			return fmt.Errorf("writing /boot: %w", err)
		}
	}
	esp := l.Find(plan.ESP)
	opts := fat.Options{
		Label: esp.Label, VolumeID: esp.VolumeID, Time: im.opts.Time,
		HiddenSectors: uint32(esp.Start / l.SectorSize), SectorSize: int(l.SectorSize)}
	if err := fat.Write(&region{f: im.file, off: esp.Start}, esp.Size, opts, p.ESP); err != nil {
		return fmt.Errorf("writing the EFI system partition: %w", err)
	}
	used, err := fat.Used(esp.Size, opts, p.ESP)
	if err != nil {
		return fmt.Errorf("writing the EFI system partition: %w", err)
	}
	// Allocation tables and partition entries are mostly zeros that mean
	// something, and so is the end of a core image.
	r.Zero = append(r.Zero, ext4.Range{Off: esp.Start, Len: used}, ext4.Range{Len: l.Table().FirstUsable()},
		ext4.Range{Off: l.Table().LastUsable(), Len: l.DiskSize - l.Table().LastUsable()})
	if b := l.Find(plan.BIOSBoot); b != nil {
		r.Zero = append(r.Zero, ext4.Range{Off: b.Start, Len: b.Size})
	}
	if err := l.Table().Write(im.file); err != nil {
		return fmt.Errorf("writing the partition table: %w", full(im.file, 0, err))
	}
	return im.bios(p)
}

func (im *Image) separateBoot(ctx context.Context, part *plan.Partition, s tree.Stream, r *Result) error {
	o := im.fsOptions(part)
	o.GrowTo = part.Size // it stays as it is, and needs no room for more groups
	w, err := ext4.NewWriter(&region{f: im.file, off: part.Start}, o)
	if err != nil {
		return err
	}
	stats, err := w.Finish(ctx, s, func(ext4.Usage) int64 { return part.Size })
	if err != nil {
		return err
	}
	im.boot = w
	for _, z := range stats.Zero {
		r.Zero = append(r.Zero, ext4.Range{Off: part.Start + z.Off, Len: z.Len})
	}
	return nil
}

// bios makes the disk start on machines without UEFI.
func (im *Image) bios(p Parts) error {
	part := im.layout.Find(plan.BIOSBoot)
	if part == nil || p.GRUB == nil {
		return nil
	}
	boot, err := grub.Install(grub.Options{Files: contentFS(p.GRUB), Prefix: im.layout.GRUBPrefix(), BIOSBootStart: part.Start, BIOSBootSize: part.Size})
	if err != nil {
		return fmt.Errorf("making GRUB's core image: %w", err)
	}
	return boot.Write(im.file)
}

// Replace gives the byte ranges that would differ if a file of the file system
// that holds /boot had another content of as many blocks.
func (im *Image) Replace(path string, content []byte) ([]ext4.Patch, error) {
	w := im.root
	if im.boot != nil {
		w = im.boot
	}
	ps, err := w.Replace(path, content)
	if err != nil {
		return nil, fmt.Errorf("replacing %q: %w", path, err)
	}
	for i := range ps {
		ps[i].Off += im.layout.BootFS().Start
	}
	return ps, nil
}
