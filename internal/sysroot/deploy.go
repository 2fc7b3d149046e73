package sysroot

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/tree"
)

// stateroot is the name that bootc gives the only state root.
const stateroot = "default"

// DeployOptions say what differs from machine to machine and from disk to disk.
type DeployOptions struct {
	// Update is the image reference that the machine follows.
	Update ImageReference
	// Root and Boot are the UUIDs of the file systems, Boot empty without a
	// separate one; ESP is the volume id as "7B77-95E7".
	Root, Boot, ESP string
	// Kargs come after those of the image.
	Kargs []string
	// Changes are entries "etc/…" and "var/…" to add or replace.
	Changes []tree.Entry
	// Time is the modification time of what has none of its own.
	Time time.Time
}

// A Deployment is the first deployment of an image, as the trees of its file systems.
type Deployment struct {
	Commit   ostree.Checksum
	Boot     ostree.Checksum // of kernel, initramfs and device trees
	Kernel   string          // its version
	Kargs    []string        // without ostree=
	Title    string
	Origin   string
	Entry    string // text of the boot entry
	EntryAt  string // its path on the file system that holds /boot
	Warnings []string

	RootTree tree.Stream
	BootTree tree.Stream // nil when /boot is part of the root file system
	ESPTree  tree.Stream
	GRUB     *GRUBFiles // nil when the image cannot boot by BIOS
	// Content is the size of all regular files of the merged tree, in bytes.
	Content int64
	// KernelBytes is what one kernel and its initramfs take on /boot.
	KernelBytes int64
}

// deployer is a deployment while it is put together.
type deployer struct {
	t    *Tree
	opts DeployOptions
	repo *repository
	root *phys
	boot *phys // what goes to /boot
	out  *Deployment
	kern *kernel
	dir  string // path of the deployment
	cfs  tree.Bytes
}

// Deploy makes the physical root of the image's first deployment.
func (t *Tree) Deploy(ctx context.Context, opts DeployOptions) (*Deployment, error) {
	d := &deployer{t: t, opts: opts, repo: newRepository(t), root: physDir(0o755), boot: physDir(0o755), out: &Deployment{}}
	var err error
	if d.out.Commit, err = d.repo.commits(ctx); err != nil {
		return nil, fmt.Errorf("making the commits of the image: %w", err)
	}
	t.sums = d.repo.sums
	if err := t.discardUnused(d.repo.content); err != nil {
		return nil, err
	}
	d.dir = fmt.Sprintf("ostree/deploy/%s/deploy/%s.0", stateroot, d.out.Commit)
	for _, step := range []struct {
		doing string
		do    func() error
	}{
		{"reading the kernel", d.addKernel},
		{"computing the kernel arguments", d.addKargs},
		{"writing the boot entry", d.addBootEntry},
		{"installing the boot loader", d.addBootLoader},
		{"writing the composefs image", d.addComposefs},
		{"making /etc", d.addEtc},
		{"making /var", d.addVar},
		{"writing the repository", d.addRepository},
		{"finishing the deployment", d.addDeployment},
	} {
		if err := step.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", step.doing, err)
		}
	}
	d.streams()
	return d.out, nil
}

func (d *deployer) streams() {
	finish := d.t.labeller(d.opts.Time)
	// File systems have it in any case; here it gets its label.
	d.root.children["lost+found"] = physDir(0o700)
	if d.opts.Boot == "" {
		d.root.children["boot"] = d.boot
	} else {
		d.root.children["boot"] = physDir(0o755)
		boot := physDir(0o755)
		boot.children = d.boot.children
		boot.children["lost+found"] = physDir(0o700)
		d.out.BootTree = boot.stream(func(e *tree.Entry, labelled bool) {
			path := e.Path
			if e.Path = "boot"; path != "." {
				e.Path = "boot/" + path
			}
			finish(e, labelled)
			e.Path = path
		})
	}
	root := d.root.stream(finish)
	d.out.RootTree = func(yield func(tree.Entry, error) bool) {
		for _, o := range d.repo.objects {
			o.name, o.links = "", 0
		}
		root(yield)
	}
}

func (d *deployer) addDeployment() error {
	d.out.Origin = d.opts.Update.origin()
	origin := physFile(0o644, tree.Text("[origin]\ncontainer-image-reference="+d.out.Origin+"\n"))
	d.root.add(d.dir+".origin", d.t.labelAs(origin, "/etc/ostree/remotes.d/dummy.conf"))

	private := physDir(0o700)
	d.root.add("ostree/deploy/"+stateroot+"/backing", private)
	backing := physDir(0o700)
	private.children[d.out.Commit.String()+".0"] = backing
	transient := physDir(0o700)
	backing.children["root-transient"] = transient
	transient.children["upper"] = physDir(d.t.root.perm)
	transient.children["work"] = physDir(0o700)

	d.root.add("ostree/bootc", physDir(0o755))
	versioned := fmt.Sprintf("ostree/boot.1.1/%s/%s/0", stateroot, d.out.Boot)
	d.root.add(versioned, physLink("../../../deploy/"+stateroot+"/deploy/"+d.out.Commit.String()+".0"))
	d.root.add("ostree/boot.1", physLink("boot.1.1"))

	aleph, err := d.aleph()
	if err != nil {
		return err
	}
	d.root.add(".bootc-aleph.json", physFile(0o644, tree.Bytes(aleph)))

	top := physDir(d.t.root.perm)
	top.entry.UID, top.entry.GID = int(d.t.root.uid), int(d.t.root.gid)
	top.entry.Xattrs = withLabel(d.t.root.xattrs, d.t.dirLabel(d.t.root, ""))
	top.entry.Immutable, top.labelled = true, true
	top.entry.ModTime = d.opts.Time
	etc, cfs := d.root.get("etc"), physFile(0o644, d.cfs)
	delete(d.root.children, "etc")
	top.emit = func(path string, yield func(tree.Entry) bool) bool {
		return d.emitDeployment(path, etc, cfs, yield)
	}
	d.root.add(d.dir, top)
	return nil
}

var epoch = time.Unix(0, 0).UTC()

// emitDeployment writes the checkout of the commit with /etc and the composefs
// image in their places among the names of the root.
func (d *deployer) emitDeployment(path string, etc, cfs *phys, yield func(tree.Entry) bool) bool {
	names := append(d.t.root.names(), "etc", ".ostree.cfs")
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		switch name {
		case "etc":
			if !etc.walk(path+"/etc", d.t.labeller(d.opts.Time), yield) {
				return false
			}
		case ".ostree.cfs":
			f := d.t.labelAs(cfs, "/usr/.ostree.cfs").entry
			f.Path, f.ModTime = path+"/.ostree.cfs", d.opts.Time
			if !yield(f) {
				return false
			}
		default:
			if !d.emitNode(path, name, name, d.t.root.children[name], yield) {
				return false
			}
		}
	}
	return true
}

// emitNode writes one name of the merged tree: at is its folder on disk, in its
// path in the tree.
func (d *deployer) emitNode(at, name, in string, n *node, yield func(tree.Entry) bool) bool {
	if n.dir == nil {
		return yield(d.fileEntry(at, name, in, n.file))
	}
	e := tree.Entry{Path: at + "/" + name, Mode: fs.ModeDir | fsPerm(n.dir.perm), UID: int(n.dir.uid), GID: int(n.dir.gid),
		ModTime: epoch, Xattrs: withLabel(n.dir.xattrs, d.t.dirLabel(n.dir, in))}
	if !yield(e) {
		return false
	}
	for _, c := range n.dir.diskNames() {
		if !d.emitNode(e.Path, c, in+"/"+c, n.dir.children[c], yield) {
			return false
		}
	}
	return true
}

// quotedWhiteout marks files that a checkout turns into whiteouts of overlayfs,
// so that images can carry the storage of containers.
const quotedWhiteout = ".ostree-wh."

// diskNames is the order of the names as they come out on disk, where quoted
// whiteouts have lost their prefix.
func (d *dir) diskNames() []string {
	names := d.names()
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, quotedWhiteout) }) {
		slices.SortFunc(names, func(a, b string) int {
			return strings.Compare(strings.TrimPrefix(a, quotedWhiteout), strings.TrimPrefix(b, quotedWhiteout))
		})
	}
	return names
}

func (d *deployer) fileEntry(at, name, in string, f *file) tree.Entry {
	label := d.t.label(in, f.fsMode(), f.own)
	e := tree.Entry{Path: at + "/" + name, Mode: f.fsMode(), UID: int(f.uid), GID: int(f.gid), ModTime: epoch,
		Xattrs: withLabel(f.xattrs, label)}
	switch {
	case !f.symlink && strings.HasPrefix(name, quotedWhiteout):
		e.Path = at + "/" + strings.TrimPrefix(name, quotedWhiteout)
		e.Mode |= fs.ModeDevice | fs.ModeCharDevice
		return e
	case !f.symlink && f.size == 0: // never shared, so that they cannot use up an inode's names
		return e
	}
	o := d.repo.object(f, label)
	return o.entry(e)
}

// maxLinks keeps below the 65000 names that an inode of ext4 can have, so that
// later deployments can add theirs.
const maxLinks = 32000

// entry makes e a name of the object: its first, or a hard link to the first.
// libostree links symbolic links too.
func (o *object) entry(e tree.Entry) tree.Entry {
	if o.name != "" && o.links < maxLinks {
		o.links++
		e.Mode, e.Link = fsPerm(o.file.perm), o.name
		return e
	}
	o.name, o.links = e.Path, 1
	e.Link, e.Content = o.file.target, o.file.data
	return e
}

// addRepository plans the repository; its objects are emitted one after the other.
func (d *deployer) addRepository() error {
	const repo = "ostree/repo"
	for _, dir := range ostree.RepoDirs() {
		d.root.add(repo+"/"+dir, physDir(0o755))
	}
	d.root.add(repo+"/config", physFile(0o644, tree.Text(ostree.RepoConfig)))
	image, err := ostree.ImageRef(d.opts.Update.display())
	if err != nil {
		return err
	}
	refs := maps.Clone(d.repo.refs)
	refs[image] = d.out.Commit
	refs[ostree.DeploymentRef] = d.out.Commit
	for ref, sum := range refs {
		name, err := ostree.RefFile(ref)
		if err != nil {
			return err
		}
		d.root.add(repo+"/"+name, physFile(0o644, tree.Text(ostree.RefContent(sum))))
	}
	if d.t.base != nil && d.t.base.det != nil {
		d.root.add(repo+"/objects/"+d.t.base.sum.LoosePath(ostree.KindCommitMeta), physFile(0o644, tree.Bytes(d.t.base.det)))
	}
	d.addObjects(d.root.get(repo + "/objects"))
	return nil
}

// addObjects hangs the objects into their 256 folders. The files among them
// are hard links when the deployment has named them before.
func (d *deployer) addObjects(objects *phys) {
	for _, sum := range sortedSums(d.repo.metas) {
		m := d.repo.metas[sum]
		objects.add(sum.LoosePath(m.kind), physFile(0o644, tree.Bytes(m.data)))
	}
	for _, sum := range sortedSums(d.repo.objects) {
		o := d.repo.objects[sum]
		f := o.file
		p := &phys{late: o.entry, labelled: true, entry: tree.Entry{Mode: f.fsMode(), UID: int(f.uid), GID: int(f.gid), ModTime: epoch, Xattrs: withLabel(f.xattrs, o.label)}}
		objects.add(sum.LoosePath(ostree.KindFile), p)
	}
}
