package tool

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRunKeepsOutputAndSetsTheLocale(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	out, err := Run(context.Background(), "sh", "-c", `printf %s "$LC_ALL:$1"`, "sh", "a b")
	if err != nil || string(out) != "C:a b" {
		t.Errorf("got %q, %v", out, err)
	}
	var errs bytes.Buffer
	out, err = Cmd{Name: "sh", Args: []string{"-c", "cat; echo story >&2; pwd; echo $X"}, Dir: "/", Env: []string{"X=1"},
		Stdin: strings.NewReader("in\n"), Stderr: &errs}.Run(context.Background())
	if err != nil || string(out) != "in\n/\n1\n" || errs.String() != "story\n" {
		t.Errorf("got %q, %q, %v", out, errs.String(), err)
	}
}

func TestErrorsCanBePasted(t *testing.T) {
	_, err := Run(context.Background(), "sh", "-c", "echo it broke >&2; exit 3", "it's")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	if want := `running sh -c 'echo it broke >&2; exit 3' 'it'\''s': exit status 3: it broke`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestMissingProgram(t *testing.T) {
	if _, err := Run(context.Background(), "no-such-program-here"); !errors.Is(err, ErrMissing) {
		t.Errorf("got %v", err)
	}
}

func TestAdministratorsProgramsAreFoundWithoutPath(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "mine")
	if err := os.WriteFile(p, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if got, err := Look("mine"); err != nil || got != p {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := os.Stat("/usr/sbin/chroot"); err != nil {
		t.Skip("this system has no /usr/sbin/chroot")
	}
	if got, err := Look("chroot"); err != nil || got != "/usr/sbin/chroot" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCancelEndsTheProgram(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, "sleep", "60"); err == nil {
		t.Error("a cancelled program runs on")
	}
}
