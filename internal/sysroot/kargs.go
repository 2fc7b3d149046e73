package sysroot

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	installDir = "usr/lib/bootc/install"
	kargsDir   = "usr/lib/bootc/kargs.d"
)

// addKargs computes the kernel arguments in bootc's order (3.7).
func (d *deployer) addKargs() error {
	args := []string{"root=UUID=" + d.opts.Root, "rw"}
	if d.opts.Boot != "" {
		args = append(args, "boot=UUID="+d.opts.Boot)
	}
	more, err := d.t.ImageKargs()
	if err != nil {
		return err
	}
	for _, a := range append(more, d.opts.Kargs...) {
		if strings.HasPrefix(a, "ostree=") {
			return fmt.Errorf("the kernel argument %q belongs to ostree", a)
		}
		if !slices.Contains(args, a) {
			args = append(args, a)
		}
	}
	d.out.Kargs = args
	return nil
}

// ImageKargs are the kernel arguments that the image itself asks for: those of
// bootc's install configuration, then those of kargs.d that fit the architecture.
func (t *Tree) ImageKargs() ([]string, error) {
	var args []string
	err := t.eachTOML(installDir, func(path string, b []byte) error {
		var c struct {
			Install struct {
				Kargs        []string `toml:"kargs"`
				MatchArch    []string `toml:"match-architectures"`
				RootFS       string   `toml:"root-fs-type"`
				KargsDeletes []string `toml:"karg-deletes"`
			} `toml:"install"`
		}
		if err := toml.Unmarshal(b, &c); err != nil {
			return err
		}
		if a := c.Install.MatchArch; len(a) == 0 || slices.Contains(a, t.machine()) {
			args = append(args, c.Install.Kargs...)
			args = slices.DeleteFunc(args, func(k string) bool { return slices.Contains(c.Install.KargsDeletes, k) })
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = t.eachTOML(kargsDir, func(path string, b []byte) error {
		var c struct {
			Kargs     []string `toml:"kargs"`
			MatchArch []string `toml:"match-architectures"`
		}
		dec := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
		if err := dec.Decode(&c); err != nil {
			var strict *toml.StrictMissingError
			if errors.As(err, &strict) {
				return fmt.Errorf("bootc refuses unknown keys here:\n%s", strict.String())
			}
			return err
		}
		if len(c.MatchArch) == 0 || slices.Contains(c.MatchArch, t.machine()) {
			args = append(args, c.Kargs...)
		}
		return nil
	})
	return args, err
}

// machine is the architecture in the words of Rust's std::env::consts::ARCH.
func (t *Tree) machine() string {
	switch t.Image.Architecture {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return t.Image.Architecture
}

// eachTOML calls f for the files *.toml of a folder in the order of their names.
func (t *Tree) eachTOML(dir string, f func(path string, b []byte) error) error {
	n := t.root.lookup(dir)
	if n == nil || n.dir == nil {
		return nil
	}
	for _, name := range n.dir.names() {
		if !strings.HasSuffix(name, ".toml") {
			continue
		}
		path := dir + "/" + name
		b, err := t.root.read(path, 1<<20)
		if err != nil {
			return err
		}
		if err := f(path, b); err != nil {
			return fmt.Errorf("reading /%s: %w", path, err)
		}
	}
	return nil
}
