package sysroot

import (
	"bytes"

	"github.com/aitheros/aither-image/internal/composefs"
	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/tree"
)

// addComposefs writes the image that the root of the running system is (3.8).
// libostree makes it for every deployment, whatever the configuration says.
func (d *deployer) addComposefs() error {
	root := d.cfsDir(d.t.root, "", "")
	root.EnsureDirs(composefs.DeploymentDirs()...)
	var b bytes.Buffer
	if err := composefs.Write(&b, root); err != nil {
		return err
	}
	d.cfs = tree.Bytes(b.Bytes())
	return nil
}

func (d *deployer) cfsDir(from *dir, name, path string) *composefs.Node {
	n := &composefs.Node{Name: name, Mode: sIFDIR | from.perm, UID: from.uid, GID: from.gid,
		Xattrs: withLabel(from.xattrs, d.t.dirLabel(from, path)), Children: make([]*composefs.Node, 0, len(from.children))}
	for _, c := range from.names() {
		child, p := from.children[c], join(path, c)
		if child.dir != nil {
			n.Children = append(n.Children, d.cfsDir(child.dir, c, p))
			continue
		}
		n.Children = append(n.Children, d.cfsFile(child.file, c, p))
	}
	return n
}

func (d *deployer) cfsFile(f *file, name, path string) *composefs.Node {
	label := d.t.label(path, f.fsMode(), f.own)
	n := &composefs.Node{Name: name, Mode: f.mode(), UID: f.uid, GID: f.gid, Xattrs: withLabel(f.xattrs, label)}
	if f.symlink {
		n.Target = f.target
		return n
	}
	// Quoted whiteouts stay what they are here: only a checkout unquotes them.
	n.Size = uint64(f.size)
	d.out.Content += f.size
	if f.size > 0 {
		n.Payload = d.repo.object(f, label).sum.LoosePath(ostree.KindFile)
	}
	return n
}
