package customize

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"github.com/aitheros/aither-image/internal/tree"
)

// accountPaths are the files that shadow-utils keep.
var accountPaths = []string{"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/subuid", "etc/subgid"}

// unpack writes a view and changes over it into a folder.
func unpack(t *testing.T, v fakeView, changes []tree.Entry) string {
	t.Helper()
	root := t.TempDir()
	all := maps.Clone(v)
	for _, e := range changes {
		all[e.Path] = e
	}
	for _, p := range slices.Sorted(maps.Keys(all)) {
		e, at := all[p], filepath.Join(root, p)
		var err error
		switch {
		case e.Mode.IsDir():
			err = os.Mkdir(at, 0o755)
		case e.Mode&fs.ModeSymlink != 0:
			err = os.Symlink(e.Link, at)
		default:
			b, readErr := tree.ReadAll(e.Content, 1<<20)
			if readErr != nil {
				t.Fatal(readErr)
			}
			err = os.WriteFile(at, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func read(t *testing.T, root, p string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, p))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAsUseradd lets groupadd and useradd make the same accounts and compares every file.
func TestAsUseradd(t *testing.T) {
	tooltest.Need(t, "useradd")
	tooltest.Need(t, "groupadd")
	if os.Getuid() != 0 {
		t.Skip("useradd --prefix is for root only")
	}
	for name, c := range map[string]struct {
		o    Options
		argv [][]string
	}{
		"plain": {Options{Day: 19675, Users: []User{{Name: "core"}}}, [][]string{{"useradd", "core"}}},
		"full": {Options{Day: 19675, Groups: []Group{{"ops", nil}, {"app", ptr(3000)}}, Users: []User{
			{Name: "core", Description: "The core", Shell: "/bin/bash", Password: "$6$x", Groups: []string{"sudo", "ops"}, UID: ptr(2000)},
			{Name: "late", Groups: []string{"adm"}, ExpireDate: ptr(20000)},
			{Name: "sys", UID: ptr(990), GID: ptr(100), Home: "/var/lib/sys"},
		}}, [][]string{
			{"groupadd", "ops"}, {"groupadd", "-g", "3000", "app"},
			{"useradd", "-c", "The core", "-s", "/bin/bash", "-p", "$6$x", "-G", "sudo,ops", "-u", "2000", "core"},
			{"useradd", "-G", "adm", "-e", "2024-10-04", "late"},
			{"useradd", "-u", "990", "-g", "100", "-d", "/var/lib/sys", "-M", "sys"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			theirs := unpack(t, debianView(), nil)
			for _, argv := range c.argv {
				args := append([]string{"--prefix", theirs}, argv[1:]...)
				if _, err := (tool.Cmd{Name: argv[0], Args: args, Env: []string{"SOURCE_DATE_EPOCH=1700000000"}}).Run(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Apply(c.o, debianView())
			if err != nil {
				t.Fatal(err)
			}
			ours := unpack(t, debianView(), got)
			for _, p := range accountPaths {
				if diff := cmp.Diff(read(t, theirs, p), read(t, ours, p)); diff != "" {
					t.Errorf("%s: useradd's (-) and ours (+) differ:\n%s", p, diff)
				}
			}
		})
	}
}

// TestChecked lets pwck and grpck judge what was written.
func TestChecked(t *testing.T) {
	tooltest.Need(t, "pwck")
	tooltest.Need(t, "grpck")
	if os.Getuid() != 0 {
		t.Skip("both look up members in a root of their own, which only root can have")
	}
	for name, v := range map[string]fakeView{"debian": debianView(), "fedora": fedoraView()} {
		got, err := Apply(Options{Day: 20000, Groups: []Group{{"ops", nil}}, Users: []User{
			{Name: "a", Groups: []string{"wheel", "ops"}, Password: "$6$x"}, {Name: "b", GID: ptr(0)}, {Name: "core", Keys: []string{key}},
		}}, v)
		if err != nil {
			t.Fatal(name, err)
		}
		root := unpack(t, v, got)
		if out, err := tool.Run(context.Background(), "pwck", "-q", "-r", "-R", root); err != nil {
			t.Errorf("%s: %v\n%s\n%s", name, err, out, read(t, root, "etc/passwd"))
		}
		if out, err := tool.Run(context.Background(), "grpck", "-r", "-R", root); err != nil {
			t.Errorf("%s: %v\n%s\n%s%s", name, err, out, read(t, root, "etc/group"), read(t, root, "etc/gshadow"))
		}
	}
}
