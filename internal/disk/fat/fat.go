// Package fat writes FAT12, FAT16 and FAT32 file systems from a tree in one
// pass and reads them back. It refuses what FAT cannot hold: links that are
// symbolic, devices, names with forbidden characters, names that differ only in
// case, and files of 4 GiB. Owners, modes and extended attributes are dropped.
//
// The format is Microsoft's "FAT32 File System Specification" 1.03, here called
// "the specification".
package fat

import (
	"errors"
	"fmt"
	"time"
)

// Options are the properties of a file system that are not in its tree.
type Options struct {
	// Label is the volume label: up to 11 bytes of upper-case ASCII; "" for none.
	Label string
	// VolumeID is the serial number; UUID= takes it as "ABCD-1234".
	VolumeID uint32
	// Time stands for entries whose tree entry has the zero time. Times are
	// stored in UTC, in steps of two seconds, within 1980 to 2107.
	Time time.Time
	// HiddenSectors is the number of sectors before the partition.
	HiddenSectors uint32
	// SectorSize is 512 (also the meaning of 0), 1024, 2048 or 4096.
	SectorSize int
}

// A FullError says that a tree does not fit.
type FullError struct {
	Needed, Free int64 // bytes of clusters, for the whole tree and in the whole file system
}

func (e *FullError) Error() string {
	return fmt.Sprintf("the tree takes %d bytes, the file system has room for %d", e.Needed, e.Free)
}

const (
	maxFile       = int64(1)<<32 - 1
	maxDirEntries = 65536 // the specification, 6.3: a directory is at most 2 MiB
	maxEntries    = 1 << 20
	dirEntrySize  = 32
	attrReadOnly  = 0x01
	attrLabel     = 0x08
	attrDir       = 0x10
	attrArchive   = 0x20
	attrLong      = 0x0f
)

// A geometry is where the parts of a file system lie.
type geometry struct {
	bits        int   // 12, 16 or 32
	sector      int64 // bytes
	cluster     int64 // bytes
	sectors     int64 // of the whole
	reserved    int64 // sectors before the first table
	fatSectors  int64 // of one table
	rootEntries int64 // of the fixed root directory; 0 with FAT32
	clusters    int64 // in the data area; the first has number 2
}

// dataStart is the byte at which cluster 2 begins.
func (g *geometry) dataStart() int64 {
	return (g.reserved+2*g.fatSectors)*g.sector + g.rootBytes()
}

func (g *geometry) rootStart() int64 { return (g.reserved + 2*g.fatSectors) * g.sector }

func (g *geometry) rootBytes() int64 {
	return (g.rootEntries*dirEntrySize + g.sector - 1) / g.sector * g.sector
}

func (g *geometry) clusterAt(n int64) int64 { return g.dataStart() + (n-2)*g.cluster }

// clustersFor is the number of clusters that n bytes take.
func (g *geometry) clustersFor(n int64) int64 { return (n + g.cluster - 1) / g.cluster }

// newGeometry chooses type and cluster size. FAT32 is taken wherever there are
// enough clusters for it, since firmware expects it of a system partition on a disk.
func newGeometry(size int64, o Options) (*geometry, error) {
	sector := int64(o.SectorSize)
	if sector == 0 {
		sector = 512
	}
	if sector != 512 && sector != 1024 && sector != 2048 && sector != 4096 {
		return nil, fmt.Errorf("sector size %d is not 512, 1024, 2048 or 4096", sector)
	}
	if size/sector > 1<<32-1 {
		return nil, fmt.Errorf("size %d is more than 2^32 sectors of %d", size, sector)
	}
	for _, bits := range []int{32, 16, 12} {
		for _, cluster := range clusterSizes(size, bits, sector) {
			g := &geometry{bits: bits, sector: sector, cluster: cluster, sectors: size / sector}
			if g.fit() {
				return g, nil
			}
		}
	}
	return nil, fmt.Errorf("no FAT fits %d bytes", size)
}

// clusterSizes are the sizes to try, best first.
func clusterSizes(size int64, bits int, sector int64) []int64 {
	best := int64(4096)
	if bits == 32 {
		for best < 32<<10 && size > best<<21 { // 8 KiB from 8 GiB on, and so forth
			best *= 2
		}
	}
	var cs []int64
	for c := best; c >= sector; c /= 2 {
		cs = append(cs, c)
	}
	for c := 2 * best; c <= 32<<10; c *= 2 {
		cs = append(cs, max(c, sector))
	}
	return cs
}

// limits are the cluster counts that make the type (the specification, 3.5).
// Sixteen are kept off either edge, since some readers miscount.
func limits(bits int) (least, most int64) {
	switch bits {
	case 12:
		return 1, 4084 - 16
	case 16:
		return 4085 + 16, 65524 - 16
	}
	return 65525 + 16, 0x0ffffff5 - 16
}

// fit settles the table's size and the number of clusters, and reports whether
// that number is one of the type.
func (g *geometry) fit() bool {
	g.reserved, g.rootEntries = 1, 512
	if g.bits == 32 {
		g.reserved, g.rootEntries = 32, 0
	}
	for range 8 {
		free := g.sectors - g.reserved - g.rootBytes()/g.sector - 2*g.fatSectors
		if free <= 0 {
			return false
		}
		need := (g.tableBytes(free/(g.cluster/g.sector)+2) + g.sector - 1) / g.sector
		if need <= g.fatSectors {
			break
		}
		g.fatSectors = need
	}
	// Clusters that lie on their own size suit flash memory and page caches.
	if over := g.dataStart() % g.cluster; over != 0 {
		g.reserved += (g.cluster - over) / g.sector
	}
	g.clusters = (g.sectors*g.sector - g.dataStart()) / g.cluster
	least, most := limits(g.bits)
	return g.clusters >= least && g.clusters <= most
}

// tableBytes is the size of a table of n entries.
func (g *geometry) tableBytes(n int64) int64 { return (n*int64(g.bits) + 7) / 8 }

// checkLabel refuses what other systems could not show or type.
func checkLabel(s string) error {
	if len(s) > 11 {
		return fmt.Errorf("label %q is longer than 11 bytes", s)
	}
	for i := range len(s) {
		if c := s[i]; c != ' ' && !shortChar(c) {
			return fmt.Errorf("label %q has the character %q\nhint: labels take upper-case letters, digits, space and %s", s, c, shortSpecial)
		}
	}
	if s != "" && s[0] == ' ' {
		return errors.New("label begins with a space")
	}
	return nil
}

// stamp is a time as the specification's date and time fields (6.4), and the
// ten milliseconds beyond.
func stamp(t time.Time) (date, clock uint16, tenth byte) {
	t = t.UTC()
	switch {
	case t.Year() < 1980:
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 2107:
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	return date, clock, byte(t.Second()%2*100 + t.Nanosecond()/10_000_000)
}

func unstamp(date, clock uint16) time.Time {
	if date == 0 {
		return time.Time{}
	}
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31),
		int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}
