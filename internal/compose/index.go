package compose

import (
	"archive/tar"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// The names that the OCI image specification ("layer.md", whiteouts) gives to deletions.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// A treeIndex holds the folders and symbolic links of an image.
type treeIndex struct {
	Dirs  map[string]dirAttr `json:"dirs"`
	Links map[string]string  `json:"links"`
}

// A dirAttr is what an overlay must repeat when it goes through a folder.
type dirAttr struct {
	Mode  int64             `json:"m"`
	UID   int               `json:"u,omitempty"`
	GID   int               `json:"g,omitempty"`
	Time  int64             `json:"t,omitempty"`
	Xattr map[string]string `json:"x,omitempty"`
}

func newTreeIndex() *treeIndex {
	return &treeIndex{Dirs: map[string]dirAttr{}, Links: map[string]string{}}
}

// add applies one entry of a layer. Its name must be clean.
func (t *treeIndex) add(h *tar.Header) {
	dir, base := path.Split(h.Name)
	dir = path.Clean(dir)
	switch {
	case base == opaqueName:
		t.removeUnder(dir)
	case strings.HasPrefix(base, whiteoutPrefix):
		t.remove(path.Join(dir, strings.TrimPrefix(base, whiteoutPrefix)))
	case h.Typeflag == tar.TypeDir:
		delete(t.Links, h.Name)
		t.Dirs[h.Name] = dirAttr{h.Mode, h.Uid, h.Gid, h.ModTime.Unix(), h.PAXRecords}
	default:
		t.remove(h.Name)
		if h.Typeflag == tar.TypeSymlink {
			t.Links[h.Name] = h.Linkname
		}
	}
}

func (t *treeIndex) remove(name string) {
	delete(t.Links, name)
	if _, ok := t.Dirs[name]; ok {
		delete(t.Dirs, name)
		t.removeUnder(name)
	}
}

func (t *treeIndex) removeUnder(dir string) {
	prefix := dir + "/"
	if dir == "." {
		prefix = ""
	}
	for n := range t.Dirs {
		if strings.HasPrefix(n, prefix) && n != dir {
			delete(t.Dirs, n)
		}
	}
	for n := range t.Links {
		if strings.HasPrefix(n, prefix) {
			delete(t.Links, n)
		}
	}
}

// parents returns the folder entries that must come before name in a layer
// above the image, outermost first, skipping those in done.
func (t *treeIndex) parents(name string, done map[string]bool, epoch time.Time) ([]*tar.Header, error) {
	var out []*tar.Header
	parts := strings.Split(path.Dir(name), "/")
	for i := range parts {
		dir := path.Join(parts[:i+1]...)
		if dir == "." || done[dir] {
			continue
		}
		if to, ok := t.Links[dir]; ok {
			return nil, fmt.Errorf("placing /%s: /%s is a symbolic link to %s in the image: %w\nhint: put the file where the link leads", name, dir, to, ErrUsage)
		}
		done[dir] = true
		h := &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch}
		if a, ok := t.Dirs[dir]; ok {
			h.Mode, h.Uid, h.Gid, h.ModTime, h.PAXRecords = a.Mode, a.UID, a.GID, time.Unix(a.Time, 0), a.Xattr
		}
		out = append(out, h)
	}
	return out, nil
}

// indexLayer applies a layer of the pool.
func (w *workdir) indexLayer(t *treeIndex, l Layer) error {
	r, err := w.openLayer(l)
	if err != nil {
		return err
	}
	defer r.Close()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := normalise(h, time.Unix(1<<40, 0)); err != nil {
			return err
		}
		if h.Name != "" {
			t.add(h)
		}
	}
}
