package osbuild

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aitheros/aither-image/internal/tree"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sample() Options {
	return Options{
		Type: "raw", Ref: "registry.example/os:1", Arch: "x86_64", Size: 2 << 30,
		ManifestDigest: "sha256:" + strings.Repeat("a", 64), ImageID: "sha256:" + strings.Repeat("b", 64),
		System: System{ID: "rocky", VersionID: "9.6", Name: "Rocky Linux", IDLike: []string{"rhel"}, Kernel: "5.14.0", UEFIVendor: "rocky", SELinuxPolicy: "targeted"},
		Kargs:  []string{"quiet", "panic=15"},
		Customizations: []byte(`{"hostname":"box","user":[{"name":"admin","groups":["wheel"],"key":"ssh-ed25519 AAAA"}],
			"files":[{"path":"/etc/motd","data":"hello\n","mode":"0644","user":0}],"directories":[{"path":"/etc/data","mode":"0700"}]}`),
		Seed: "s",
	}
}

func TestManifestsAreGolden(t *testing.T) {
	for _, typ := range []string{"raw", "qcow2", "bootc-installer"} {
		t.Run(typ, func(t *testing.T) {
			o := sample()
			o.Type = typ
			if typ == "bootc-installer" {
				o.Customizations = nil
				o.Kargs = nil
			}
			got, err := Manifest(o)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join("testdata", typ+".json")
			if *update {
				if err := os.WriteFile(name, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestManifestIsFixedBySeed(t *testing.T) {
	o := sample()
	a, err := Manifest(o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Manifest(o)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("the same options give two manifests")
	}
	o.Seed = "other"
	c, err := Manifest(o)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a, c) {
		t.Error("the seed changes nothing")
	}
	// What a partition is must not be touched: the type of Linux data.
	if !bytes.Contains(bytes.ToUpper(c), []byte("0FC63DAF-8483-4772-8E79-3D69D8477DE4")) {
		t.Error("the type of the root partition is gone")
	}
}

func TestManifestCarriesTheImageAndItsChanges(t *testing.T) {
	b, err := Manifest(sample())
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b) {
		t.Fatal("no JSON")
	}
	for _, want := range []string{strings.Repeat("b", 64), "panic=15", "org.osbuild.bootc.install-to-filesystem", "ssh-ed25519 AAAA", "/etc/data"} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestWhatOsbuildDoesNotMake(t *testing.T) {
	o := sample()
	o.Type = "floppy"
	_, err := Manifest(o)
	var te *TypeError
	if !errors.As(err, &te) || !slices.Contains(te.Known, "qcow2") || !strings.Contains(err.Error(), "\nhint: known are ") {
		t.Errorf("got %v", err)
	}
	o = sample()
	o.Customizations = []byte(`{"firewall":{"zoness":[]}}`)
	if _, err := Manifest(o); err == nil || !strings.Contains(err.Error(), "zoness") {
		t.Errorf("an unknown customization: got %v", err)
	}
	o = sample()
	o.Arch = "m68k"
	if _, err := Manifest(o); err == nil {
		t.Error("an unknown architecture is taken")
	}
}

// files is a View of paths and texts.
type files map[string]string

func (f files) ReadFile(name string) ([]byte, error) {
	if s, ok := f[name]; ok {
		return []byte(s), nil
	}
	return nil, fs.ErrNotExist
}

func (f files) ReadDir(name string) (out []tree.Entry, err error) {
	var seen []string
	for p := range f {
		if rest, ok := strings.CutPrefix(p, name+"/"); ok {
			first, _, deeper := strings.Cut(rest, "/")
			if deeper && !slices.Contains(seen, first) {
				seen = append(seen, first)
			}
		}
	}
	if len(seen) == 0 {
		return nil, fs.ErrNotExist
	}
	slices.Sort(seen)
	for _, s := range seen {
		out = append(out, tree.Entry{Path: path.Join(name, s), Mode: fs.ModeDir | 0o755})
	}
	return out, nil
}

func TestReadSystem(t *testing.T) {
	got, err := ReadSystem(files{
		"usr/lib/os-release":                            "ID=\"rocky\"\nID_LIKE=\"rhel centos\"\nNAME='Rocky Linux'\nVERSION_ID=9.6\n# ID=no\n",
		"usr/lib/modules/5.14.0/vmlinuz":                "",
		"usr/lib/bootupd/updates/EFI/BOOT/BOOTX64.EFI":  "",
		"usr/lib/bootupd/updates/EFI/rocky/shimx64.efi": "",
		"etc/selinux/config":                            "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := System{ID: "rocky", VersionID: "9.6", Name: "Rocky Linux", IDLike: []string{"rhel", "centos"}, Kernel: "5.14.0", UEFIVendor: "rocky", SELinuxPolicy: "targeted"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	rolling, err := ReadSystem(files{"etc/os-release": "ID=debian\nNAME=Debian\n"})
	if err != nil || rolling.VersionID != "0" || rolling.Kernel != "" {
		t.Errorf("a rolling release: %+v, %v", rolling, err)
	}
	if _, err := ReadSystem(files{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an image without os-release: %v", err)
	}
}
