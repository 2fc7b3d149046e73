package sysroot

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/aitheros/aither-image/internal/selinux"
	"github.com/aitheros/aither-image/internal/tree"
)

const (
	selinuxDir    = "usr/etc/selinux/"
	selinuxConfig = selinuxDir + "config"
	contextsDir   = "/contexts/files/"
	// maxPolicy bounds one text file of a policy; real ones are below 1 MiB.
	maxPolicy = 16 << 20
)

// policyPath tells the files that decide about labels.
func policyPath(path string) bool {
	if path == selinuxConfig {
		return true
	}
	return strings.HasPrefix(path, selinuxDir) && strings.Contains(path, contextsDir+"file_contexts") && !strings.HasSuffix(path, ".bin")
}

// policyFiles collects a policy's text files while a layer goes by.
type policyFiles struct {
	files map[string][]byte
}

func newPolicyFiles() *policyFiles { return &policyFiles{files: map[string][]byte{}} }

func (p *policyFiles) add(path string, b []byte) { p.files[path] = b }

func (p *policyFiles) complete() bool { return len(p.files) > 1 && p.files[selinuxConfig] != nil }

func (p *policyFiles) load() (*selinux.Policy, error) {
	return loadPolicy(func(path string) ([]byte, error) {
		b, ok := p.files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return b, nil
	})
}

// loadPolicy reads the labeller of the tree that read gives access to; nil
// where the tree says that SELinux is off or says nothing.
func loadPolicy(read func(path string) ([]byte, error)) (*selinux.Policy, error) {
	b, err := read(selinuxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	cfg, err := selinux.ParseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("reading /etc/selinux/config: %w", err)
	}
	if !cfg.Enabled {
		return nil, nil
	}
	return selinux.Load(func(name string) ([]byte, error) {
		return read("usr/etc/" + cfg.ContextsDir() + "/" + name)
	})
}

// read returns the content of a file of the merged tree.
func (d *dir) read(path string, limit int64) ([]byte, error) {
	n := d.lookup(path)
	if n == nil {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	if n.file == nil || n.file.symlink {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	b, err := tree.ReadAll(n.file.data, limit)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return b, nil
}
