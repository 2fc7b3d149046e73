package plan

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"strings"

	"github.com/google/uuid"
	"github.com/osbuild/images/pkg/arch"
	"github.com/osbuild/images/pkg/datasizes"
	"github.com/osbuild/images/pkg/disk"
	"github.com/osbuild/images/pkg/disk/partition"

	"github.com/aitheros/aither-image/internal/disk/gpt"
)

// grain is what starts and sizes are multiples of; the same in pkg/disk.
const grain = MiB

// maxSize keeps sums of sizes far from overflow: 1 PiB.
const maxSize = int64(1) << 50

// New lays out a disk. Identifiers, names and the start of every partition do
// not depend on the root's size, so a disk can be written from its start before
// that size is known, and New called again once it is.
func New(o Options) (*Layout, error) {
	a, err := archOf(o.Arch)
	if err != nil {
		return nil, err
	}
	specs, err := o.specs(a)
	if err != nil {
		return nil, err
	}
	pt, err := disk.NewPartitionTable(o.base(specs), nil, datasizes.Size(o.DiskSize), partition.RawPartitioningMode, a,
		map[string]datasizes.Size{}, "ext4", rand.New(rand.NewSource(o.seed64())))
	if err != nil {
		return nil, fmt.Errorf("laying out partitions: %w", err)
	}
	l := &Layout{Arch: a.String(), DiskGUID: o.id("disk"), SectorSize: o.sectorSize(), DiskSize: int64(pt.Size)}
	for i, s := range specs {
		p := s.Partition
		p.Number, p.Start, p.Size = i+1, int64(pt.Partitions[i].Start), int64(pt.Partitions[i].Size)
		if !strings.EqualFold(pt.Partitions[i].UUID, p.GUID.String()) {
			return nil, fmt.Errorf("internal error: partition %q changed its place", p.Name)
		}
		// pkg/disk lets the last partition run up to the backup table.
		p.Size -= p.Size % grain
		l.Partitions = append(l.Partitions, p)
	}
	if o.DiskSize != 0 && l.DiskSize > ceil(o.DiskSize, grain) {
		return nil, tooSmall(o.DiskSize, l)
	}
	return l, nil
}

func tooSmall(asked int64, l *Layout) error {
	var s strings.Builder
	for _, p := range l.Partitions {
		fmt.Fprintf(&s, "\n  %-9s %7d MiB  %s", p.Role, p.Size/MiB, p.Why)
	}
	return &FitError{fmt.Sprintf("laying out partitions: a disk of %d bytes is too small, %d are needed:%s\nhint: give the disk at least %d MiB, or leave its size out",
		asked, l.DiskSize, s.String(), l.DiskSize/MiB)}
}

// A FitError is a disk that cannot hold what is asked of it.
type FitError struct{ text string }

func (e *FitError) Error() string { return e.text }

func archOf(name string) (arch.Arch, error) {
	switch name {
	case "", "x86_64":
		return arch.ARCH_X86_64, nil
	case "aarch64":
		return arch.ARCH_AARCH64, nil
	}
	return arch.ARCH_UNSET, fmt.Errorf("laying out partitions: no layout for architecture %q\nhint: x86_64 and aarch64 are known", name)
}

// A spec is a partition before it has a place.
type spec struct {
	Partition
	min Size
}

func (o Options) specs(a arch.Arch) ([]spec, error) {
	rootType := gpt.TypeRootX86_64
	if a == arch.ARCH_AARCH64 {
		rootType = gpt.TypeRootAArch64
	}
	var specs []spec
	if a == arch.ARCH_X86_64 && !o.NoBIOS && o.sectorSize() == 512 {
		specs = append(specs, spec{
			Partition{Role: BIOSBoot, Type: gpt.TypeBIOSBoot, Name: "BIOS-BOOT", Attrs: gpt.AttrLegacyBoot},
			Size{MiB, "room for GRUB's core image (at most 480 KiB)"},
		})
	}
	specs = append(specs, spec{
		Partition{Role: ESP, Type: gpt.TypeESP, Name: "EFI-SYSTEM", FS: "vfat", Label: "EFI-SYSTEM", Mountpoint: "/boot/efi"},
		o.ESPSize.or(ESPSize(0)),
	})
	if o.SeparateBoot {
		specs = append(specs, spec{
			Partition{Role: Boot, Type: gpt.TypeXBOOTLDR, Name: "boot", FS: "ext4", Label: "boot", Mountpoint: "/boot"},
			o.BootSize.or(BootSize(0, 0)),
		})
	}
	specs = append(specs, spec{
		Partition{Role: Root, Type: rootType, Name: "root", FS: "ext4", Label: "root", Mountpoint: "/"},
		o.RootSize.or(RootSize(Usage{})),
	})
	for i := range specs {
		if err := o.complete(&specs[i]); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// or returns s, or d where s was left out.
func (s Size) or(d Size) Size {
	if s.Bytes == 0 {
		return d
	}
	if s.Why == "" {
		s.Why = "as asked for"
	}
	return s
}

// complete fills in what every partition gets in the same way.
func (o Options) complete(s *spec) error {
	if s.min.Bytes < 0 || s.min.Bytes > maxSize || o.DiskSize < 0 || o.DiskSize > maxSize {
		return fmt.Errorf("laying out partitions: size of %s (%d) or of the disk (%d) is not in 0 to %d", s.Role, s.min.Bytes, o.DiskSize, maxSize)
	}
	if n := o.sectorSize(); n != 512 && n != 4096 {
		return fmt.Errorf("laying out partitions: sector size %d is neither 512 nor 4096", n)
	}
	s.Why = s.min.Why
	s.GUID = o.id("partition " + string(s.Role))
	if label, ok := o.Labels[s.Role]; ok {
		s.Label = label
	}
	switch s.FS {
	case "vfat":
		id := o.id("volume " + string(s.Role))
		s.VolumeID = binary.BigEndian.Uint32(id[:]) | 1 // 0 counts as none
		s.UUID = fmt.Sprintf("%04X-%04X", s.VolumeID>>16, s.VolumeID&0xffff)
	case "ext4":
		s.UUID = o.id("filesystem " + string(s.Role)).String()
	}
	return nil
}

// base is the table that pkg/disk completes with places.
func (o Options) base(specs []spec) *disk.PartitionTable {
	pt := &disk.PartitionTable{UUID: o.id("disk").String(), Type: disk.PT_GPT, SectorSize: uint64(o.sectorSize())}
	for _, s := range specs {
		p := disk.Partition{
			Size: datasizes.Size(ceil(s.min.Bytes, grain)), Type: s.Type.String(), UUID: s.GUID.String(), Label: s.Name,
		}
		if s.FS != "" {
			p.Payload = &disk.Filesystem{Type: s.FS, UUID: s.UUID, Label: s.Label, Mountpoint: s.Mountpoint}
		}
		pt.Partitions = append(pt.Partitions, p)
	}
	return pt
}

func (o Options) sectorSize() int64 {
	if o.SectorSize == 0 {
		return 512
	}
	return o.SectorSize
}

// namespace keeps our identifiers apart from those that others derive from the same digest.
var namespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/aitheros/aither-image/disk"))

// id derives the identifier of one thing from the seed (RFC 9562, version 5):
// stable whatever else is on the disk, different for every thing and seed.
func (o Options) id(of string) uuid.UUID {
	return uuid.NewSHA1(uuid.NewSHA1(namespace, []byte(o.Seed)), []byte(of))
}

// seed64 feeds pkg/disk's generator, so that anything it should name on its own repeats too.
func (o Options) seed64() int64 {
	id := o.id("generator")
	return int64(binary.BigEndian.Uint64(id[8:]))
}
