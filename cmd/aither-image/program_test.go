package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// inProcess runs the program as a function.
func inProcess(t *testing.T, ctx context.Context, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, env: env, now: time.Now}
	code = p.run(ctx, args)
	return code, out.String(), errs.String()
}

func TestMissingProgramNamesTheDoctor(t *testing.T) {
	if _, err := os.Stat("/usr/libexec/qemu-kvm"); err == nil {
		t.Skip("QEMU is where no PATH leads")
	}
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(disk, []byte("this boots nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	code, out, errs := inProcess(t, context.Background(), nil, "vm", "run", "--accel", "tcg", disk)
	if code != exitMissing || out != "" || !strings.Contains(errs, "hint: ") {
		t.Errorf("got %d, %q, %q", code, out, errs)
	}
}

func TestInterruptedEndsWith130AndNoFile(t *testing.T) {
	layout, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	writeFixture(t, layout)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	code, stdout, errs := inProcess(t, ctx, nil, "build", "--image", "oci:"+layout, "--update-source", "registry.example/os:1",
		"--skip-lint", "initramfs-parts,upgrade-tools", "--output", out, "--cache", t.TempDir())
	if code != exitInterrupt || stdout != "" || !strings.Contains(errs, "interrupted") {
		t.Errorf("got %d, %q, %q", code, stdout, errs)
	}
	if found, err := filepath.Glob(filepath.Join(out, "image", "*")); err != nil || len(found) != 0 {
		t.Errorf("left behind: %v, %v", found, err)
	}
}

func TestEveryVerbHasAnExampleAndEveryFlagAVariable(t *testing.T) {
	p := &program{}
	root := p.command()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			continue
		}
		if c.Example == "" || c.GroupID == "" || c.Short == "" {
			t.Errorf("%s has no example, group or summary", c.Name())
		}
	}
	if got := envName("target-arch"); got != "AITHER_IMAGE_TARGET_ARCH" {
		t.Errorf("got %s", got)
	}
}
