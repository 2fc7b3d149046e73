// Package plan decides where partitions lie, how large they are and what they
// are called. The arithmetic is pkg/disk's of osbuild/images; every identifier
// comes from a seed. It refuses sizes that cannot hold and writes nothing.
package plan

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/aitheros/aither-image/internal/disk/gpt"
)

// A Role is what a partition is for.
type Role string

// The roles, in the order in which they lie on the disk.
const (
	BIOSBoot Role = "bios-boot" // GRUB's core image, no file system
	ESP      Role = "esp"       // EFI system partition, FAT
	Boot     Role = "boot"      // ext4 /boot, only when it is separate
	Root     Role = "root"      // ext4, always last, grows on the machine
)

// Units of sizes.
const (
	MiB int64 = 1 << 20
	GiB int64 = 1 << 30
)

// A Size is a number of bytes and the reason for it, one line for people.
type Size struct {
	Bytes int64  `json:"bytes"`
	Why   string `json:"why"`
}

// Options is what a layout depends on; the zero value is the default layout for x86_64.
type Options struct {
	// Arch is "x86_64" (also the meaning of "") or "aarch64".
	Arch string
	// SeparateBoot makes /boot an ext4 partition of its own, of type XBOOTLDR.
	// Without it kernels are on the root file system.
	SeparateBoot bool
	// NoBIOS leaves out the BIOS boot partition. aarch64 never has one, nor have
	// disks with sectors of 4096 bytes, from which no BIOS starts.
	NoBIOS bool
	// ESPSize, BootSize and RootSize are minimums; the zero value asks for the
	// default. They are rounded up to whole MiB.
	ESPSize, BootSize, RootSize Size
	// DiskSize, when not 0, is the size of the disk; root takes what is left.
	DiskSize int64
	// Labels replaces file system labels: "EFI-SYSTEM", "boot", "root".
	Labels map[Role]string
	// Seed is where every identifier comes from: the image's digest and what
	// the user adds to tell two disks of one image apart.
	Seed string
	// SectorSize is 512 (also the meaning of 0) or 4096.
	SectorSize int64
}

// A Layout is a disk's partitions, in bytes.
type Layout struct {
	Arch       string      `json:"arch"`
	DiskGUID   uuid.UUID   `json:"disk_guid"`
	SectorSize int64       `json:"sector_size"`
	DiskSize   int64       `json:"disk_size"`
	Partitions []Partition `json:"partitions"`
}

// A Partition is one partition of a layout.
type Partition struct {
	Number int       `json:"number"`
	Role   Role      `json:"role"`
	Type   uuid.UUID `json:"type"`
	GUID   uuid.UUID `json:"guid"`
	Name   string    `json:"name"`
	Attrs  uint64    `json:"attrs,omitempty"`
	Start  int64     `json:"start"`
	Size   int64     `json:"size"`
	// FS is "vfat", "ext4", or "" for none.
	FS string `json:"fs,omitempty"`
	// Label is the file system's label.
	Label string `json:"label,omitempty"`
	// UUID is what UUID= takes: a lower-case UUID, for FAT "ABCD-1234".
	UUID string `json:"uuid,omitempty"`
	// VolumeID is UUID as FAT stores it; 0 elsewhere.
	VolumeID uint32 `json:"-"`
	// Mountpoint is where the file system belongs: "/boot/efi", "/boot", "/".
	Mountpoint string `json:"mountpoint,omitempty"`
	// Why says where the size comes from.
	Why string `json:"why"`
}

// End is the first byte after the partition.
func (p Partition) End() int64 { return p.Start + p.Size }

// Find returns the partition of a role, or nil.
func (l *Layout) Find(r Role) *Partition {
	for i := range l.Partitions {
		if l.Partitions[i].Role == r {
			return &l.Partitions[i]
		}
	}
	return nil
}

// BootFS is the partition whose file system holds /boot: Boot or Root.
func (l *Layout) BootFS() *Partition {
	if p := l.Find(Boot); p != nil {
		return p
	}
	return l.Find(Root)
}

// GRUBPrefix is where GRUB's core image finds its files on this disk.
func (l *Layout) GRUBPrefix() string {
	p, dir := l.BootFS(), "/boot/grub2"
	if p.Role == Boot {
		dir = "/grub2"
	}
	return fmt.Sprintf("(,gpt%d)%s", p.Number, dir)
}

// Table is the partition table of the layout, without boot code.
func (l *Layout) Table() *gpt.Table {
	t := &gpt.Table{DiskGUID: l.DiskGUID, SectorSize: l.SectorSize, Size: l.DiskSize}
	for _, p := range l.Partitions {
		t.Partitions = append(t.Partitions, gpt.Partition{
			Number: p.Number, Type: p.Type, GUID: p.GUID, Name: p.Name, Attrs: p.Attrs, Start: p.Start, Size: p.Size,
		})
	}
	return t
}
