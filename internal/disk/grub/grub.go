// Package grub makes a disk start from GRUB on machines with a BIOS: it builds
// the core image (platform i386-pc) out of an image's GRUB files and places it
// as grub-install would, without running anything. It refuses disks without a
// BIOS boot partition and core images that do not fit into it.
//
// The formats are GRUB's own, versions 2.06 to 2.14; ondisk.md, 4.6 of the
// project's notes gives their fields.
package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Options say what a core image is made of.
type Options struct {
	// Files has kernel.img, boot.img, diskboot.img, lzma_decompress.img,
	// moddep.lst and *.mod: an image's usr/lib/grub/i386-pc.
	Files fs.FS
	// Modules go into the core image with all that they depend on; nil is what
	// finds an ext4 file system on a GPT disk. GRUB loads others from Prefix.
	Modules []string
	// Prefix is where GRUB looks for grub.cfg and modules: "(,gpt3)/boot/grub2".
	Prefix string
	// Config is run before anything else; nil for none.
	Config []byte
	// BIOSBootStart and BIOSBootSize are the BIOS boot partition, in bytes.
	BIOSBootStart, BIOSBootSize int64
}

// DefaultModules find an ext4 file system on a GPT disk of a BIOS machine.
var DefaultModules = []string{"biosdisk", "part_gpt", "ext2"}

const (
	sector    = 512
	maxCore   = 0x78000 // what the boot code can load below the reserved memory
	maxFile   = 4 << 20 // of any input; the largest real one is a hundredth
	bpbStart  = 0x03
	bpbEnd    = 0x5a
	tableAt   = 0x1b8 // disk signature and partition table
	tableEnd  = 0x1fe
	coreLBAAt = 0x5c
	driveAt   = 0x64
	checkAt   = 0x66 // jump of boot.img around a work-around for old BIOSes
	blocksAt  = 0x1f4
	loadAt    = 0x820 // segment that diskboot.img loads to
)

// A Boot is a core image with the boot sector that loads it.
type Boot struct {
	// Core is what goes to the start of the BIOS boot partition, whole sectors.
	Core  []byte
	start int64
	boot  []byte
}

// Install builds what Write puts on a disk.
func Install(o Options) (*Boot, error) {
	b, err := install(o)
	if err != nil {
		return nil, fmt.Errorf("building GRUB core image: %w", err)
	}
	return b, nil
}

func install(o Options) (*Boot, error) {
	if o.BIOSBootStart <= 0 || o.BIOSBootStart%sector != 0 || o.BIOSBootSize <= 0 {
		return nil, fmt.Errorf("bytes %d+%d are no BIOS boot partition", o.BIOSBootStart, o.BIOSBootSize)
	}
	boot, err := read(o.Files, "boot.img", sector)
	if err != nil {
		return nil, err
	}
	first, err := read(o.Files, "diskboot.img", sector)
	if err != nil {
		return nil, err
	}
	body, err := compressedCore(o)
	if err != nil {
		return nil, err
	}
	body = append(body, make([]byte, -len(body)&(sector-1))...)
	core := append(first, body...)
	if n := int64(len(core)); n > maxCore || n > o.BIOSBootSize {
		return nil, fmt.Errorf("it takes %d bytes, the BIOS boot partition has %d and GRUB can load %d", n, o.BIOSBootSize, maxCore)
	}
	le := binary.LittleEndian
	le.PutUint64(core[blocksAt:], uint64(o.BIOSBootStart/sector+1))
	le.PutUint16(core[blocksAt+8:], uint16(len(body)/sector))
	le.PutUint16(core[blocksAt+10:], loadAt)
	return &Boot{Core: core, start: o.BIOSBootStart, boot: boot}, nil
}

// Sector returns the first 512 bytes of a disk with GRUB's boot code in the
// place of what mbr has; the partition table and the BIOS parameter block stay.
func (b *Boot) Sector(mbr []byte) []byte {
	s := bytes.Clone(b.boot)
	copy(s[bpbStart:bpbEnd], mbr[bpbStart:])
	copy(s[tableAt:tableEnd], mbr[tableAt:])
	binary.LittleEndian.PutUint64(s[coreLBAAt:], uint64(b.start/sector))
	s[driveAt] = 0xff // the drive that the BIOS started from
	s[checkAt], s[checkAt+1] = 0x90, 0x90
	s[510], s[511] = 0x55, 0xaa
	return s
}

// A Disk is read and written at offsets.
type Disk interface {
	io.ReaderAt
	io.WriterAt
}

// Write puts the core image and the boot code on a disk that already has its
// partition table.
func (b *Boot) Write(d Disk) error {
	mbr := make([]byte, sector)
	if n, err := d.ReadAt(mbr, 0); n < len(mbr) {
		return fmt.Errorf("reading the disk's first sector: %w", err)
	}
	if mbr[510] != 0x55 || mbr[511] != 0xaa {
		return errors.New("writing GRUB's boot sector: the disk has no partition table yet")
	}
	if _, err := d.WriteAt(b.Core, b.start); err != nil {
		return fmt.Errorf("writing GRUB's core image: %w", err)
	}
	if _, err := d.WriteAt(b.Sector(mbr), 0); err != nil {
		return fmt.Errorf("writing GRUB's boot sector: %w", err)
	}
	return nil
}

// read returns a file of the GRUB folder; size, if not 0, is what it must have.
func read(files fs.FS, name string, size int) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading GRUB's %s: %w", name, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading GRUB's %s: %w", name, err)
	case len(b) > maxFile:
		return nil, fmt.Errorf("reading GRUB's %s: it is larger than %d bytes", name, maxFile)
	case size != 0 && len(b) != size:
		return nil, fmt.Errorf("reading GRUB's %s: it has %d bytes, not %d", name, len(b), size)
	}
	return b, nil
}
