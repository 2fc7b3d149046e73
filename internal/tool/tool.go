// Package tool is the one door to other programs: they run with LC_ALL=C, their
// stderr is kept, and an error carries the command line ready to paste. It
// refuses shells: arguments are passed as they are.
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// A Cmd is one call of another program. The zero value of every field but Name works.
type Cmd struct {
	Name   string
	Args   []string
	Dir    string
	Env    []string // added to the environment, after LC_ALL=C
	Stdin  io.Reader
	Stdout io.Writer // nil: kept and returned by Run
	Stderr io.Writer // nil: kept for the error only
}

// ErrMissing is wrapped by errors about a program that is not installed.
var ErrMissing = errors.New("program not found")

// An Error is a program that failed.
type Error struct {
	Argv   []string
	Stderr string
	Err    error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("running %s: %v", Quote(e.Argv), e.Err)
	if t := strings.TrimSpace(e.Stderr); t != "" {
		s += ": " + t
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Run runs a program and returns its standard output.
func Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	return Cmd{Name: name, Args: args}.Run(ctx)
}

// Run runs the command and returns its standard output, unless Stdout is set.
func (c Cmd) Run(ctx context.Context) ([]byte, error) {
	path, err := Look(c.Name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), c.Env...)
	cmd.Stdin = c.Stdin
	var out, errb bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Writer(&out), io.Writer(&errb)
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(c.Stderr, &errb)
	}
	if err := cmd.Run(); err != nil {
		return out.Bytes(), &Error{Argv: append([]string{c.Name}, c.Args...), Stderr: tail(errb.String(), 4096), Err: err}
	}
	return out.Bytes(), nil
}

// Look finds a program on the PATH and in the folders for administrators'
// programs, which an ordinary user's PATH lacks on Debian.
func Look(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(dir + "/" + name); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrMissing)
}

// Quote renders a command line so that a shell reads it back as argv.
func Quote(argv []string) string {
	q := make([]string, len(argv))
	for i, a := range argv {
		if a != "" && strings.IndexFunc(a, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_", r)
		}) < 0 {
			q[i] = a
			continue
		}
		q[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(q, " ")
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
