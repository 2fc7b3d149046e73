package customize

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// relative checks that a path is absolute and clean; where it leads is up to resolve.
func relative(p string) (string, error) {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
		return "", fmt.Errorf("it is not an absolute path in its shortest form")
	}
	return strings.TrimPrefix(p, "/"), nil
}

func (c *changes) directory(d Directory) error {
	rel, err := relative(d.Path)
	if err != nil {
		return err
	}
	if rel, err = c.resolve(rel); err != nil {
		return err
	}
	old, there, err := c.lookup(rel)
	if err != nil {
		return err
	}
	if !d.EnsureParents && strings.HasPrefix(rel, "etc/") {
		// Images leave /var empty for tmpfiles.d: there, parents are made in any case.
		if _, ok, err := c.lookup(path.Dir(rel)); err != nil || !ok {
			return fmt.Errorf("%q is missing in the image\nhint: write ensure_parents = true", "/"+path.Dir(rel))
		}
	}
	e := tree.Entry{Path: rel, Mode: fs.ModeDir | 0o755}
	if there && old.Mode.IsDir() {
		e = tree.Entry{Path: rel, Mode: old.Mode, UID: old.UID, GID: old.GID}
	}
	if d.Mode != nil {
		e.Mode = fs.ModeDir | *d.Mode
	}
	if err := c.own(&e, d.User, d.Group); err != nil {
		return err
	}
	return c.put(e)
}

func (c *changes) file(f File) error {
	rel, err := relative(f.Path)
	if err != nil {
		return err
	}
	e := tree.Entry{Path: rel, Mode: 0o644, Content: tree.Bytes(f.Data)}
	if f.Mode != nil {
		e.Mode = *f.Mode
	}
	if err := c.own(&e, f.User, f.Group); err != nil {
		return err
	}
	return c.put(e)
}

// own sets an entry's owners, which may be users and groups of this very run.
func (c *changes) own(e *tree.Entry, user, group *Owner) error {
	for _, o := range []struct {
		what  string
		owner *Owner
		file  string
		db    **database
		id    *int
	}{{"user", user, "etc/passwd", &c.users, &e.UID}, {"group", group, "etc/group", &c.groups, &e.GID}} {
		if o.owner == nil {
			continue
		}
		if *o.id = o.owner.ID; o.owner.Name == "" {
			continue
		}
		if *o.db == nil {
			db, _, err := c.open(o.file, 4)
			if err != nil {
				return err
			}
			*o.db = db
		}
		id, ok := (*o.db).id(o.owner.Name)
		if !ok {
			return fmt.Errorf("the image has no %s %q\nhint: add it as [[customizations.%s]]; one that sysusers.d makes at boot has no number yet", o.what, o.owner.Name, o.what)
		}
		*o.id = id
	}
	return nil
}
