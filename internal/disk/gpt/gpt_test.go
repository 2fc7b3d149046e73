package gpt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/aitheros/aither-image/internal/disk/gpt"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

const mib = 1 << 20

func guid(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("0badc0de-1234-4678-9abc-%012d", n))
}

func sample(sector int64) *gpt.Table {
	return &gpt.Table{
		DiskGUID: guid(0), SectorSize: sector, Size: 64 * mib,
		Partitions: []gpt.Partition{
			{Number: 1, Type: gpt.TypeBIOSBoot, GUID: guid(1), Name: "BIOS-BOOT", Attrs: gpt.AttrLegacyBoot, Start: mib, Size: mib},
			{Number: 2, Type: gpt.TypeESP, GUID: guid(2), Name: "EFI-SYSTEM", Start: 2 * mib, Size: 30 * mib},
			{Number: 5, Type: gpt.TypeRootX86_64, GUID: guid(3), Name: "root ☃ 𝄞", Attrs: gpt.AttrGrowFS, Start: 32 * mib, Size: 31 * mib},
		},
	}
}

// memory is a disk in memory.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }
func (m memory) ReadAt(p []byte, off int64) (int, error)  { return bytes.NewReader(m).ReadAt(p, off) }

func written(t *testing.T, table *gpt.Table) memory {
	t.Helper()
	m := make(memory, table.Size)
	if err := table.Write(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		want := sample(sector)
		want.BootCode = []byte{0xeb, 0x63, 0x90}
		m := written(t, want)
		got, err := gpt.Read(m, int64(len(m)))
		if err != nil {
			t.Fatalf("sector %d: %v", sector, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("sector %d: %s", sector, d)
		}
		if !bytes.Equal(m, written(t, want)) {
			t.Errorf("sector %d: two writes differ", sector)
		}
	}
}

func TestOtherToolsAgree(t *testing.T) {
	sgdisk, sfdisk := tooltest.Need(t, "sgdisk"), tooltest.Need(t, "sfdisk")
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, written(t, sample(512)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := tool.Run(context.Background(), sgdisk, "-v", "-p", path)
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
	if out, err = tool.Run(context.Background(), sfdisk, "--verify", path); err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("sfdisk --verify: %v\n%s", err, out)
	}
	out, err = tool.Run(context.Background(), sfdisk, "-d", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"label-id: " + strings.ToUpper(guid(0).String()),
		`start=        2048, size=        2048, type=21686148-6449-6E6F-744E-656564454649, uuid=` + strings.ToUpper(guid(1).String()) + `, name="BIOS-BOOT", attrs="LegacyBIOSBootable"`,
		`start=        4096, size=       61440, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B`,
		`raw5 : start=       65536, size=       63488`,
		`attrs="GUID:59"`,
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("sfdisk -d does not say %q:\n%s", want, out)
		}
	}
}

func TestSfdiskReads4096(t *testing.T) {
	sfdisk := tooltest.Need(t, "sfdisk")
	if out, _ := tool.Run(context.Background(), sfdisk, "--help"); !strings.Contains(string(out), "--sector-size") {
		t.Skip("this sfdisk has no --sector-size")
	}
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, written(t, sample(4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := tool.Run(context.Background(), sfdisk, "--sector-size", "4096", "--verify", path)
	if err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestWriteRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*gpt.Table){
		"neither 512 nor 4096":      func(t *gpt.Table) { t.SectorSize = 1024 },
		"not a multiple":            func(t *gpt.Table) { t.Size++ },
		"too small":                 func(t *gpt.Table) { t.Size = 32 * 512 },
		"boot code of 441":          func(t *gpt.Table) { t.BootCode = make([]byte, 441) },
		"disk has no identifier":    func(t *gpt.Table) { t.DiskGUID = uuid.Nil },
		"partitions 1 and 2 overla": func(t *gpt.Table) { t.Partitions[0].Size += 512 },
		"taken by partition 1":      func(t *gpt.Table) { t.Partitions[1].GUID = t.Partitions[0].GUID },
		"taken by the disk":         func(t *gpt.Table) { t.Partitions[1].GUID = t.DiskGUID },
		"numbers do not rise":       func(t *gpt.Table) { t.Partitions[2].Number = 1 },
		"not in 1 to 128":           func(t *gpt.Table) { t.Partitions[2].Number = 129 },
		"type or identifier":        func(t *gpt.Table) { t.Partitions[2].Type = uuid.Nil },
		"longer than 36":            func(t *gpt.Table) { t.Partitions[2].Name = strings.Repeat("𝄞", 19) },
		"start 33554433":            func(t *gpt.Table) { t.Partitions[2].Start++ },
		"not positive":              func(t *gpt.Table) { t.Partitions[2].Size = 0 },
		"outside the usable":        func(t *gpt.Table) { t.Partitions[2].Size += mib },
		"bytes 512+":                func(t *gpt.Table) { t.Partitions[0].Start = 512 },
	} {
		table := sample(512)
		spoil(table)
		m := make(memory, 65*mib)
		err := table.Write(m)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if len(bytes.TrimRight(m, "\x00")) != 0 {
			t.Errorf("%s: something was written", want)
		}
	}
}

func TestReadTellsTheDamagedCopy(t *testing.T) {
	const last = 64*mib - 512
	for name, c := range map[string]struct {
		at   int
		copy string
		want string
	}{
		"primary header":  {512 + 60, "primary", "header checksum"},
		"primary entries": {1024 + 40, "primary", "checksum of the entries"},
		"backup header":   {last + 60, "backup", "header checksum"},
		"backup entries":  {last - 32*512, "backup", "checksum of the entries"},
		"mbr signature":   {510, "primary", "signature"},
		"mbr entry":       {446 + 4, "primary", "0xEE"},
	} {
		m := written(t, sample(512))
		m[c.at] ^= 0x5a
		got, err := gpt.Read(m, int64(len(m)))
		var d *gpt.DamagedError
		if !errors.As(err, &d) || d.Copy != c.copy || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if got == nil || len(got.Partitions) != 3 {
			t.Errorf("%s: no table from the other copy", name)
		}
	}
}

func TestCopiesThatDifferAreDamage(t *testing.T) {
	one, other := sample(512), sample(512)
	other.Partitions[2].Name = "changed"
	m := written(t, one)
	copy(m[one.LastUsable():], written(t, other)[one.LastUsable():])
	got, err := gpt.Read(m, int64(len(m)))
	var d *gpt.DamagedError
	if !errors.As(err, &d) || d.Copy != "backup" || !strings.Contains(err.Error(), "differs from the primary in partition 5") {
		t.Error(err)
	}
	if got == nil || got.Partitions[2].Name != one.Partitions[2].Name {
		t.Errorf("%+v", got)
	}
}

func TestUsableSectors(t *testing.T) {
	for sector, want := range map[int64][2]uint64{512: {34, 131038}, 4096: {6, 16378}} {
		m := written(t, sample(sector))
		le := binary.LittleEndian
		if got := [2]uint64{le.Uint64(m[sector+40:]), le.Uint64(m[sector+48:])}; got != want {
			t.Errorf("sectors of %d: usable are %v, not %v", sector, got, want)
		}
	}
}

func TestReadOfGrownDisk(t *testing.T) {
	m := append(written(t, sample(512)), make([]byte, mib)...)
	got, err := gpt.Read(m, int64(len(m)))
	if got == nil || err == nil || !strings.Contains(err.Error(), "there is none at the disk's end") {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReadOfNoTable(t *testing.T) {
	for _, size := range []int64{0, 100, 4096, mib} {
		if got, err := gpt.Read(make(memory, size), size); got != nil || !errors.Is(err, gpt.ErrNoTable) {
			t.Errorf("%d bytes: %v, %v", size, got, err)
		}
	}
}

// FuzzFields puts anything into a header and an entry and makes the checksums
// right again, so that what lies behind them is reached.
func FuzzFields(f *testing.F) {
	f.Add([]byte{}, []byte{}, uint16(0))
	f.Add([]byte{0, 0, 0xff}, []byte{1, 2, 3}, uint16(40))
	f.Fuzz(func(t *testing.T, header, entry []byte, at uint16) {
		table := &gpt.Table{DiskGUID: guid(0), Size: 64 << 10, Partitions: []gpt.Partition{
			{Type: gpt.TypeLinux, GUID: guid(1), Name: "x", Start: 24576, Size: 4096},
		}}
		m := written(t, table)
		copy(m[1024+int(at)%(120*128):1024+128*128], entry)
		h := m[512:604]
		if len(header) > 12 {
			copy(h[24:], header)
		}
		le := binary.LittleEndian
		n, each := uint64(le.Uint32(h[80:])), uint64(le.Uint32(h[84:]))
		if start := le.Uint64(h[72:]); start < 128 && n*each < uint64(len(m))-start*512 {
			le.PutUint32(h[88:], crc32.ChecksumIEEE(m[start*512:][:n*each]))
		}
		le.PutUint32(h[16:], 0)
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
		copy(m[len(m)-512:], make([]byte, 512)) // no backup: all is judged by this copy
		got, err := gpt.Read(m, int64(len(m)))
		if got == nil {
			if err == nil {
				t.Fatal("neither table nor error")
			}
			return
		}
		for _, p := range got.Partitions {
			if p.Start < 0 || p.Size <= 0 || p.End() > int64(len(m)) {
				t.Fatalf("partition outside the disk: %+v", p)
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, sector := range []int64{512, 4096} {
		table := &gpt.Table{DiskGUID: guid(0), SectorSize: sector, Size: 64 << 10, Partitions: []gpt.Partition{
			{Type: gpt.TypeLinux, GUID: guid(1), Name: "x", Start: 24576, Size: 4096},
		}}
		m := make(memory, table.Size)
		if err := table.Write(m); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := gpt.Read(memory(b), int64(len(b)))
		if table == nil {
			if err == nil {
				t.Fatal("neither table nor error")
			}
			return
		}
		for _, p := range table.Partitions {
			if p.Start < 0 || p.Size <= 0 || p.End() > int64(len(b)) {
				t.Fatalf("partition outside the disk: %+v", p)
			}
		}
	})
}
