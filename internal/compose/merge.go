package compose

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// A merger folds several layers into one: what a later layer replaces or
// deletes is not in the result, and deletions that reach below the lowest layer stay.
type merger struct {
	spools []*os.File
	names  map[string]*node
	epoch  time.Time
}

// A node is one file, which several names may share.
type node struct {
	h      *tar.Header
	spool  int
	offset int64
	// written is the first name under which it went into the result.
	written string
}

func newMerger(epoch time.Time) *merger {
	return &merger{names: map[string]*node{}, epoch: epoch}
}

// close removes the spooled content.
func (m *merger) close() {
	for _, f := range m.spools {
		_ = f.Close()
	}
}

// add applies the next layer; content is spooled in dir.
func (m *merger) add(r io.Reader, dir string) error {
	f, err := os.CreateTemp(dir, "merge-")
	if err != nil {
		return err
	}
	_ = os.Remove(f.Name()) // lives as long as it is open
	m.spools = append(m.spools, f)
	tr := tar.NewReader(r)
	var at int64
	own := map[string]bool{}
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a layer: %w", err)
		}
		if err := normalise(h, m.epoch); err != nil {
			return err
		}
		if h.Name == "" {
			continue
		}
		n := &node{h: h, spool: len(m.spools) - 1, offset: at}
		if h.Typeflag == tar.TypeReg {
			k, err := io.Copy(f, tr)
			if err != nil {
				return fmt.Errorf("reading %q of a layer: %w", h.Name, err)
			}
			at += k
		}
		m.apply(n, own)
	}
}

// apply puts one entry over what is there. own holds the names that this layer
// brought already: a whiteout deletes only what is below.
func (m *merger) apply(n *node, own map[string]bool) {
	h := n.h
	dir, base := path.Split(h.Name)
	dir = path.Clean(dir)
	if base == opaqueName {
		m.removeUnder(dir, own)
		m.names[h.Name] = n
		return
	}
	if name, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		full := path.Join(dir, name)
		if own[full] {
			return
		}
		if old, ok := m.names[full]; ok && old.h.Typeflag == tar.TypeDir {
			m.removeUnder(full, own)
		}
		delete(m.names, full)
		m.names[h.Name] = n
		return
	}
	own[h.Name] = true
	old, had := m.names[h.Name]
	white := path.Join(dir, whiteoutPrefix+base)
	_, gone := m.names[white]
	delete(m.names, white)
	if h.Typeflag == tar.TypeDir {
		if gone || had && old.h.Typeflag != tar.TypeDir {
			// The folder is a new one: what lies below must not shine through.
			o := path.Join(h.Name, opaqueName)
			m.names[o] = &node{h: &tar.Header{Typeflag: tar.TypeReg, Name: o, Mode: 0o600, ModTime: m.epoch, Format: tar.FormatPAX}}
		}
	} else if had && old.h.Typeflag == tar.TypeDir {
		m.removeUnder(h.Name, nil)
	}
	if h.Typeflag == tar.TypeLink {
		if target, ok := m.names[h.Linkname]; ok && target.h.Typeflag != tar.TypeDir {
			n = target
		}
	}
	m.names[h.Name] = n
}

func (m *merger) removeUnder(dir string, own map[string]bool) {
	prefix := dir + "/"
	if dir == "." {
		prefix = ""
	}
	for name := range m.names {
		if strings.HasPrefix(name, prefix) && !own[name] {
			delete(m.names, name)
		}
	}
}

// write emits the result in byte order of names, which puts folders before
// what they hold.
func (m *merger) write(l *layerWriter) error {
	names := make([]string, 0, len(m.names))
	for n := range m.names {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, name := range names {
		n := m.names[name]
		h := *n.h
		h.Name = name
		if n.written != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, n.written, 0
			if err := l.add(&h, nil); err != nil {
				return err
			}
			continue
		}
		n.written = name
		var content io.Reader
		if h.Typeflag == tar.TypeReg && h.Size > 0 {
			content = io.NewSectionReader(m.spools[n.spool], n.offset, h.Size)
		}
		if err := l.add(&h, content); err != nil {
			return err
		}
	}
	return nil
}
