// Package lint judges the merged tree of a bootable container image: bootc's
// own container lints under bootc's names, and what else keeps a disk from
// booting, upgrading or being unique. It runs nothing of the image and refuses
// to guess: where a file cannot be read, Run fails instead of passing.
package lint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// A View is the merged tree as the image's own programs see it. Paths are clean
// and relative; "" or "." is the root. sysroot.View is one.
type View interface {
	// Lookup returns the entry of a path; links are followed in all components
	// but the last. The error is fs.ErrNotExist where there is nothing.
	Lookup(path string) (tree.Entry, error)
	// ReadDir returns the entries of a folder in byte order of their names.
	ReadDir(path string) ([]tree.Entry, error)
	// Tree returns everything at and below the root.
	Tree() tree.Stream
}

// Severity tells what a finding is worth.
type Severity string

// The severities.
const (
	// Fatal findings keep the system from being installed, booted, upgraded,
	// or from being one of its own.
	Fatal Severity = "fatal"
	// Warning findings are no hindrance, but probably not wanted.
	Warning Severity = "warning"
)

// An Info describes a lint.
type Info struct {
	Name     string   `json:"name"`
	Severity Severity `json:"severity"` // of its findings, unless one says otherwise
	Text     string   `json:"text"`     // what it checks
	// Bootc is set where bootc container lint has a lint of this name that checks the same.
	Bootc bool `json:"bootc"`
}

// A Finding is one fault of an image.
type Finding struct {
	Lint     string   `json:"lint"`
	Severity Severity `json:"severity"`
	Path     string   `json:"path"` // absolute in the image
	Text     string   `json:"text"`
	Hint     string   `json:"hint,omitempty"`
}

// Options choose among the lints; the zero value runs them all.
type Options struct {
	// Skip names lints that are not run.
	Skip []string
}

// maxFindings is how many findings of one lint are told one by one.
const maxFindings = 10

// A lint is one check; it has root, each, or both.
type lint struct {
	Info
	root func(*pass)             // looks at the places that it knows
	each func(*pass, tree.Entry) // sees every entry of the tree, before end
	end  func(*pass)             // called after the last entry
}

// all returns every lint with fresh state: bootc's first, then ours, each by name.
func all() []lint {
	bootc, ours := bootcLints(), slices.Concat(identityLints(), machineLints(), upgradeLints())
	for i := range bootc {
		bootc[i].Bootc = true
	}
	byName := func(a, b lint) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(bootc, byName)
	slices.SortFunc(ours, byName)
	return append(bootc, ours...)
}

// Lints returns what can be run or skipped, in the order of findings.
func Lints() []Info {
	var infos []Info
	for _, l := range all() {
		infos = append(infos, l.Info)
	}
	return infos
}

// Run runs every lint that is not skipped. The findings come in the order of
// Lints; their number is bounded. The error says that the tree could not be
// read, or that Skip names what does not exist.
func Run(ctx context.Context, v View, o Options) ([]Finding, error) {
	if err := checkSkip(o.Skip); err != nil {
		return nil, err
	}
	var passes []*pass
	for _, l := range all() {
		if !slices.Contains(o.Skip, l.Name) {
			passes = append(passes, &pass{lint: l, view: v})
		}
	}
	for _, p := range passes {
		if p.lint.root != nil {
			p.lint.root(p)
		}
		if p.err != nil {
			return nil, fmt.Errorf("lint %s: %w", p.lint.Name, p.err)
		}
	}
	if err := walk(ctx, v, passes); err != nil {
		return nil, err
	}
	var out []Finding
	for _, p := range passes {
		if p.lint.end != nil {
			p.lint.end(p)
		}
		if p.err != nil {
			return nil, fmt.Errorf("lint %s: %w", p.lint.Name, p.err)
		}
		out = append(out, p.result()...)
	}
	return out, nil
}

func walk(ctx context.Context, v View, passes []*pass) error {
	passes = slices.DeleteFunc(slices.Clone(passes), func(p *pass) bool { return p.lint.each == nil })
	if len(passes) == 0 {
		return nil
	}
	for e, err := range v.Tree() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("walking the image's tree: %w", err)
		}
		for _, p := range passes {
			p.lint.each(p, e)
			if p.err != nil {
				return fmt.Errorf("lint %s: %w", p.lint.Name, p.err)
			}
		}
	}
	return nil
}

// checkSkip refuses names of lints that do not exist: a typing error must not
// leave a lint on, or hide that it is gone.
func checkSkip(names []string) error {
	var errs []error
	known := Lints()
	for _, name := range names {
		if slices.ContainsFunc(known, func(i Info) bool { return i.Name == name }) {
			continue
		}
		best, distance := "", len(name)/2+2
		for _, i := range known {
			if d := editDistance(name, i.Name); d < distance {
				best, distance = i.Name, d
			}
		}
		hint := "the lints are " + strings.Join(lintNames(known), ", ")
		if best != "" {
			hint = "did you mean " + best + "?"
		}
		errs = append(errs, fmt.Errorf("there is no lint %q to skip\nhint: %s", name, hint))
	}
	return errors.Join(errs...)
}

func lintNames(infos []Info) (names []string) {
	for _, i := range infos {
		names = append(names, i.Name)
	}
	return names
}

// editDistance is the number of bytes to insert, delete or replace (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left, diagonal := i+1, i
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j+1], left)
			}
			diagonal, row[j], left = row[j+1], left, cost
		}
		row[len(b)] = left
	}
	return row[len(b)]
}

// isNotExist also holds for paths that go through a file.
func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
