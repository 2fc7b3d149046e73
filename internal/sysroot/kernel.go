package sysroot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/aitheros/aither-image/internal/ostree"
)

// A kernel is what the boot entry starts.
type kernel struct {
	version string
	dir     string // usr/lib/modules/<version>
	image   *file
	initrd  *file // nil for none
	initrdN string
	trees   []bootFile // device trees
	dtbDir  bool       // they come from a folder, not from one file
	hmac    *file
}

type bootFile struct {
	name string // below dtb/
	file *file
}

const modulesDir = "usr/lib/modules"

// addKernel finds the one kernel of the image and computes its boot checksum (3.5).
func (d *deployer) addKernel() error {
	k, err := d.t.kernel()
	if err != nil {
		return err
	}
	sum, n, err := k.checksum()
	if err != nil {
		return err
	}
	d.kern, d.out.Kernel, d.out.Boot, d.out.KernelBytes = k, k.version, sum, n
	dir := "ostree/" + stateroot + "-" + sum.String() + "/"
	d.addBootFile(dir+"vmlinuz-"+k.version, k.dir+"/vmlinuz", k.image)
	if k.initrd != nil {
		d.addBootFile(dir+"initramfs-"+k.version+".img", k.dir+"/"+k.initrdN, k.initrd)
	}
	if k.hmac != nil {
		d.addBootFile(dir+".vmlinuz-"+k.version+".hmac", k.dir+"/.vmlinuz.hmac", k.hmac)
	}
	for _, t := range k.trees {
		if !k.dtbDir {
			d.addBootFile(dir+"devicetree-"+k.version, k.dir+"/devicetree", t.file)
			continue
		}
		d.addBootFile(dir+"dtb/"+t.name, k.dir+"/dtb/"+t.name, t.file)
	}
	return nil
}

// addBootFile puts a file of the tree into /boot: a further name of the same
// inode when /boot is part of the root file system, a copy otherwise.
func (d *deployer) addBootFile(path, in string, f *file) {
	if d.opts.Boot != "" {
		p := physFile(f.perm, f.data)
		p.entry.UID, p.entry.GID = int(f.uid), int(f.gid)
		d.boot.add(path, p)
		return
	}
	label := d.t.label(in, f.fsMode(), f.own)
	p := physFile(f.perm, nil)
	p.entry.UID, p.entry.GID, p.entry.ModTime = int(f.uid), int(f.gid), epoch
	p.entry.Xattrs, p.labelled = withLabel(f.xattrs, label), true
	p.late = d.repo.object(f, label).entry
	d.boot.add(path, p)
}

func (t *Tree) kernel() (*kernel, error) {
	mods := t.root.lookup(modulesDir)
	if mods == nil || mods.dir == nil {
		return nil, fmt.Errorf("the image has no kernel: there is no /%s", modulesDir)
	}
	var found []string
	for _, name := range mods.dir.names() {
		n := mods.dir.children[name]
		if n.dir == nil {
			continue
		}
		if v := n.dir.children["vmlinuz"]; v != nil && v.file != nil && !v.file.symlink {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("the image has no kernel: no /%s/<version>/vmlinuz is a regular file", modulesDir)
	case len(found) > 1:
		return nil, fmt.Errorf("the image has %d kernels: %s\nhint: remove all but one; which one boots is not defined otherwise", len(found), strings.Join(found, ", "))
	}
	k := &kernel{version: found[0], dir: modulesDir + "/" + found[0]}
	dir := mods.dir.children[k.version].dir
	k.image = dir.children["vmlinuz"].file
	for _, name := range []string{"initramfs.img", "initramfs"} {
		if n := dir.children[name]; n != nil && n.file != nil && !n.file.symlink {
			k.initrd, k.initrdN = n.file, name
			break
		}
	}
	if n := dir.children[".vmlinuz.hmac"]; n != nil && n.file != nil {
		k.hmac = n.file
	}
	if n := dir.children["devicetree"]; n != nil && n.file != nil {
		k.trees = []bootFile{{"", n.file}}
	} else if n := dir.children["dtb"]; n != nil && n.dir != nil {
		k.dtbDir = true
		k.trees = collectTrees(n.dir, "")
	}
	return k, nil
}

func collectTrees(d *dir, prefix string) []bootFile {
	var out []bootFile
	for _, name := range d.names() {
		n := d.children[name]
		switch {
		case n.dir != nil:
			out = append(out, collectTrees(n.dir, prefix+name+"/")...)
		case !n.file.symlink:
			out = append(out, bootFile{prefix + name, n.file})
		}
	}
	return out
}

// checksum is the boot checksum and the number of bytes that it covers.
func (k *kernel) checksum() (ostree.Checksum, int64, error) {
	h := sha256.New()
	var total int64
	files := []*file{k.image}
	if k.initrd != nil {
		files = append(files, k.initrd)
	}
	for _, t := range k.trees {
		files = append(files, t.file)
	}
	for _, f := range files {
		if err := f.hashInto(h); err != nil {
			return ostree.Checksum{}, 0, err
		}
		total += f.size
	}
	return ostree.SumOf(h), total, nil
}

func (f *file) hashInto(h hash.Hash) error {
	if f.data == nil {
		return nil
	}
	r, err := f.data.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(h, r)
	return errors.Join(err, r.Close())
}

// KernelVersion is the version of the image's one kernel.
func (t *Tree) KernelVersion() (string, error) {
	k, err := t.kernel()
	if err != nil {
		return "", err
	}
	return k.version, nil
}
