package osbuild

import (
	"github.com/osbuild/images/pkg/datasizes"
	"github.com/osbuild/images/pkg/disk"

	"github.com/aitheros/aither-image/internal/disk/gpt"
	"github.com/aitheros/aither-image/internal/disk/plan"
)

// fstab are the mount options that bootc-image-builder gives to these roles.
var fstab = map[plan.Role]struct {
	options string
	pass    uint64
}{
	plan.ESP:  {"umask=0077,shortname=winnt", 2},
	plan.Boot: {"ro", 0},
	plan.Root: {"ro", 0},
}

// table is a layout in osbuild's terms, identifiers included.
func table(l *plan.Layout) *disk.PartitionTable {
	pt := &disk.PartitionTable{
		UUID: l.DiskGUID.String(), Type: disk.PT_GPT, SectorSize: uint64(l.SectorSize), Size: datasizes.Size(l.DiskSize),
	}
	for _, p := range l.Partitions {
		dp := disk.Partition{
			Start: uint64(p.Start), Size: datasizes.Size(p.Size), Type: p.Type.String(), UUID: p.GUID.String(),
			Label: p.Name, Bootable: p.Attrs&gpt.AttrLegacyBoot != 0,
		}
		if p.FS != "" {
			dp.Payload = &disk.Filesystem{
				Type: p.FS, UUID: p.UUID, Label: p.Label, Mountpoint: p.Mountpoint,
				FSTabOptions: fstab[p.Role].options, FSTabPassNo: fstab[p.Role].pass,
			}
		}
		pt.Partitions = append(pt.Partitions, dp)
	}
	return pt
}
