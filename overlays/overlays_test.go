package overlays_test

import (
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
	"github.com/aitheros/aither-image/overlays"
)

// files calls f for every file of every overlay.
func files(t *testing.T, f func(name, text string)) {
	t.Helper()
	n := 0
	err := fs.WalkDir(overlays.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		b, err := fs.ReadFile(overlays.FS, name)
		f(name, string(b))
		return err
	})
	if err != nil || n < 8 {
		t.Fatalf("%d files, %v", n, err)
	}
}

// TestPrograms holds that what is run has an interpreter line and parses, and
// that nothing else has one: compose makes programs of such files.
func TestPrograms(t *testing.T) {
	tooltest.Need(t, "bash")
	files(t, func(name, text string) {
		program := strings.HasPrefix(text, "#!")
		if want := strings.Contains(name, "/libexec/"); program != want {
			t.Errorf("%s: a program: %v, want %v", name, program, want)
		}
		if !program {
			return
		}
		if _, err := (tool.Cmd{Name: "bash", Args: []string{"-n"}, Stdin: strings.NewReader(text)}).Run(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}

// TestUnits holds that units need no enabling, which takes links, and that what
// they start is there.
func TestUnits(t *testing.T) {
	files(t, func(name, text string) {
		if ext := path.Ext(name); ext != ".service" && ext != ".conf" {
			return
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line == "[Install]" {
				t.Errorf("%s: has an [Install] section, but an overlay cannot hold its links", name)
			}
			if cmd, ok := strings.CutPrefix(line, "ExecStart="); ok {
				overlay, _, _ := strings.Cut(name, "/")
				if _, err := fs.Stat(overlays.FS, overlay+strings.Fields(cmd)[0]); err != nil {
					t.Errorf("%s: starts what the overlay lacks: %v", name, err)
				}
			}
		}
	})
}

// TestKernelArguments holds kargs.d to the keys that are known at upgrades.
func TestKernelArguments(t *testing.T) {
	found := false
	files(t, func(name, text string) {
		if !strings.Contains(name, "/kargs.d/") {
			return
		}
		var k struct {
			Kargs []string `toml:"kargs"`
			Arch  []string `toml:"match-architectures"`
		}
		d := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields()
		if err := d.Decode(&k); err != nil || len(k.Kargs) == 0 {
			t.Errorf("%s: %v, arguments %q", name, err, k.Kargs)
		}
		for _, a := range k.Kargs {
			found = found || a == "systemd.gpt_auto=0"
		}
	})
	if !found {
		t.Error("no overlay keeps the ESP's automount off /boot")
	}
}
