package compose

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
	"time"
)

// xattrPrefix is how PAX headers name extended attributes.
const xattrPrefix = "SCHILY.xattr."

// normalise brings a header into the one form that layers have: clean relative
// name, whole seconds not after epoch, no names of owners, no access times, and
// of the extended attributes those that mean the same on another machine.
func normalise(h *tar.Header, epoch time.Time) error {
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	case 0, tar.TypeCont, tar.TypeGNUSparse: // old archives have 0 for a regular file
		h.Typeflag = tar.TypeReg
	case tar.TypeLink:
		if h.Linkname, err = cleanName(h.Linkname); err != nil {
			return fmt.Errorf("hard link %q: %w", h.Name, err)
		}
	default:
		return fmt.Errorf("%q has the unknown type %q", h.Name, h.Typeflag)
	}
	if h.Typeflag != tar.TypeReg {
		h.Size = 0
	}
	h.Name = name
	if strings.HasPrefix(path.Base(name), whiteoutPrefix) {
		// A storage may write deletions as links to each other, or with a time.
		*h = tar.Header{Typeflag: tar.TypeReg, Name: name, ModTime: epoch}
	}
	h.Mode &= 0o7777
	h.Uname, h.Gname = "", ""
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.ModTime = h.ModTime.Truncate(time.Second)
	if h.ModTime.After(epoch) {
		h.ModTime = epoch
	}
	h.PAXRecords = keepXattrs(h.PAXRecords)
	//lint:ignore SA1019 the reader fills it beside PAXRecords, and the writer would refuse both
	h.Xattrs = nil
	h.Format = tar.FormatPAX
	return nil
}

func keepXattrs(recs map[string]string) map[string]string {
	out := maps.Clone(recs)
	maps.DeleteFunc(out, func(k, _ string) bool {
		n, ok := strings.CutPrefix(k, xattrPrefix)
		return !ok || !(strings.HasPrefix(n, "user.") && !strings.HasPrefix(n, "user.overlay.") || n == "security.capability" || n == "security.ima")
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

// cleanName refuses names that are absolute after cleaning, that climb out, or
// that hold a NUL byte.
func cleanName(n string) (string, error) {
	if strings.ContainsRune(n, 0) {
		return "", fmt.Errorf("%q holds a NUL byte", n)
	}
	for _, part := range strings.Split(n, "/") {
		if part == ".." {
			return "", fmt.Errorf("%q climbs out of its folder", n)
		}
	}
	return strings.TrimPrefix(path.Clean("/"+n), "/"), nil
}

// A layerWriter writes a normalised layer and keeps an index up to date.
type layerWriter struct {
	w     *tar.Writer
	epoch time.Time
	index *treeIndex
	// lowest marks a layer with nothing below it, where deletions mean nothing.
	lowest bool
	n      int
}

// add writes one entry; the root folder itself is left out.
func (l *layerWriter) add(h *tar.Header, content io.Reader) error {
	if err := normalise(h, l.epoch); err != nil {
		return err
	}
	if h.Name == "" || l.lowest && strings.HasPrefix(path.Base(h.Name), whiteoutPrefix) {
		return nil
	}
	l.n++
	if l.index != nil {
		l.index.add(h)
	}
	out := *h
	if h.Typeflag == tar.TypeDir {
		out.Name += "/"
	}
	if err := l.w.WriteHeader(&out); err != nil {
		return fmt.Errorf("writing %q to a layer: %w", h.Name, err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	if _, err := io.CopyN(l.w, content, h.Size); err != nil {
		return fmt.Errorf("writing %q to a layer: %w", h.Name, err)
	}
	return nil
}

// copyTar normalises a whole archive.
func (l *layerWriter) copyTar(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading an archive: %w", err)
		}
		if err := l.add(h, tr); err != nil {
			return err
		}
	}
}
