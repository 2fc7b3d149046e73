package ext4

import (
	"io/fs"
	"testing"

	"github.com/aitheros/aither-image/internal/tree"
)

func TestSmoke(t *testing.T) {
	d := newDevice(t)
	w, err := NewWriter(d, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	finish(t, w, stream(
		tree.Entry{Path: ".", Mode: fs.ModeDir | 0o755, Xattrs: map[string][]byte{"security.selinux": []byte("system_u:object_r:root_t:s0\x00")}},
		tree.Entry{Path: "etc", Mode: fs.ModeDir | 0o755, UID: 3, ModTime: testTime.Add(5)},
		tree.Entry{Path: "etc/hello", Mode: 0o644 | fs.ModeSetuid, Content: tree.Text("hello, world\n")},
		tree.Entry{Path: "link", Mode: fs.ModeSymlink | 0o777, Link: "etc/hello"},
	), 1<<30)
	fsck(t, d.Name())
	t.Log(debugfs(t, d.Name(), "stats"))
	t.Log(debugfs(t, d.Name(), "ls -l /etc"))
	t.Log(debugfs(t, d.Name(), "cat /etc/hello"))
	t.Log(debugfs(t, d.Name(), "ea_list /"))
	t.Log(debugfs(t, d.Name(), "stat /etc/hello"))
}
