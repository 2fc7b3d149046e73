package sysroot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// addBootEntry writes the entry of the boot loader specification (3.6).
func (d *deployer) addBootEntry() error {
	title, err := d.t.title()
	if err != nil {
		return err
	}
	d.out.Title = title + " (ostree:0)"
	d.out.EntryAt = "loader.1/entries/ostree-1.conf"
	if d.opts.Boot == "" {
		d.out.EntryAt = "boot/" + d.out.EntryAt
	}
	d.out.Entry = d.EntryText(nil)
	d.boot.add("loader.1/entries/ostree-1.conf", physFile(0o644, tree.Text(d.out.Entry)))
	d.boot.add("loader", physLink("loader.1"))
	d.boot.add("boot", physLink("."))
	return nil
}

// EntryText is the boot entry with further kernel arguments.
func (d *deployer) EntryText(more []string) string {
	dir := "/boot/ostree/" + stateroot + "-" + d.out.Boot.String() + "/"
	args := append(append([]string{}, d.out.Kargs...), more...)
	args = append(args, fmt.Sprintf("ostree=/ostree/boot.1/%s/%s/0", stateroot, d.out.Boot))
	var b strings.Builder
	fmt.Fprintf(&b, "title %s\nversion 1\noptions %s\n", d.out.Title, strings.Join(args, " "))
	if d.kern.trees != nil && !d.kern.dtbDir {
		fmt.Fprintf(&b, "devicetree %sdevicetree-%s\n", dir, d.kern.version)
	}
	fmt.Fprintf(&b, "linux %svmlinuz-%s\n", dir, d.kern.version)
	if d.kern.initrd != nil {
		fmt.Fprintf(&b, "initrd %sinitramfs-%s.img\n", dir, d.kern.version)
	}
	return b.String()
}

// EntryWith is the text of the boot entry with further kernel arguments, for
// outputs that boot on other hardware than the disk image itself.
func (d *Deployment) EntryWith(more []string) string {
	var out strings.Builder
	for line := range strings.Lines(d.Entry) {
		if rest, ok := strings.CutPrefix(line, "options "); ok && len(more) > 0 {
			at := strings.LastIndex(rest, " ostree=")
			line = "options " + rest[:at] + " " + strings.Join(more, " ") + rest[at:]
		}
		out.WriteString(line)
	}
	return out.String()
}

// title is PRETTY_NAME of the image, else its ID.
func (t *Tree) title() (string, error) {
	rel, err := t.OSRelease()
	if err != nil {
		return "", err
	}
	for _, k := range []string{"PRETTY_NAME", "ID"} {
		if rel[k] != "" {
			return rel[k], nil
		}
	}
	return "Linux", nil
}

// OSRelease returns the fields of the image's os-release; none without one.
func (t *Tree) OSRelease() (map[string]string, error) {
	for _, p := range []string{"usr/lib/os-release", "usr/etc/os-release"} {
		n := t.root.lookup(p)
		if n == nil || n.file == nil || n.file.symlink {
			continue
		}
		b, err := t.root.read(p, 1<<20)
		if err != nil {
			return nil, err
		}
		return parseOSRelease(b), nil
	}
	return map[string]string{}, nil
}

// parseOSRelease reads os-release(5): assignments with shell quoting.
func parseOSRelease(b []byte) map[string]string {
	out := map[string]string{}
	for line := range bytes.Lines(b) {
		k, v, ok := strings.Cut(strings.TrimSpace(string(line)), "=")
		if !ok || strings.HasPrefix(k, "#") {
			continue
		}
		if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
			quote := v[0]
			v = v[1 : len(v)-1]
			if quote == '"' {
				v = strings.NewReplacer(`\"`, `"`, `\$`, `$`, "\\`", "`", `\\`, `\`).Replace(v)
			}
		}
		out[k] = v
	}
	return out
}

// aleph is the note of birth that bootc leaves (3.11): one line of JSON.
func (d *deployer) aleph() ([]byte, error) {
	t := d.t
	state := "disabled"
	if t.policy != nil {
		state = "enabled"
	}
	_, image := d.opts.Update.Bootc()
	labels := t.Image.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	var version any
	for _, k := range []string{"org.opencontainers.image.version", "version"} {
		if v := labels[k]; v != "" && version == nil {
			version = v
		}
	}
	b, err := json.Marshal(map[string]any{
		"digest": t.Image.ManifestDigest.String(), "image": image, "kernel": d.kern.version, "labels": labels,
		"selinux": state, "target-image": image, "timestamp": t.Image.Created.Format("2006-01-02T15:04:05Z07:00"), "version": version,
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// addEtc copies the image's /usr/etc to the deployment's /etc with labels of
// its own, and makes the changes of this machine (3.3).
func (d *deployer) addEtc() error {
	from := d.t.root.lookup("usr/etc")
	if from == nil || from.dir == nil {
		return errors.New("the image has no /etc")
	}
	if n := d.t.root.children["etc"]; n != nil {
		return errors.New("the image has both /etc and /usr/etc")
	}
	etc := d.copyDir(from.dir, "etc")
	delete(etc.children, ".updated")
	etc.add("fstab", d.t.labelAs(physFile(0o644, tree.Text(d.fstab())), "/etc/fstab"))
	d.root.children["etc"] = etc
	return d.change("etc/", etc)
}

// fstab names the ESP, so that systemd does not automount it over /boot
// (4.1), and /boot where it is a file system of its own.
func (d *deployer) fstab() string {
	var b strings.Builder
	if d.opts.Boot != "" {
		fmt.Fprintf(&b, "UUID=%s /boot auto ro 0 0\n", d.opts.Boot)
	}
	if d.opts.ESP != "" {
		fmt.Fprintf(&b, "UUID=%s /boot/efi vfat umask=0077,shortname=winnt,nofail,x-systemd.device-timeout=5min 0 2\n", d.opts.ESP)
	}
	return b.String()
}

// addVar copies the image's /var, which only seeds the first boot (3.4).
func (d *deployer) addVar() error {
	v := physDir(0o755)
	if n := d.t.root.children["var"]; n != nil && n.dir != nil {
		v = d.copyDir(n.dir, "var")
		v.entry.Mode = fs.ModeDir | 0o755
	} else if n := d.t.root.lookup("usr/lib/tmpfiles.d"); n == nil {
		d.legacyVar(v)
	}
	delete(v.children, ".updated")
	v.children[".ostree-selabeled"] = d.t.labelAs(physFile(0o644, nil), "/var/.ostree-selabeled")
	if err := d.change("var/", v); err != nil {
		return err
	}
	d.t.labelAs(v, "/var")
	d.root.add("ostree/deploy/"+stateroot+"/var", v)
	return nil
}

// legacyVar is what libostree makes for images without tmpfiles.d.
func (d *deployer) legacyVar(v *phys) {
	for name, perm := range map[string]uint32{"log": 0o755, "lib": 0o755, "tmp": 0o1777} {
		v.children[name] = d.t.labelAs(physDir(perm), "/var/"+name)
	}
	for name, to := range map[string]string{"lock": "../run/lock", "run": "../run"} {
		v.children[name] = d.t.labelAs(physLink(to), "/var/"+name)
	}
}

// copyDir copies a folder of the merged tree, labelled by the path it is seen under.
func (d *deployer) copyDir(from *dir, at string) *phys {
	p := physDir(from.perm)
	p.entry.UID, p.entry.GID, p.entry.Xattrs = int(from.uid), int(from.gid), from.xattrs
	d.relabel(p, at, from.own)
	for name, n := range from.children {
		path := at + "/" + name
		if n.dir != nil {
			p.children[name] = d.copyDir(n.dir, path)
			continue
		}
		f := n.file
		c := physFile(f.perm, f.data)
		if f.symlink {
			c = physLink(f.target)
		}
		c.entry.UID, c.entry.GID, c.entry.Xattrs = int(f.uid), int(f.gid), f.xattrs
		d.relabel(c, path, f.own)
		p.children[name] = c
	}
	return p
}

func (d *deployer) relabel(p *phys, at, own string) {
	if d.t.policy != nil {
		d.t.labelAs(p, "/"+at)
		return
	}
	p.entry.Xattrs, p.labelled = withLabel(p.entry.Xattrs, own), true
}

// change makes the changes below one of the two folders a machine may write to.
func (d *deployer) change(prefix string, top *phys) error {
	for _, e := range d.opts.Changes {
		path, ok := strings.CutPrefix(e.Path, prefix)
		if !ok {
			continue
		}
		p := &phys{entry: e}
		if e.Mode.IsDir() {
			p.children = map[string]*phys{}
			if old := top.get(path); old != nil && old.children != nil {
				p.children = old.children
			}
		}
		d.t.labelAs(p, "/"+e.Path)
		dir, _ := splitPath(path)
		if parent := top.get(dir); parent == nil || parent.children == nil {
			return fmt.Errorf("/%s: its folder is missing", e.Path)
		}
		top.add(path, p)
	}
	return nil
}

func splitPath(p string) (dir, name string) {
	i := strings.LastIndexByte(p, '/')
	if i < 0 {
		return "", p
	}
	return p[:i], p[i+1:]
}
