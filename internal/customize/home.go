package customize

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// homeOf is a home and whose it is.
type homeOf struct {
	path     string
	uid, gid int
	isNew    bool
}

// home makes the home of a new user, and writes keys.
func (c *changes) home(f *accountFiles, u User, h homeOf) error {
	if !h.isNew && len(u.Keys) == 0 {
		return nil
	}
	dir, err := c.resolve(strings.TrimPrefix(path.Clean(h.path), "/") + "/.")
	if err != nil {
		return fmt.Errorf("its home: %w", err)
	}
	_, there, err := c.lookup(dir)
	if err != nil {
		return err
	}
	mode := f.homeMode
	if h.uid == 0 {
		mode = 0o700
	}
	own := func(e tree.Entry) tree.Entry {
		e.UID, e.GID = h.uid, h.gid
		return e
	}
	if !there {
		if err := c.put(own(tree.Entry{Path: dir, Mode: fs.ModeDir | mode})); err != nil {
			return fmt.Errorf("its home: %w", err)
		}
		if err := c.skeleton(strings.Trim(f.skel, "/"), dir, own); err != nil {
			return fmt.Errorf("its home: %w", err)
		}
	}
	if len(u.Keys) == 0 {
		return nil
	}
	return c.keys(dir, u.Keys, own)
}

// skeleton copies the files of /etc/skel.
func (c *changes) skeleton(from, to string, own func(tree.Entry) tree.Entry) error {
	_, ok, err := c.lookup(from)
	if !ok || err != nil {
		return err
	}
	list, err := c.view.ReadDir(from)
	if err != nil {
		return fmt.Errorf("reading %q in the image: %w", "/"+from, err)
	}
	for _, e := range list {
		name := path.Base(e.Path)
		link := e.Link
		if e.Mode.IsRegular() { // a hard link is copied as a file
			link = ""
		}
		copied := own(tree.Entry{Path: path.Join(to, name), Mode: e.Mode, Link: link, Content: e.Content})
		if e.Mode.IsRegular() && e.Link != "" {
			text, _, err := c.read(path.Join(from, name))
			if err != nil {
				return err
			}
			copied.Content = tree.Text(text)
		}
		if err := c.put(copied); err != nil {
			return err
		}
		if e.Mode.IsDir() {
			if err := c.skeleton(path.Join(from, name), path.Join(to, name), own); err != nil {
				return err
			}
		}
	}
	return nil
}

// keys adds lines to authorized_keys.
func (c *changes) keys(home string, keys []string, own func(tree.Entry) tree.Entry) error {
	dir := path.Join(home, ".ssh")
	text, _, err := c.read(path.Join(dir, "authorized_keys"))
	if err != nil {
		return err
	}
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	for _, k := range keys {
		if k = strings.TrimSpace(k); k != "" && !slices.Contains(lines, k) {
			lines = append(lines, k)
		}
	}
	if err := c.put(own(tree.Entry{Path: dir, Mode: fs.ModeDir | 0o700})); err != nil {
		return fmt.Errorf("its keys: %w", err)
	}
	file := tree.Entry{Path: path.Join(dir, "authorized_keys"), Mode: 0o600, Content: tree.Text(strings.Join(lines, "\n") + "\n")}
	if err := c.put(own(file)); err != nil {
		return fmt.Errorf("its keys: %w", err)
	}
	return nil
}
