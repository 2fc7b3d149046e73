package compose

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

func (o *Overlay) label() string {
	if o.Name != "" {
		return "overlay " + o.Name
	}
	return "overlay"
}

func (o *Overlay) stage(p *preparer, prev *stage) (*stage, error) {
	src, err := sourceOf(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	files, err := src.list()
	if err != nil {
		return nil, err
	}
	for i := range files {
		o.setMode(&files[i])
	}
	sum, err := src.digest(files)
	if err != nil {
		return nil, err
	}
	prefix, err := cleanName(o.Prefix)
	if err != nil {
		return nil, fmt.Errorf("prefix %q: %w: %w", o.Prefix, err, ErrUsage)
	}
	st := &stage{Kind: kindOverlay, Name: o.label(), Prev: prev.Key}
	st.Key = p.key(st, sum, prefix)
	st.make = func(rec *record) (*record, error) {
		index, err := p.work.index(rec)
		if err != nil {
			return nil, err
		}
		l, err := p.work.writeLayer(p.opts.Compression, p.opts.Epoch, index, historyOf(st.Name), func(w *layerWriter) error {
			return writeOverlay(w, src, files, prefix, index)
		})
		if err != nil {
			return nil, err
		}
		next, err := rec.on(st, []Layer{*l}, nil, p.opts.Epoch)
		if err != nil {
			return nil, err
		}
		return next, p.work.saveIndex(next.id(), index)
	}
	return st, nil
}

// setMode decides between 0644 and 0755: an embedded file has no mode of its
// own, and a checkout's mode depends on who made it.
func (o *Overlay) setMode(f *sourceFile) {
	if !f.mode.IsRegular() {
		return
	}
	is := isProgram
	if o.Executable != nil {
		is = o.Executable
	}
	f.mode = 0o644
	if is(path.Join(o.Prefix, f.name)) {
		f.mode = 0o755
	}
}

// isProgram is the rule for files of overlays that must be executable.
func isProgram(name string) bool {
	if strings.HasSuffix(name, ".sh") && !strings.Contains("/"+name, "/profile.d/") {
		return true
	}
	for _, dir := range strings.Split(path.Dir(name), "/") {
		switch dir {
		case "bin", "sbin", "libexec", "system-generators", "user-generators", "system-environment-generators", "user-environment-generators":
			return true
		}
	}
	return false
}

// writeOverlay writes the layer: folders as the image has them, then files.
func writeOverlay(w *layerWriter, src *source, files []sourceFile, prefix string, index *treeIndex) error {
	done := map[string]bool{}
	// The index changes as entries are added; what the image has is asked before.
	for _, f := range files {
		name := path.Join(prefix, f.name)
		if strings.HasPrefix(path.Base(name), whiteoutPrefix) {
			return fmt.Errorf("%s: the name means a deletion in a layer: %w", f.name, ErrUsage)
		}
		at := name
		if f.mode.IsDir() {
			at = path.Join(name, "x") // so that the folder itself is among the parents
		}
		parents, err := index.parents(at, done, w.epoch)
		if err != nil {
			return err
		}
		for _, h := range parents {
			if err := w.add(h, nil); err != nil {
				return err
			}
		}
		if f.mode.IsDir() {
			continue
		}
		if _, ok := index.Dirs[name]; ok {
			return fmt.Errorf("placing /%s: the image has a folder there: %w", name, ErrUsage)
		}
		if err := addFile(w, src, f, name); err != nil {
			return err
		}
	}
	return nil
}

func addFile(w *layerWriter, src *source, f sourceFile, name string) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(f.mode.Perm()), Size: f.size, ModTime: w.epoch}
	var r io.Reader = bytes.NewReader(nil)
	if f.mode&fs.ModeSymlink != 0 {
		h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.link, 0
	} else {
		file, err := src.fsys.Open(f.name)
		if err != nil {
			return err
		}
		defer file.Close()
		r = file
	}
	return w.add(h, r)
}

// historyOf is the line that a step leaves in the history.
func historyOf(name string) string { return "aither-image compose: " + name }
