package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/openshift/imagebuilder"

	"github.com/aitheros/aither-image/internal/atomicfile"
)

// A source is a tree of input files: an fs.FS or a folder.
type source struct {
	fsys fs.FS
	// skip says what a build context leaves out.
	skip func(name string) (bool, error)
}

// sourceOf makes a source of the two ways to name one.
func sourceOf(fsys fs.FS, dir string) (*source, error) {
	switch {
	case fsys != nil && dir != "":
		return nil, fmt.Errorf("both FS and Dir are set: %w", ErrUsage)
	case fsys != nil:
		return &source{fsys: fsys}, nil
	case dir == "":
		return nil, fmt.Errorf("neither FS nor Dir is set: %w", ErrUsage)
	}
	if fi, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrUsage)
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("%s is no folder: %w", dir, ErrUsage)
	}
	return &source{fsys: os.DirFS(dir)}, nil
}

// ignore leaves out what .containerignore or .dockerignore names.
func (s *source) ignore() error {
	for _, name := range []string{".containerignore", ".dockerignore"} {
		f, err := s.fsys.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		lines, err := imagebuilder.ParseIgnoreReader(f)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		m, err := patternmatcher.New(lines)
		if err != nil {
			return fmt.Errorf("reading %s: %w: %w", name, err, ErrUsage)
		}
		s.skip = m.MatchesOrParentMatches
		return nil
	}
	return nil
}

// A sourceFile is one name of a source.
type sourceFile struct {
	name string
	mode fs.FileMode // type, and 0755 or 0644
	link string
	size int64
}

// list returns folders and files in byte order of their names. Whatever is
// neither folder, file nor symbolic link is refused.
func (s *source) list() ([]sourceFile, error) {
	var out []sourceFile
	err := fs.WalkDir(s.fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if s.skip != nil {
			if skip, err := s.skip(name); err != nil || skip && !d.IsDir() {
				return err
			}
		}
		f, err := s.file(name, d)
		if err == nil {
			out = append(out, f)
		}
		return err
	})
	slices.SortFunc(out, func(a, b sourceFile) int { return strings.Compare(a.name, b.name) })
	return out, err
}

func (s *source) file(name string, d fs.DirEntry) (sourceFile, error) {
	f := sourceFile{name: name, mode: d.Type() | 0o644}
	switch {
	case d.IsDir():
		f.mode |= 0o755
	case d.Type() == fs.ModeSymlink:
		l, err := fs.ReadLink(s.fsys, name)
		f.link, f.mode = l, fs.ModeSymlink|0o777
		return f, err
	case d.Type().IsRegular():
		fi, err := d.Info()
		if err != nil {
			return f, err
		}
		f.size = fi.Size()
		exec := fi.Mode()&0o111 != 0
		if !exec {
			exec, err = s.hasInterpreter(name)
		}
		if exec {
			f.mode |= 0o755
		}
		return f, err
	default:
		return f, fmt.Errorf("%s is neither file, folder nor symbolic link: %w", name, ErrUsage)
	}
	return f, nil
}

// hasInterpreter reports whether a file begins with #!. Files embedded in a
// program have lost their modes; this gives scripts theirs back, alike for both.
func (s *source) hasInterpreter(name string) (bool, error) {
	r, err := s.fsys.Open(name)
	if err != nil {
		return false, err
	}
	defer r.Close()
	var b [2]byte
	n, err := io.ReadFull(r, b[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return false, err
	}
	return string(b[:n]) == "#!", nil
}

// digest hashes names, kinds, modes and content, and nothing else.
func (s *source) digest(files []sourceFile) (string, error) {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%q %o %q %d\n", f.name, uint32(f.mode), f.link, f.size)
		if !f.mode.IsRegular() {
			continue
		}
		r, err := s.fsys.Open(f.name)
		if err != nil {
			return "", err
		}
		n, err := io.Copy(h, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return "", fmt.Errorf("reading %s: %w", f.name, err)
		}
		if n != f.size {
			return "", fmt.Errorf("reading %s: it changed meanwhile", f.name)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// snapshot copies the files to a folder of the work folder that is named by
// their digest, so that what is built is what was hashed.
func (s *source) snapshot(w *workdir, files []sourceFile, sum string) (string, error) {
	dst := w.path("contexts", sum)
	if _, err := os.Stat(dst); err == nil {
		return dst, nil
	}
	tmp, err := os.MkdirTemp(w.path("tmp"), "context-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	for _, f := range files {
		if err := s.copyOut(f, filepath.Join(tmp, filepath.FromSlash(f.name))); err != nil {
			return "", fmt.Errorf("copying %s of a build context: %w", f.name, err)
		}
	}
	// A copy that differs from what was hashed must not be found again.
	again := &source{fsys: os.DirFS(tmp)}
	if list, err := again.list(); err != nil {
		return "", err
	} else if got, err := again.digest(list); err != nil || got != sum {
		return "", errors.Join(err, fmt.Errorf("copying a build context: it changed meanwhile"))
	}
	slices.Reverse(files)
	for _, f := range files {
		if f.mode&fs.ModeSymlink == 0 {
			if err := os.Chtimes(filepath.Join(tmp, f.name), time.Unix(0, 0), time.Unix(0, 0)); err != nil {
				return "", err
			}
		}
	}
	slices.Reverse(files)
	return dst, atomicfile.CommitDir(tmp, dst)
}

func (s *source) copyOut(f sourceFile, dst string) error {
	switch {
	case f.mode.IsDir():
		if err := os.Mkdir(dst, 0o755); err != nil {
			return err
		}
		return os.Chmod(dst, 0o755)
	case f.mode&fs.ModeSymlink != 0:
		return os.Symlink(f.link, dst)
	}
	r, err := s.fsys.Open(f.name)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Chmod(f.mode.Perm()), w.Close())
}

// read returns a small file of the source.
func (s *source) read(name string) ([]byte, error) {
	if !fs.ValidPath(path.Clean(name)) {
		return nil, fmt.Errorf("%q lies outside of the build context: %w", name, ErrUsage)
	}
	return fs.ReadFile(s.fsys, path.Clean(name))
}
