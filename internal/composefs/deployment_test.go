package composefs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOracleDeployment rebuilds the image that ostree wrote into a deployment.
// AITHER_DEPLOYMENT names its folder; the object store is found from there.
func TestOracleDeployment(t *testing.T) {
	dir := os.Getenv("AITHER_DEPLOYMENT")
	if dir == "" {
		t.Skip("AITHER_DEPLOYMENT names no deployment of ostree")
	}
	objects := map[uint64]string{}
	store := filepath.Join(dir, "../../../../repo/objects")
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".file") {
			var st syscall.Stat_t
			err = syscall.Lstat(path, &st)
			objects[st.Ino], _ = filepath.Rel(store, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, ".ostree.cfs"))
	if err != nil {
		t.Fatal(err)
	}
	root := loadNode(t, dir, objects)
	kept := root.Children[:0]
	for _, c := range root.Children {
		if c.Name != "etc" && c.Name != ".ostree.cfs" {
			kept = append(kept, c)
		}
	}
	root.Children = kept
	root.EnsureDirs(DeploymentDirs()...)
	compare(t, dir, image(t, root), want)
	back, err := Read(strings.NewReader(string(want)))
	if err != nil {
		t.Fatal(err)
	}
	if d := firstDifference(dump(normal(root)), dump(back)); d != "" {
		t.Error(d)
	}
}

func loadNode(t *testing.T, path string, objects map[uint64]string) *Node {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	n := &Node{Name: filepath.Base(path), Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: uint64(st.Size), Xattrs: map[string][]byte{}}
	list, value := make([]byte, 1<<16), make([]byte, 1<<16)
	size, err := unix.Llistxattr(path, list)
	for name := range strings.SplitSeq(string(list[:max(size, 0)]), "\x00") {
		if name == "" {
			continue
		}
		n2, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		n.Xattrs[name] = append([]byte{}, value[:n2]...)
	}
	if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	if n.isWhiteout() {
		// libostree's checkout makes a device of such a file, but its image keeps the file.
		n.Name, n.Mode = ".ostree-wh."+n.Name, n.Mode&^typeMask|typeRegular
	}
	switch n.typ() {
	case typeSymlink:
		if n.Target, err = os.Readlink(path); err != nil {
			t.Fatal(err)
		}
	case typeRegular:
		n.Payload = objects[st.Ino]
	case typeDir:
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			n.Children = append(n.Children, loadNode(t, filepath.Join(path, e.Name()), objects))
		}
	}
	return n
}
