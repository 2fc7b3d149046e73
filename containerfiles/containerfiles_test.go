package containerfiles_test

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/containerfiles"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(containerfiles.FS, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// contexts are the folders with a Containerfile.
func contexts(t *testing.T) []string {
	t.Helper()
	found, err := fs.Glob(containerfiles.FS, "*/*/Containerfile")
	if err != nil || len(found) < 3 {
		t.Fatalf("contexts %v, %v", found, err)
	}
	for i := range found {
		found[i] = path.Dir(found[i])
	}
	return found
}

// TestScriptsAreThere holds that what a Containerfile runs of its own context is in it.
func TestScriptsAreThere(t *testing.T) {
	script := regexp.MustCompile(`/\.aither/(\S+\.sh)`)
	for _, c := range contexts(t) {
		for _, m := range script.FindAllStringSubmatch(read(t, c+"/Containerfile"), -1) {
			read(t, path.Join(c, m[1]))
		}
	}
}

// TestScriptsParse runs every shell script through the shell's own parser.
func TestScriptsParse(t *testing.T) {
	tooltest.Need(t, "sh")
	n := 0
	err := fs.WalkDir(containerfiles.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text := read(t, name)
		if path.Ext(name) != ".sh" && !strings.HasPrefix(text, "#!/bin/sh") {
			return nil
		}
		n++
		if _, err := (tool.Cmd{Name: "sh", Args: []string{"-n"}, Stdin: strings.NewReader(text)}).Run(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(text, "set -eu") && !strings.Contains(text, ". /.aither/steps/env.sh") {
			t.Errorf("%s: goes on after an error", name)
		}
		return nil
	})
	if err != nil || n < 6 {
		t.Errorf("%d scripts, %v", n, err)
	}
}

// TestLabPackages holds what an image needs for its next upgrade to be in the
// list, and nothing twice.
func TestLabPackages(t *testing.T) {
	var names []string
	for line := range strings.Lines(read(t, "base/debian/packages.txt")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if slices.Contains(names, line) || strings.ContainsAny(line, " \t") {
			t.Errorf("%q is there twice, or no name", line)
		}
		names = append(names, line)
	}
	for _, want := range []string{"linux-image-amd64", "dracut", "ostree", "ostree-boot", "composefs", "bubblewrap", "skopeo", "podman", "policycoreutils", "grub-pc-bin", "shim-signed"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing", want)
		}
	}
}
