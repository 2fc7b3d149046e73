package osbuild

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/osbuild/images/pkg/bib/osinfo"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/tree"
)

// A Tree is an image's merged tree. Paths are relative; what does not exist is
// an error that wraps fs.ErrNotExist.
type Tree interface {
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]tree.Entry, error)
}

// maxFile is far more than any file that tells something has.
const maxFile = 1 << 20

// told are the files that osbuild reads of an image's tree, content and all.
var told = []string{
	"etc/os-release", "usr/lib/os-release", "etc/selinux/config",
	"usr/lib/image-builder/bootc/disk.yaml", "usr/lib/image-builder/bootc/iso.yaml",
	"usr/lib/bootc-image-builder/disk.yaml", "usr/lib/bootc-image-builder/iso.yaml",
	"usr/lib/bootc-image-builder/config.toml", "usr/lib/bootc-image-builder/config.json",
}

// versioned tells releases from rolling ones, which os-release(5) lets go
// without a version. osbuild demands one: they get 0.
var versioned = regexp.MustCompile(`(?m)^VERSION_ID=`)

// Inspect tells of an image's tree what a manifest needs, by osbuild's own
// reading of the few files that matter. InitrdModules stays empty: it is within
// the initial RAM disk, and only pxe-tar-xz asks for it.
func Inspect(t Tree) (_ *osinfo.Info, err error) {
	dir, err := os.MkdirTemp("", "aither-osinfo-")
	if err != nil {
		return nil, fmt.Errorf("inspecting image for osbuild: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := extract(t, dir); err != nil {
		return nil, fmt.Errorf("inspecting image for osbuild: %w", err)
	}
	info, err := osinfo.Load(dir)
	if err != nil {
		// The folder means nothing to the user: the files are the image's.
		text := strings.ReplaceAll(err.Error(), dir+"/", "")
		return nil, fmt.Errorf("inspecting image for osbuild: %s\nhint: os-release of the image must have ID and NAME", text)
	}
	return info, nil
}

// extract lays down just those files and names that osinfo.Load looks at.
func extract(t Tree, dir string) error {
	for _, name := range told {
		b, err := t.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if len(b) > maxFile {
			return fmt.Errorf("%s has %d bytes, more than the limit of %d", name, len(b), maxFile)
		}
		if strings.HasSuffix(name, "os-release") && !versioned.Match(b) {
			b = append(bytes.Clone(b), "\nVERSION_ID=0\n"...)
		}
		if err := lay(dir, name, b); err != nil {
			return err
		}
	}
	if err := eachDir(t, "usr/lib/modules", func(kernel string) error {
		for _, name := range []string{"vmlinuz", "aboot.img"} {
			if !exists(t, kernel, name) {
				continue
			}
			if err := lay(dir, kernel+"/"+name, nil); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return vendors(t, dir)
}

// vendors lays down the folders whose names are the UEFI vendor's.
func vendors(t Tree, dir string) error {
	mark := func(vendor string) error { return lay(dir, vendor+"/.keep", nil) }
	if err := eachDir(t, "usr/lib/bootupd/updates/EFI", mark); err != nil {
		return err
	}
	return eachDir(t, "usr/lib/efi/shim", func(version string) error { return eachDir(t, version+"/EFI", mark) })
}

func lay(dir, name string, data []byte) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q leads out of the image", name)
	}
	return atomicfile.WriteFile(filepath.Join(dir, name), data, 0o600)
}

// eachDir calls f with the path of each folder within name.
func eachDir(t Tree, name string, f func(string) error) error {
	es, err := t.ReadDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range es {
		if !e.Mode.IsDir() {
			continue
		}
		if err := f(name + "/" + path.Base(e.Path)); err != nil {
			return err
		}
	}
	return nil
}

func exists(t Tree, dir, name string) bool {
	es, err := t.ReadDir(dir)
	return err == nil && slices.ContainsFunc(es, func(e tree.Entry) bool { return path.Base(e.Path) == name })
}
