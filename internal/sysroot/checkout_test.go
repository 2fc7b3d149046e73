package sysroot

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/layer/layertest"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"github.com/aitheros/aither-image/internal/tree"
)

// writeTree writes a stream into a folder, with owners and attributes, as the
// kernel would show the file system that is made of it.
func writeTree(t *testing.T, dir string, s tree.Stream) {
	t.Helper()
	for e, err := range s {
		if err != nil {
			t.Fatal(err)
		}
		if err := writeEntry(filepath.Join(dir, e.Path), dir, e); err != nil {
			t.Fatalf("%s: %v", e.Path, err)
		}
	}
}

func writeEntry(path, root string, e tree.Entry) error {
	switch {
	case e.IsHardLink():
		return unix.Linkat(unix.AT_FDCWD, filepath.Join(root, e.Link), unix.AT_FDCWD, path, 0)
	case e.Mode.IsDir():
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	case e.Mode&fs.ModeSymlink != 0:
		if err := os.Symlink(e.Link, path); err != nil {
			return err
		}
	case e.Mode&fs.ModeCharDevice != 0:
		if err := unix.Mknod(path, unix.S_IFCHR|uint32(e.Mode.Perm()), 0); err != nil {
			return err
		}
	default:
		if err := writeContent(path, e.Content); err != nil {
			return err
		}
	}
	if err := os.Lchown(path, e.UID, e.GID); err != nil {
		return err
	}
	if e.Mode&fs.ModeSymlink == 0 {
		if err := os.Chmod(path, e.Mode); err != nil {
			return err
		}
	}
	for k, v := range e.Xattrs {
		if err := unix.Lsetxattr(path, k, v, 0); err != nil && !(errors.Is(err, unix.EPERM) && e.Mode&fs.ModeSymlink != 0) {
			return err
		}
	}
	return nil
}

func writeContent(path string, c tree.Content) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if c == nil {
		return f.Close()
	}
	r, err := c.Open()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, r.Close(), f.Close())
}

// contexts is a small policy whose labels differ between /etc and /usr/etc.
const contexts = `/.*	system_u:object_r:default_t:s0
/	-d	system_u:object_r:root_t:s0
/usr(/.*)?	system_u:object_r:usr_t:s0
/usr/bin(/.*)?	system_u:object_r:bin_t:s0
/usr/etc(/.*)?	system_u:object_r:usr_etc_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/etc/shadow	--	system_u:object_r:shadow_t:s0
/var(/.*)?	system_u:object_r:var_t:s0
/boot(/.*)?	system_u:object_r:boot_t:s0
/run/.*	<<none>>
/tmp	-d	<<none>>
`

// bootable is what a base adds so that it can be deployed.
func bootable(policy bool) []layertest.Entry {
	e := []layertest.Entry{
		layertest.Dir("usr/lib/tmpfiles.d", 0o755),
		layertest.File("usr/lib/bootc/kargs.d/10-a.toml", 0o644, "kargs = [\"quiet\", \"a=1\"]\n"),
		layertest.File("usr/lib/bootc/kargs.d/20-arm.toml", 0o644, "kargs = [\"arm\"]\nmatch-architectures = [\"aarch64\"]\n"),
		layertest.File("usr/lib/bootupd/updates/EFI/BOOT/BOOTX64.EFI", 0o755, "shim"),
		layertest.File("usr/lib/bootupd/updates/EFI/test/shimx64.efi", 0o755, "shim"),
		layertest.File("usr/lib/bootupd/updates/EFI/test/grubx64.efi", 0o755, "grub"),
		layertest.File("usr/lib/bootupd/updates/EFI.json", 0o644, `{"timestamp":"2024-01-01T00:00:00Z","version":"grub-2.14"}`),
		layertest.File("usr/lib/bootupd/grub2-static/grub-static-efi.cfg", 0o644, "efi\n"),
		layertest.File("usr/lib/bootupd/grub2-static/grub-static-pre.cfg", 0o644, "pre\n"),
		layertest.File("usr/lib/bootupd/grub2-static/configs.d/10_blscfg.cfg", 0o644, "blscfg\n"),
		layertest.File("usr/share/.ostree-wh.gone", 0o644, ""),
	}
	if policy {
		e = append(e, layertest.File("etc/selinux/config", 0o644, "SELINUX=permissive\nSELINUXTYPE=test\n"),
			layertest.File("etc/selinux/test/contexts/files/file_contexts", 0o644, contexts))
	}
	return e
}

func deployable(t *testing.T, policy bool, more ...[]layertest.Entry) *layer.Image {
	t.Helper()
	dir := t.TempDir()
	im := layertest.Image{Labels: map[string]string{"containers.bootc": "1"}, Created: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, b := range torture(t) {
		im.Layers = append(im.Layers, layertest.Layer{Tar: b, Compression: "gzip"})
	}
	for _, es := range append([][]layertest.Entry{bootable(policy)}, more...) {
		im.Layers = append(im.Layers, layertest.Layer{Tar: layertest.Tar(t, es...)})
	}
	layertest.Write(t, dir, im)
	img, err := layer.Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func deploy(t *testing.T, im *layer.Image, change func(*DeployOptions)) *Deployment {
	t.Helper()
	tr, err := Read(context.Background(), im, plainStore{}, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := DeployOptions{Update: ImageReference{Transport: "registry", Name: "example.com/os/t:latest"},
		Root: "11111111-2222-3333-4444-555555555555", ESP: "7B77-95E7", Kargs: []string{"extra"}, Time: time.Unix(1700000000, 0)}
	if change != nil {
		change(&o)
	}
	d, err := tr.Deploy(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRealOSTreeAcceptsTheRepository lets ostree recompute every object, with
// owners, modes and labels, of what the stream says.
func TestRealOSTreeAcceptsTheRepository(t *testing.T) {
	tooltest.Need(t, "ostree")
	if os.Getuid() != 0 {
		t.Skip("only root can write files of other owners")
	}
	images := map[string]*layer.Image{"with a policy": deployable(t, true), "without one": deployable(t, false)}
	if dir := os.Getenv("AITHER_TEST_LAYOUT"); dir != "" {
		im, err := layer.Open(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		images["real"] = im
	}
	for name, im := range images {
		root := t.TempDir()
		d := deploy(t, im, nil)
		writeTree(t, root, d.RootTree)
		out, err := tool.Run(context.Background(), "ostree", "fsck", "--repo="+root+"/ostree/repo")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !strings.Contains(string(out), "no errors found") {
			t.Errorf("%s: ostree fsck says %s", name, out)
		}
		out, err = tool.Run(context.Background(), "ostree", "admin", "status", "--sysroot="+root)
		if err != nil || !strings.Contains(string(out), "default "+d.Commit.String()+".0") {
			t.Errorf("%s: ostree admin status says %s, %v", name, out, err)
		}
	}
}

// list renders a stream as one line a name.
func list(t *testing.T, s tree.Stream) map[string]tree.Entry {
	t.Helper()
	out := map[string]tree.Entry{}
	last := ""
	for e, err := range s {
		if err != nil {
			t.Fatal(err)
		}
		if last != "" && sortKey(last) >= sortKey(e.Path) {
			t.Errorf("%q comes after %q", e.Path, last)
		}
		last = e.Path
		out[e.Path] = e
	}
	return out
}

// sortKey orders names so that a folder's content follows it at once.
func sortKey(p string) string {
	if p == "." {
		return ""
	}
	return strings.ReplaceAll(p, "/", "\x00")
}

func paths(m map[string]tree.Entry) []string {
	var out []string
	for p := range m {
		out = append(out, p)
	}
	sort.Strings(out)
	return out
}

func label(e tree.Entry) string { return strings.TrimSuffix(string(e.Xattrs[selinuxXattr]), "\x00") }

func TestDeploymentOnDisk(t *testing.T) {
	d := deploy(t, deployable(t, true), nil)
	got := list(t, d.RootTree)
	at := "ostree/deploy/default/deploy/" + d.Commit.String() + ".0"
	text := func(p string) string {
		e, ok := got[p]
		if !ok {
			t.Fatalf("there is no %s", p)
		}
		b, err := tree.ReadAll(e.Content, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	boot := "boot/ostree/default-" + d.Boot.String() + "/"
	for p, want := range map[string]string{
		at + ".origin": "[origin]\ncontainer-image-reference=ostree-unverified-registry:example.com/os/t:latest\n",
		"boot/loader.1/entries/ostree-1.conf": "title T Linux 1 (ostree:0)\nversion 1\noptions root=UUID=11111111-2222-3333-4444-555555555555 rw quiet a=1 extra ostree=/ostree/boot.1/default/" +
			d.Boot.String() + "/0\nlinux /" + boot + "vmlinuz-6.1.0\ninitrd /" + boot + "initramfs-6.1.0.img\n",
		"ostree/repo/refs/heads/ostree/1/1/0": d.Commit.String() + "\n",
		"ostree/repo/refs/heads/ostree/container/image/docker_3A__2F__2F_example_2E_com/os/t_3A_latest": d.Commit.String() + "\n",
		at + "/etc/passwd":                       "root:x:0:0::/root:/bin/sh\n",
		at + "/etc/fstab":                        "UUID=7B77-95E7 /boot/efi vfat umask=0077,shortname=winnt,nofail,x-systemd.device-timeout=5min 0 2\n",
		"boot/grub2/bootuuid.cfg":                "set BOOT_UUID=\"11111111-2222-3333-4444-555555555555\"\n",
		"boot/grub2/grub.cfg":                    "# Generated by bootupd / do not edit\n\npre\n\n### BEGIN 10_blscfg.cfg ###\nblscfg\n### END 10_blscfg.cfg ###\n",
		"ostree/deploy/default/var/lib/content2": "v2",
	} {
		if s := text(p); s != want {
			t.Errorf("%s is\n%s\nwant\n%s", p, s, want)
		}
	}
	for p, want := range map[string]string{
		"boot/loader": "loader.1", "boot/boot": ".", "ostree/boot.1": "boot.1.1",
		"ostree/boot.1.1/default/" + d.Boot.String() + "/0": "../../../deploy/default/deploy/" + d.Commit.String() + ".0",
	} {
		if got[p].Link != want {
			t.Errorf("%s points to %q, want %q", p, got[p].Link, want)
		}
	}
	for p, want := range map[string]string{
		".": "root_t", "boot": "boot_t", "ostree": "usr_t", at + "/etc": "etc_t", at + "/etc/shadow": "shadow_t", at + "/usr/etc/shadow": "usr_etc_t",
		at + "/etc/passwd": "etc_t", at + "/usr/bin/a": "bin_t", at + "/.ostree.cfs": "usr_t", at + ".origin": "etc_t", at + "/etc/fstab": "etc_t",
		"ostree/deploy/default/var": "var_t", "ostree/deploy/default/var/lib/content": "var_t", "boot/grub2/grub.cfg": "boot_t",
		boot + "vmlinuz-6.1.0": "usr_t", "ostree/repo/config": "default_t",
	} {
		if want = "system_u:object_r:" + want + ":s0"; label(got[p]) != want {
			t.Errorf("%s has the label %q, want %q", p, label(got[p]), want)
		}
	}
	if _, labelled := got[at+"/tmp"].Xattrs[selinuxXattr]; labelled {
		t.Error("a path that the policy leaves out has a label")
	}
	if e := got[at]; !e.Immutable {
		t.Error("the deployment is not immutable")
	}
	if e := got[at+"/usr/share/gone"]; e.Mode&fs.ModeCharDevice == 0 {
		t.Errorf("a quoted whiteout came out as %v", e.Mode)
	}
	for _, gone := range []string{"sysroot", "etc", "usr", at + "/etc/hostname", at + "/usr/share/todel", at + "/run/secret"} {
		if _, ok := got[gone]; ok {
			t.Errorf("%s is there", gone)
		}
	}
}

// Every non-empty file of the deployment is one inode with its object.
func TestFilesShareTheirInodeWithTheObject(t *testing.T) {
	d := deploy(t, deployable(t, true), nil)
	first := map[string]int{}
	names := map[string]int{}
	for e, err := range d.RootTree {
		if err != nil {
			t.Fatal(err)
		}
		if e.IsHardLink() {
			names[e.Link]++
			if first[e.Link] == 0 {
				t.Errorf("%s is a link to %s, which did not come before", e.Path, e.Link)
			}
		}
		first[e.Path]++
	}
	at := "ostree/deploy/default/deploy/" + d.Commit.String() + ".0/"
	for p, want := range map[string]int{at + "usr/bin/a": 1, at + "usr/share/empty1": 0, at + "usr/share/l2d": 0, at + "bin": 1,
		"boot/ostree/default-" + d.Boot.String() + "/vmlinuz-6.1.0": 2} {
		if names[p] != want {
			t.Errorf("%s has %d further names, want %d", p, names[p], want)
		}
	}
}

func TestSeparateBootHasItsOwnTree(t *testing.T) {
	d := deploy(t, deployable(t, true), func(o *DeployOptions) { o.Boot = "99999999-2222-3333-4444-555555555555" })
	root, boot := list(t, d.RootTree), list(t, d.BootTree)
	for _, p := range paths(root) {
		if strings.HasPrefix(p, "boot/") {
			t.Errorf("%s is on the root file system", p)
		}
	}
	k := boot["ostree/default-"+d.Boot.String()+"/vmlinuz-6.1.0"]
	if k.Content == nil || k.Content.Size() != 600 || label(k) != "system_u:object_r:boot_t:s0" {
		t.Errorf("the kernel on /boot is %+v", k)
	}
	if label(boot["."]) != "system_u:object_r:boot_t:s0" {
		t.Errorf("the root of /boot has the label %q", label(boot["."]))
	}
	if !strings.Contains(d.Entry, " boot=UUID=99999999-2222-3333-4444-555555555555 ") {
		t.Errorf("the boot entry does not name /boot:\n%s", d.Entry)
	}
	if d.EntryAt != "loader.1/entries/ostree-1.conf" || boot[d.EntryAt].Content == nil {
		t.Errorf("the boot entry is at %q", d.EntryAt)
	}
}
