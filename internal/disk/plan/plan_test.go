package plan_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/aitheros/aither-image/internal/disk/gpt"
	"github.com/aitheros/aither-image/internal/disk/plan"
)

var update = flag.Bool("update", false, "write the golden files")

func TestGolden(t *testing.T) {
	for name, o := range map[string]plan.Options{
		"unified":        {Seed: "sha256:aa"},
		"separate-boot":  {Seed: "sha256:aa", SeparateBoot: true, BootSize: plan.BootSize(90*plan.MiB, 700*plan.MiB)},
		"aarch64":        {Seed: "sha256:aa", Arch: "aarch64"},
		"no-bios":        {Seed: "sha256:aa", NoBIOS: true},
		"sectors-4096":   {Seed: "sha256:aa", SectorSize: 4096},
		"disk-20-gib":    {Seed: "sha256:aa", DiskSize: 20 * plan.GiB},
		"own-sizes":      {Seed: "sha256:aa", ESPSize: plan.Size{Bytes: 100*plan.MiB + 1}, RootSize: plan.RootSize(plan.Usage{Image: 5 * plan.GiB, Models: plan.GiB}), Labels: map[plan.Role]string{plan.Root: "sys"}},
		"another-digest": {Seed: "sha256:bb"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := plan.New(o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(l, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
				t.Error(d)
			}
			if err := l.Table().Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Everything but root's size and the disk's is known before root's size is.
func TestRootGrowsAlone(t *testing.T) {
	for _, separate := range []bool{false, true} {
		first, err := plan.New(plan.Options{Seed: "x", SeparateBoot: separate})
		if err != nil {
			t.Fatal(err)
		}
		grown, err := plan.New(plan.Options{Seed: "x", SeparateBoot: separate, RootSize: plan.Size{Bytes: 40*plan.GiB + 5, Why: "large"}})
		if err != nil {
			t.Fatal(err)
		}
		root := grown.Find(plan.Root)
		if root.Size < 40*plan.GiB+5 || root.Size%plan.MiB != 0 || root.Why != "large" {
			t.Errorf("root is %+v", root)
		}
		if tail := grown.DiskSize - root.End(); tail < gpt.Tail(512) || tail > plan.MiB {
			t.Errorf("%d bytes are left after root", tail)
		}
		root.Size, root.Why = first.Find(plan.Root).Size, first.Find(plan.Root).Why
		grown.DiskSize = first.DiskSize
		if d := cmp.Diff(first, grown); d != "" {
			t.Error(d)
		}
	}
}

func TestIdentifiersDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, seed := range []string{"", "a", "b"} {
		l, err := plan.New(plan.Options{Seed: seed, SeparateBoot: true})
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{l.DiskGUID.String()}
		for _, p := range l.Partitions {
			ids = append(ids, p.GUID.String())
			if p.FS != "" {
				ids = append(ids, p.UUID)
			}
		}
		for _, id := range ids {
			if by, ok := seen[id]; ok {
				t.Errorf("%s is used by seed %q and %q", id, by, seed)
			}
			seen[id] = seed
		}
	}
	if len(seen) != 3*8 {
		t.Errorf("%d identifiers", len(seen))
	}
}

func TestGRUBPrefix(t *testing.T) {
	for _, c := range []struct {
		want string
		o    plan.Options
	}{
		{"(,gpt3)/boot/grub2", plan.Options{}},
		{"(,gpt3)/grub2", plan.Options{SeparateBoot: true}},
		{"(,gpt2)/boot/grub2", plan.Options{NoBIOS: true}},
	} {
		l, err := plan.New(c.o)
		if err != nil || l.GRUBPrefix() != c.want {
			t.Errorf("%v, %v; want %s", l.GRUBPrefix(), err, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for want, o := range map[string]plan.Options{
		`architecture "riscv64"`:       {Arch: "riscv64"},
		"hint: give the disk at least": {DiskSize: 2 * plan.GiB},
		"2 × image 3072 MiB":           {DiskSize: 4 * plan.GiB, RootSize: plan.RootSize(plan.Usage{Image: 3 * plan.GiB})},
		"sector size 520":              {SectorSize: 520},
		"size of esp (-1)":             {ESPSize: plan.Size{Bytes: -1}},
		"is not in 0 to":               {DiskSize: 1 << 60},
	} {
		if l, err := plan.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v, %v", want, l, err)
		}
	}
}

func TestSizeRules(t *testing.T) {
	for _, c := range []struct {
		got  plan.Size
		want int64
		why  string
	}{
		{plan.RootSize(plan.Usage{}), 2 * plan.GiB, "smallest root, 2 GiB (by rule 512 MiB: 2 × image 0 MiB + 15 % + 512 MiB ballast)"},
		{plan.RootSize(plan.Usage{Image: plan.GiB}), 2868 * plan.MiB, "2 × image 1024 MiB + 15 % + 512 MiB ballast"},
		{plan.RootSize(plan.Usage{Image: plan.GiB, Bound: 2 * plan.GiB, Models: 4 * plan.GiB, Extra: plan.GiB}), 10957 * plan.MiB,
			"2 × image 1024 MiB + bound images 2048 MiB + models 4096 MiB + 15 % + 512 MiB ballast + 1024 MiB asked for"},
		{plan.BootSize(0, 0), 2 * plan.GiB, "smallest /boot, 2 GiB"},
		{plan.BootSize(16*plan.MiB, 80*plan.MiB), 2 * plan.GiB, "smallest /boot, 2 GiB (by rule 480 MiB: 3 × (kernel 16 MiB + initramfs 80 MiB) / 0.6)"},
		{plan.BootSize(16*plan.MiB, 600*plan.MiB), 3080 * plan.MiB, "3 × (kernel 16 MiB + initramfs 600 MiB) / 0.6"},
		{plan.ESPSize(20 * plan.MiB), 512 * plan.MiB, "default, 512 MiB (by rule 104 MiB: 2 × boot loaders 20 MiB + 64 MiB reserve)"},
		{plan.ESPSize(300 * plan.MiB), 664 * plan.MiB, "2 × boot loaders 300 MiB + 64 MiB reserve"},
	} {
		if c.got.Bytes != c.want || c.got.Why != c.why {
			t.Errorf("got %d MiB %q\nwant %d MiB %q", c.got.Bytes/plan.MiB, c.got.Why, c.want/plan.MiB, c.why)
		}
	}
}

func TestTypes(t *testing.T) {
	l, err := plan.New(plan.Options{Arch: "aarch64", SeparateBoot: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []uuid.UUID
	for _, p := range l.Partitions {
		got = append(got, p.Type)
	}
	if d := cmp.Diff([]uuid.UUID{gpt.TypeESP, gpt.TypeXBOOTLDR, gpt.TypeRootAArch64}, got); d != "" {
		t.Error(d)
	}
}
