package blueprint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is one thing that is wrong with a file, and where.
type Problem struct {
	// File is the name that was given to Parse.
	File string `json:"file"`
	// Line and Col are 1-based; Col counts bytes, as compilers do. Both are 0
	// for a value that was not read from a file.
	Line int `json:"line"`
	Col  int `json:"col"`
	// Severity is Error or Warning.
	Severity Severity `json:"severity"`
	// Code is stable, as "unknown-key"; docs/blueprint.md lists them all.
	Code string `json:"code"`
	Text string `json:"text"`
	// Hint is what to do about it; it may be empty.
	Hint string `json:"hint,omitempty"`
}

// Severity tells what stops a build from what does not.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// String is "file:line:col: code: text", and the hint on a line of its own. What
// stands nowhere has neither line nor column.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	b.WriteString(": ")
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	fmt.Fprintf(&b, "%s: %s", p.Code, p.Text)
	if p.Hint != "" {
		fmt.Fprintf(&b, "\n    hint: %s", p.Hint)
	}
	return b.String()
}

// Problems is every problem of one run, sorted by place.
type Problems []Problem

// Err is p as an error if it holds any of severity Error, else nil.
func (p Problems) Err() error {
	for _, q := range p {
		if q.Severity != Warning {
			return p
		}
	}
	return nil
}

// Error is all problems, one after another.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, q := range p {
		lines[i] = q.String()
	}
	return strings.Join(lines, "\n")
}

// sorted orders problems by file, line, column and code and drops doubles.
func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			strings.Compare(a.Code, b.Code), strings.Compare(a.Text, b.Text))
	})
	return slices.Compact(p)
}
