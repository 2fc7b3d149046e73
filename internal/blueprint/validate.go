package blueprint

import (
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// An Environment is what a blueprint is checked and resolved against.
type Environment struct {
	// Dir is the absolute folder from which relative paths start.
	Dir string
	// Arch is the builder's architecture, the default of Blueprint.Arch.
	Arch string
	// Containerfiles and Overlays are the names that the program carries; a
	// path of that name means them.
	Containerfiles, Overlays []string
	// Files answers whether paths exist; nil leaves that to the build.
	Files Files
	// Seed goes into the plan as it is.
	Seed string
}

// Files is the one question that a blueprint asks about the disk.
type Files interface {
	// Stat is os.Stat for an absolute path.
	Stat(path string) (fs.FileInfo, error)
}

// Parse reads a blueprint as TOML and reports mistakes in its syntax, unknown
// keys and values of a wrong type. It reads nothing but src. The Blueprint is
// never nil and holds what could be read; name is for the messages.
func Parse(name string, src []byte) (*Blueprint, Problems) {
	doc := parseTOML(name, src)
	b := &Blueprint{doc: doc}
	decoder{doc}.decode(doc.root, reflect.ValueOf(b).Elem(), "")
	return b, doc.problems.sorted()
}

// Validate reports everything else that is wrong with b, and warnings. It does
// not repeat what Parse reported.
func (b *Blueprint) Validate(env Environment) Problems {
	c := newChecker(b.doc, env)
	c.head(b)
	c.base(b.Base)
	c.update(b.Update)
	c.packages(b.Packages, key("packages"))
	for i, s := range b.Containerfiles {
		c.containerfile(s, key("containerfile", i))
	}
	for i, s := range b.Overlays {
		c.overlay(s, key("overlay", i))
	}
	c.disk(b.Disk)
	c.kernelArgs(b.Kernel.Append, key("kernel", "append"))
	c.output(b.Output.Types, b.Output.Compress)
	c.customizations(b.Customizations, b.Disk.Layout)
	c.wholeDisk(b)
	return c.result()
}

// A place is the path of a value: names of keys and indexes of elements.
type place []any

func key(steps ...any) place { return steps }

func (w place) to(steps ...any) place { return append(slices.Clone(w), steps...) }

// String is the dotted path without indexes, as messages name keys.
func (w place) String() string {
	var names []string
	for _, step := range w {
		if name, ok := step.(string); ok {
			names = append(names, name)
		}
	}
	return strings.Join(names, ".")
}

// A checker collects what is wrong with values.
type checker struct {
	doc   *document
	env   Environment
	found Problems
}

func newChecker(doc *document, env Environment) *checker {
	if doc == nil {
		doc = &document{name: "blueprint", root: newTable(0, 0), lines: []int{0}, made: true}
	}
	return &checker{doc: doc, env: env}
}

// result is what was found, without talk about missing keys where the syntax
// may have hidden them.
func (c *checker) result() Problems {
	if c.doc.broken() {
		c.found = slices.DeleteFunc(c.found, func(p Problem) bool { return p.Code == "missing-key" })
	}
	return c.found.sorted()
}

func (c *checker) add(offset int, severity Severity, code, hint, text string) {
	if len(c.found) < maxProblems {
		c.found = append(c.found, c.doc.problem(offset, severity, code, hint, text))
	}
}

// errorf reports the value at w.
func (c *checker) errorf(w place, code, hint, format string, args ...any) {
	c.add(c.doc.root.at(w...).pos, Error, code, hint, fmt.Sprintf(format, args...))
}

// keyf reports the key at w: it should not be there, or not beside others.
func (c *checker) keyf(w place, code, hint, format string, args ...any) {
	c.add(c.doc.root.at(w...).key, Error, code, hint, fmt.Sprintf(format, args...))
}

// warnf warns of the value at w.
func (c *checker) warnf(w place, code, hint, format string, args ...any) {
	c.add(c.doc.root.at(w...).pos, Warning, code, hint, fmt.Sprintf(format, args...))
}

// given reports whether the string at w is there to be checked; a value of a
// wrong type has been reported already.
func (c *checker) given(value string, w place) bool {
	if value != "" {
		return true
	}
	return c.doc.root.has(w...) && c.doc.root.at(w...).kind == kindString
}

// need reports a missing string and says whether there is one to check.
func (c *checker) need(value string, w place, hint string) bool {
	if c.given(value, w) {
		return true
	}
	if !c.doc.root.has(w...) {
		c.errorf(w, "missing-key", hint, "%q is missing", w)
	}
	return false
}

// oneOf reports a value that is not among the allowed ones; "" is.
func (c *checker) oneOf(value string, w place, allowed ...string) bool {
	if !c.given(value, w) || slices.Contains(allowed, value) {
		return true
	}
	hint := "it may be " + quoteAll(allowed)
	if near := nearest(value, allowed); near != "" {
		hint = "did you mean " + strconv.Quote(near) + "?"
	}
	c.errorf(w, "bad-value", hint, "%q cannot be %q", w, value)
	return false
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}

// unique reports every value that stood before.
func (c *checker) unique(values []string, at func(i int) place, what string) {
	first := map[string]int{}
	for i, v := range values {
		j, seen := first[v]
		if !seen {
			first[v] = i
			continue
		}
		line, _ := c.doc.position(c.doc.root.at(at(j)...).pos)
		switch {
		case v == "":
		case line == 0:
			c.errorf(at(i), "duplicate", "keep one of the two", "%s %q is given twice", what, v)
		default:
			c.errorf(at(i), "duplicate", "keep one of the two", "%s %q was already given in line %d", what, v, line)
		}
	}
}
