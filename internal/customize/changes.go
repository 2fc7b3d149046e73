package customize

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// changes is a view with entries laid over it.
type changes struct {
	view    View
	entries map[string]tree.Entry
	// users and groups are the accounts as they will be.
	users, groups *database
}

// sorted is every changed entry, parents first.
func (c *changes) sorted() []tree.Entry {
	var out []tree.Entry
	for _, p := range slices.Sorted(maps.Keys(c.entries)) {
		out = append(out, c.entries[p])
	}
	return out
}

// lookup finds an entry as it will be; ok is false where there is none.
func (c *changes) lookup(p string) (e tree.Entry, ok bool, err error) {
	if e, ok := c.entries[p]; ok {
		return e, true, nil
	}
	e, err = c.view.Lookup(p)
	if errors.Is(err, fs.ErrNotExist) {
		return e, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("looking up %q in the image: %w", p, err)
	}
	return e, true, nil
}

// read returns a file's text as it will be; ok is false where there is none, or
// something else, as a link into the image.
func (c *changes) read(p string) (text string, ok bool, err error) {
	if e, ok := c.entries[p]; ok && e.Mode.IsRegular() {
		b, err := tree.ReadAll(e.Content, maxFile)
		return string(b), true, err
	}
	e, ok, err := c.lookup(p)
	if err != nil || !ok || !e.Mode.IsRegular() {
		return "", false, err
	}
	b, err := c.view.ReadFile(p)
	if err != nil {
		return "", false, fmt.Errorf("reading %q in the image: %w", p, err)
	}
	return string(b), true, nil
}

// maxFile bounds the files of /etc that are edited.
const maxFile = 16 << 20

// maxLinks is how many symbolic links one path may lead over, as in Linux.
const maxLinks = 40

// resolve follows links in the folders of a path; the last name is left as it
// is. The result must lie below etc or var, where changes are allowed.
func (c *changes) resolve(p string) (string, error) {
	names, done, links := strings.Split(p, "/"), "", 0
	for len(names) > 0 {
		next := path.Join(done, names[0])
		names = names[1:]
		e, ok, err := c.lookup(next)
		if err != nil {
			return "", err
		}
		if ok && len(names) > 0 && e.Mode&fs.ModeSymlink != 0 {
			if links++; links > maxLinks {
				return "", fmt.Errorf("following %q: more than %d symbolic links", p, maxLinks)
			}
			target := e.Link
			if !path.IsAbs(target) {
				target = path.Join("/", done, target)
			}
			// Cleaned against the root, so that ".." leads nowhere above it.
			names = append(strings.Split(strings.TrimPrefix(path.Clean(target), "/"), "/"), names...)
			done = ""
			continue
		}
		if ok && len(names) > 0 && !e.Mode.IsDir() {
			return "", fmt.Errorf("%q is no folder in the image", "/"+next)
		}
		done = next
	}
	if !strings.HasPrefix(done, "etc/") && !strings.HasPrefix(done, "var/") {
		leads := ""
		if done != p {
			leads = fmt.Sprintf(" leads to %q and", "/"+done)
		}
		return "", fmt.Errorf("%q%s belongs to the image\nhint: only /etc and /var can be changed at this stage; use an overlay", "/"+p, leads)
	}
	return done, nil
}

// ownModes are the modes of well-known folders of /var that images leave out;
// others are 0755.
var ownModes = map[string]fs.FileMode{
	"var/tmp":      0o777 | fs.ModeSticky,
	"var/roothome": 0o700,
}

// parents makes the missing folders above p.
func (c *changes) parents(p string) error {
	dir := path.Dir(p)
	if dir == "." {
		return nil
	}
	e, ok, err := c.lookup(dir)
	switch {
	case err != nil:
		return err
	case ok && e.Mode.IsDir():
		return nil
	case ok:
		return fmt.Errorf("%q is no folder in the image", "/"+dir)
	}
	if err := c.parents(dir); err != nil {
		return err
	}
	mode, known := ownModes[dir]
	if !known {
		mode = 0o755
	}
	c.entries[dir] = tree.Entry{Path: dir, Mode: fs.ModeDir | mode}
	return nil
}

// put lays an entry over the view, with its missing parents.
func (c *changes) put(e tree.Entry) error {
	p, err := c.resolve(e.Path)
	if err != nil {
		return err
	}
	old, ok, err := c.lookup(p)
	if err != nil {
		return err
	}
	if ok && old.Mode.IsDir() != e.Mode.IsDir() && (old.Mode.IsDir() || e.Mode.IsDir()) {
		return fmt.Errorf("%q is %s in the image", "/"+p, kindOf(old.Mode))
	}
	if err := c.parents(p); err != nil {
		return err
	}
	e.Path = p
	c.entries[p] = e
	return nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "a file"
}

// write puts a text file of root's, keeping mode and owner of one that is there.
func (c *changes) write(p, text string, mode fs.FileMode) error {
	e := tree.Entry{Path: p, Mode: mode, Content: tree.Text(text)}
	old, ok, err := c.lookup(p)
	if err != nil {
		return err
	}
	if ok && old.Mode.IsRegular() {
		e.Mode, e.UID, e.GID = old.Mode, old.UID, old.GID
	}
	return c.put(e)
}

// setLine puts "name=value" into a file of such lines in place of the first
// line of that name, or at its end.
func (c *changes) setLine(p, name, value string) error {
	text, _, err := c.read(p)
	if err != nil {
		return err
	}
	line, done := name+"="+value, false
	var lines []string
	for old := range strings.Lines(text) {
		old = strings.TrimSuffix(old, "\n")
		if strings.HasPrefix(strings.TrimSpace(old), name+"=") {
			if done {
				continue
			}
			old, done = line, true
		}
		lines = append(lines, old)
	}
	if !done {
		lines = append(lines, line)
	}
	return c.write(p, strings.Join(lines, "\n")+"\n", 0o644)
}
