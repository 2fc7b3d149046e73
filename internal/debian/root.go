package debian

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aitheros/aither-image/internal/progress"
)

// A rootWriter puts packages over each other into one tar archive, as dpkg puts
// them over each other into a folder.
type rootWriter struct {
	tw   *tar.Writer
	date time.Time
	// kinds has the type of every path written so far; links the targets of
	// the symbolic links among them.
	kinds map[string]byte
	links map[string]string
}

// writeRoot writes packages, package files and the archive's address.
func (p *Plan) writeRoot(ctx context.Context, w io.Writer) error {
	rw := &rootWriter{tw: tar.NewWriter(w), date: p.Date, kinds: map[string]byte{}, links: map[string]string{}}
	if err := rw.folder("."); err != nil {
		return err
	}
	report(ctx, progress.Event{Kind: progress.Start, Text: "unpacking packages", Total: int64(len(p.debs)), Unit: "packages"})
	if err := p.unpackAll(ctx, rw); err != nil {
		return err
	}
	for _, d := range p.debs {
		if err := p.addDeb(rw, d); err != nil {
			return fmt.Errorf("adding package file %s: %w", d.deb(), err)
		}
	}
	if err := p.addSources(rw); err != nil {
		return err
	}
	report(ctx, progress.Event{Kind: progress.End})
	return rw.tw.Close()
}

// inOrder puts base-files first: its links bin, sbin and lib into /usr must
// stand before the first package that still names them.
func inOrder(debs []*stanza) []*stanza {
	out := slices.Clone(debs)
	slices.SortStableFunc(out, func(a, b *stanza) int {
		switch {
		case a.name == "base-files" && b.name != "base-files":
			return -1
		case b.name == "base-files" && a.name != "base-files":
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return out
}

// unpackAll writes the files of all packages.
func (p *Plan) unpackAll(ctx context.Context, rw *rootWriter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	debs := inOrder(p.debs)
	queue, next := p.ahead(ctx, debs)
	for i, d := range debs {
		one, ok := <-queue
		if !ok {
			return context.Cause(ctx)
		}
		o := <-one
		if o.err == nil {
			o.err = errors.Join(rw.unpack(o.data), o.data.Close())
		}
		if o.err != nil {
			return fmt.Errorf("unpacking package %s %s: %w", d.name, d.version, o.err)
		}
		next()
		report(ctx, progress.Event{Kind: progress.Update, Done: int64(i + 1), Total: int64(len(debs)), Unit: "packages"})
	}
	return nil
}

// unpack writes the entries of one data archive.
func (rw *rootWriter) unpack(data io.Reader) error {
	limited := &io.LimitedReader{R: data, N: maxUnpacked}
	tr := tar.NewReader(limited)
	for {
		h, err := tr.Next()
		if err == io.EOF && limited.N > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrVerify, err)
		}
		if err := rw.add(h, tr); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

// add writes one entry of a package.
func (rw *rootWriter) add(h *tar.Header, content io.Reader) error {
	name, err := cleanPath(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return nil
	}
	parent, err := rw.resolve(path.Dir(name))
	if err != nil {
		return err
	}
	name = path.Join(parent, path.Base(name))
	if err := rw.folder(parent); err != nil {
		return err
	}
	out := &tar.Header{
		Typeflag: h.Typeflag, Name: name, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid,
		ModTime: rw.clamp(h.ModTime), Format: tar.FormatPAX,
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return rw.addFolder(out)
	case tar.TypeReg:
		out.Size = h.Size
	case tar.TypeSymlink:
		out.Linkname = h.Linkname
	case tar.TypeLink:
		if out.Linkname, err = rw.linked(h.Linkname); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: neither file, folder nor link", ErrVerify)
	}
	if k := rw.kinds[name]; k == tar.TypeDir {
		return fmt.Errorf("%w: another package has a folder there", ErrVerify)
	}
	return rw.put(out, content)
}

func (rw *rootWriter) put(h *tar.Header, content io.Reader) error {
	rw.kinds[h.Name] = h.Typeflag
	delete(rw.links, h.Name)
	if h.Typeflag == tar.TypeSymlink {
		rw.links[h.Name] = h.Linkname
	}
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if err := rw.tw.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	n, err := io.Copy(rw.tw, content)
	if err == nil && n != h.Size {
		err = fmt.Errorf("%w: %d bytes instead of %d", ErrVerify, n, h.Size)
	}
	return err
}

// addFolder keeps the first package's word on a folder's owner and mode, and a
// link where one stands for it: both as dpkg does.
func (rw *rootWriter) addFolder(h *tar.Header) error {
	switch k, seen := rw.kinds[h.Name]; {
	case !seen:
		return rw.put(h, nil)
	case k == tar.TypeDir:
		return nil
	case k == tar.TypeSymlink:
		target, err := rw.resolve(h.Name)
		if err != nil {
			return err
		}
		return rw.folder(target)
	}
	return fmt.Errorf("%w: another package has a file there", ErrVerify)
}

// folder makes sure of a folder and those above it.
func (rw *rootWriter) folder(name string) error {
	switch k, seen := rw.kinds[name]; {
	case seen && k == tar.TypeDir:
		return nil
	case seen:
		return fmt.Errorf("%w: %q is not a folder", ErrVerify, name)
	}
	if name != "." {
		if err := rw.folder(path.Dir(name)); err != nil {
			return err
		}
	}
	return rw.put(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: rw.date, Format: tar.FormatPAX}, nil)
}

// linked is the path, within the tree, of a hard link's target.
func (rw *rootWriter) linked(target string) (string, error) {
	name, err := cleanPath(target)
	if err != nil {
		return "", err
	}
	parent, err := rw.resolve(path.Dir(name))
	if err != nil {
		return "", err
	}
	name = path.Join(parent, path.Base(name))
	if k, seen := rw.kinds[name]; !seen || k == tar.TypeDir {
		return "", fmt.Errorf("%w: hard link to %q, which is no earlier file", ErrVerify, target)
	}
	return name, nil
}

// resolve follows the symbolic links among the parts of a path, within the tree.
func (rw *rootWriter) resolve(name string) (string, error) {
	done, todo := ".", strings.Split(name, "/")
	for steps := 0; len(todo) > 0; steps++ {
		if steps > 200 {
			return "", fmt.Errorf("%w: links in a circle at %q", ErrVerify, name)
		}
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if done == "." {
				return "", fmt.Errorf("%w: a link leads out of the tree at %q", ErrVerify, name)
			}
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		target, isLink := rw.links[next]
		if !isLink {
			done = next
			continue
		}
		if strings.HasPrefix(target, "/") {
			done = "."
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, nil
}

// clamp cuts times to whole seconds, none after the archive's own date.
func (rw *rootWriter) clamp(t time.Time) time.Time {
	if t.After(rw.date) {
		return rw.date
	}
	return t.Truncate(time.Second).UTC()
}

// cleanPath is a path of a package, relative to the root.
func cleanPath(name string) (string, error) {
	if strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%w: path %q", ErrVerify, name)
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%w: path %q leads out of the tree", ErrVerify, name)
		}
	}
	return path.Clean(name), nil
}

// addDeb lays a package file where apt keeps those that wait for dpkg.
func (p *Plan) addDeb(rw *rootWriter, d *stanza) (err error) {
	f, err := p.f.file(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return rw.file("var/cache/apt/archives/"+d.deb(), d.size, f)
}

func (rw *rootWriter) file(name string, size int64, content io.Reader) error {
	if err := rw.folder(path.Dir(name)); err != nil {
		return err
	}
	return rw.put(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: rw.date, Format: tar.FormatPAX}, content)
}

// addSources tells apt inside the tree to read the same archive.
func (p *Plan) addSources(rw *rootWriter) error {
	keyring := "usr/share/keyrings/debian-archive-keyring.pgp"
	if _, ok := rw.kinds[keyring]; !ok {
		keyring = "usr/share/keyrings/debian-archive-keyring.gpg"
	}
	files := []struct{ name, text string }{}
	if len(p.o.Keys) > 0 {
		keyring = "etc/apt/keyrings/archive.asc"
		files = append(files, struct{ name, text string }{keyring, string(p.o.Keys)})
	}
	files = append(files, struct{ name, text string }{"etc/apt/sources.list.d/debian.sources", fmt.Sprintf(
		"Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nSigned-By: /%s\n",
		p.o.Mirror, p.o.Suite, strings.Join(p.o.Components, " "), keyring)})
	if p.o.AllowExpired {
		files = append(files, struct{ name, text string }{"etc/apt/apt.conf.d/11-frozen-archive",
			"// This archive is frozen on purpose; its signature still counts.\nAcquire::Check-Valid-Until \"false\";\n"})
	}
	for _, f := range files {
		if err := rw.file(f.name, int64(len(f.text)), strings.NewReader(f.text)); err != nil {
			return err
		}
	}
	return nil
}
