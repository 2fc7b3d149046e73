package osbuild_test

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
	"github.com/osbuild/blueprint/pkg/blueprint"
	"github.com/osbuild/images/pkg/bib/osinfo"

	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/osbuild"
	"github.com/aitheros/aither-image/internal/tree"
)

var update = flag.Bool("update", false, "write the golden files")

// files is an image's tree as a map; folders follow from the paths.
type files map[string]string

func (f files) ReadFile(name string) ([]byte, error) {
	if s, ok := f[name]; ok {
		return []byte(s), nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (f files) ReadDir(name string) ([]tree.Entry, error) {
	var es []tree.Entry
	for p := range f {
		rest, ok := strings.CutPrefix(p, name+"/")
		if !ok {
			continue
		}
		first, _, deep := strings.Cut(rest, "/")
		e := tree.Entry{Path: path.Join(name, first), Mode: 0o644}
		if deep {
			e.Mode = fs.ModeDir | 0o755
		}
		if !slices.ContainsFunc(es, func(x tree.Entry) bool { return x.Path == e.Path }) {
			es = append(es, e)
		}
	}
	if es == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	slices.SortFunc(es, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return es, nil
}

func rocky() files {
	return files{
		"usr/lib/os-release":                                          "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.6\"\nPLATFORM_ID=\"platform:el9\"\n",
		"etc/selinux/config":                                          "# policy\nSELINUX=enforcing\nSELINUXTYPE=targeted\n",
		"usr/lib/modules/5.14":                                        "",
		"usr/lib/modules/5.14.0-570.el9.x86_64/vmlinuz":               "kernel",
		"usr/lib/modules/5.14.0-570.el9.x86_64/initramfs.img":         "initramfs",
		"usr/lib/bootupd/updates/EFI/BOOT/BOOTX64.EFI":                "shim",
		"usr/lib/bootupd/updates/EFI/rocky/shimx64.efi":               "shim",
		"usr/lib/bootc-image-builder/config.toml":                     "[customizations.kernel]\nappend = \"quiet\"\n",
		"usr/lib/image-builder/bootc/iso.yaml":                        "label: AITHER\nkernel_args: [quiet]\n",
		"usr/lib/modules/5.14.0-570.el9.x86_64/kernel/fs/xfs.ko.xz":   "",
		"usr/lib/modules/5.14.0-570.el9.x86_64.debug/modules.builtin": "",
	}
}

func info(t testing.TB) *osinfo.Info {
	t.Helper()
	i, err := osbuild.Inspect(rocky())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func options(t testing.TB, kind string) osbuild.Options {
	l, err := plan.New(plan.Options{Seed: "sha256:aa", SeparateBoot: true, RootSize: plan.Size{Bytes: 20 * plan.GiB}})
	if err != nil {
		t.Fatal(err)
	}
	return osbuild.Options{
		Type: kind, Layout: l, Seed: "seed",
		Image: osbuild.Image{
			Ref: "example.com/os/aither:1", ID: "sha256:" + strings.Repeat("1", 64), Digest: "sha256:" + strings.Repeat("2", 64),
			Arch: "x86_64", Size: 3 << 30, Info: info(t),
		},
	}
}

func TestInspect(t *testing.T) {
	i := info(t)
	want := osinfo.OSRelease{ID: "rocky", VersionID: "9.6", Name: "Rocky Linux", PlatformID: "platform:el9", IDLike: []string{"rhel", "centos", "fedora"}}
	if d := cmp.Diff(want, i.OSRelease); d != "" {
		t.Error(d)
	}
	if i.UEFIVendor != "rocky" || i.SELinuxPolicy != "targeted" || i.KernelInfo == nil || i.KernelInfo.Version != "5.14.0-570.el9.x86_64" || i.KernelInfo.HasAbootImg {
		t.Errorf("%+v, kernel %+v", i, i.KernelInfo)
	}
	if i.ISOInfo.Label != "AITHER" || i.ImageCustomization.GetKernel().Append != "quiet" {
		t.Errorf("%+v", i.ISOInfo)
	}
}

func TestInspectOfNewBootLoaderFolders(t *testing.T) {
	f := files{"etc/os-release": "NAME=x\nID=x\nVERSION_ID=1\n", "usr/lib/efi/shim/15.8/EFI/centos/shimx64.efi": ""}
	i, err := osbuild.Inspect(f)
	if err != nil || i.UEFIVendor != "centos" || i.SELinuxPolicy != "" || i.KernelInfo != nil {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestRollingReleaseHasVersionZero(t *testing.T) {
	i, err := osbuild.Inspect(files{"usr/lib/os-release": "NAME=\"Debian GNU/Linux\"\nID=debian"})
	if err != nil || i.OSRelease.VersionID != "0" || i.OSRelease.ID != "debian" {
		t.Errorf("%+v, %v", i, err)
	}
}

// broken is a tree that cannot be read.
type broken struct{ files }

func (broken) ReadFile(string) ([]byte, error) { return nil, errors.New("bad layer") }

func TestInspectRefuses(t *testing.T) {
	for want, f := range map[string]osbuild.Tree{
		"hint: os-release of the image":                   files{"etc/os-release": "NAME=x\nVERSION_ID=1\n"},
		"cannot read etc/os-release: open etc/os-release": files{},
		"bad layer":           broken{},
		"more than the limit": files{"etc/os-release": strings.Repeat("#\n", 1<<20)},
		"disk.yaml":           files{"etc/os-release": "NAME=x\nID=x\nVERSION_ID=1\n", "usr/lib/image-builder/bootc/disk.yaml": "{"},
	} {
		if _, err := osbuild.Inspect(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestGolden(t *testing.T) {
	for _, kind := range osbuild.Types {
		t.Run(kind, func(t *testing.T) {
			o := options(t, kind)
			o.Image.Info.InitrdModules = []string{"ostree", "dmsquash-live", "livenet"}
			got, err := osbuild.Manifest(o)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", kind+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Error(d)
			}
			again, err := osbuild.Manifest(o)
			if err != nil || !bytes.Equal(again, got) {
				t.Errorf("two manifests differ, %v", err)
			}
		})
	}
}

// The layout is in the manifest with every identifier.
func TestLayoutIsOurs(t *testing.T) {
	for _, separate := range []bool{false, true} {
		o := options(t, "raw")
		l, err := plan.New(plan.Options{Seed: "sha256:bb", SeparateBoot: separate, RootSize: plan.Size{Bytes: 20 * plan.GiB}})
		if err != nil {
			t.Fatal(err)
		}
		o.Layout = l
		b, err := osbuild.Manifest(o)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b) || !strings.Contains(string(b), o.Image.ID[7:]) {
			t.Error("the image is not in the manifest")
		}
		for _, p := range l.Partitions {
			for _, id := range []string{p.GUID.String(), p.Type.String(), p.UUID} {
				if !strings.Contains(strings.ToLower(string(b)), strings.ToLower(id)) {
					t.Errorf("%s: %s is not in the manifest", p.Role, id)
				}
			}
		}
	}
}

func TestKargsAndCustomizations(t *testing.T) {
	o := options(t, "qcow2")
	b, err := osbuild.Manifest(o)
	if err != nil || !strings.Contains(string(b), "console=ttyS0") {
		t.Errorf("osbuild's own kernel arguments are missing, %v", err)
	}
	o.Kargs, o.NoDefaultKargs = []string{"rw", "systemd.gpt_auto=0"}, true
	o.Customizations = &blueprint.Customizations{
		Kernel: &blueprint.KernelCustomization{Append: "quiet rw"},
		User:   []blueprint.UserCustomization{{Name: "operator"}},
	}
	b, err = osbuild.Manifest(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`rw systemd.gpt_auto=0 quiet"`, `"operator"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in the manifest", want)
		}
	}
	if strings.Contains(string(b), "console=ttyS0") {
		t.Error("osbuild's own kernel arguments are there too")
	}
}

func TestSeedNamesWhatTheLayoutDoesNot(t *testing.T) {
	o := options(t, "raw")
	o.Layout = nil
	a, err := osbuild.Manifest(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Seed = "another"
	b, err := osbuild.Manifest(o)
	if err != nil || bytes.Equal(a, b) {
		t.Errorf("the seed changes nothing, %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for want, spoil := range map[string]func(*osbuild.Options){
		"needs dnf":                  func(o *osbuild.Options) { o.Type = "anaconda-iso" },
		"another name of anaconda":   func(o *osbuild.Options) { o.Type = "iso" },
		"hint: known types are raw,": func(o *osbuild.Options) { o.Type = "floppy" },
		"dmsquash-live":              func(o *osbuild.Options) { o.Type = "pxe-tar-xz" },
		"could not read kernel info": func(o *osbuild.Options) { o.Type = "bootc-installer"; o.Image.Info.KernelInfo = nil },
		"nothing is known of image":  func(o *osbuild.Options) { o.Type = "bootc-installer"; o.Payload = "example.com/other" },
		"missing required info":      func(o *osbuild.Options) { o.Image.Ref = "" },
		"nothing is known of the":    func(o *osbuild.Options) { o.Image.Info = nil },
		"sparc":                      func(o *osbuild.Options) { o.Image.Arch = "sparc" },
		"zfs":                        func(o *osbuild.Options) { o.Image.RootFS = "zfs" },
	} {
		o := options(t, "raw")
		spoil(&o)
		if _, err := osbuild.Manifest(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestArmHasNoBIOS(t *testing.T) {
	l, err := plan.New(plan.Options{Seed: "x", Arch: "aarch64"})
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, "raw")
	o.Image.Arch, o.Layout = "aarch64", l
	b, err := osbuild.Manifest(o)
	if err != nil || strings.Contains(strings.ToLower(string(b)), "21686148-6449") {
		t.Errorf("%v", err)
	}
}
