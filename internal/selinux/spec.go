package selinux

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
)

const (
	none    = "<<none>>" // the context of paths that get no label
	maxLine = 4096       // bytes
	// maxProgram bounds one expression's size in instructions, and maxPrograms
	// that of all together: memory that a hostile policy could ask for.
	maxProgram  = 5000
	maxPrograms = 2_000_000
)

// A kind is the type of file that a spec applies to.
type kind byte

const anyKind kind = 0

// kinds maps the spelling in the files to the type.
var kinds = map[string]kind{"-b": 'b', "-c": 'c', "-d": 'd', "-p": 'p', "-l": 'l', "-s": 's', "--": '-'}

func kindOf(mode fs.FileMode) kind {
	switch mode.Type() {
	case 0:
		return '-'
	case fs.ModeDir:
		return 'd'
	case fs.ModeSymlink:
		return 'l'
	case fs.ModeDevice:
		return 'b'
	case fs.ModeDevice | fs.ModeCharDevice:
		return 'c'
	case fs.ModeNamedPipe:
		return 'p'
	case fs.ModeSocket:
		return 's'
	}
	return '?'
}

// A spec is one line of file_contexts.
type spec struct {
	order   int // position in all files; the highest that matches wins
	kind    kind
	literal bool // prefix is the whole path
	prefix  string
	context string

	shape   shape  // how what follows the prefix is matched
	needs   string // a text that must follow the prefix somewhere
	program int    // size of the expression
	source  string // of the expression
	once    sync.Once
	re      *regexp.Regexp
}

func parseSpecs(list []*spec, file, text string) ([]*spec, error) {
	err := eachLine(file, text, func(f []string) error {
		s, err := parseSpec(f)
		if err != nil {
			return err
		}
		list = append(list, s)
		return nil
	})
	return list, err
}

func parseSpec(f []string) (*spec, error) {
	s := &spec{}
	switch len(f) {
	case 2:
	case 3:
		var ok bool
		if s.kind, ok = kinds[f[1]]; !ok {
			return nil, fmt.Errorf("file type %.40q is none of -b -c -d -p -l -s --", f[1])
		}
	default:
		return nil, fmt.Errorf("%d fields, want: path expression, file type or nothing, context", len(f))
	}
	s.context = f[len(f)-1]
	if err := checkContext(s.context); err != nil {
		return nil, err
	}
	if text, ok := unescape(f[0]); ok {
		s.prefix, s.literal = text, true
		return s, nil
	}
	return s, s.analyse(f[0])
}

func checkContext(c string) error {
	if c == none {
		return nil
	}
	if strings.Count(c, ":") < 2 || strings.ContainsFunc(c, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("context %.200q is not user:role:type or user:role:type:range", c)
	}
	return nil
}

const (
	metacharacters = ".^$?*+|[({])}"
	escapable      = metacharacters + "-_,"
)

// unescape returns the path that an expression without any operator stands for.
func unescape(expr string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(expr); i++ {
		c := expr[i]
		if strings.IndexByte(metacharacters, c) >= 0 {
			return "", false
		}
		if c == '\\' {
			i++
			if i == len(expr) || strings.IndexByte(escapable, expr[i]) < 0 {
				return "", false
			}
			c = expr[i]
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// analyse finds what can be said of an expression without running it.
func (s *spec) analyse(expr string) error {
	// As libselinux does, the anchors go around the expression as it is, so that
	// they bind only the outer alternatives of a|b.
	s.source = "(?s)^" + expr + "$"
	tree, err := syntax.Parse(s.source, syntax.Perl)
	if err != nil {
		var se *syntax.Error
		if errors.As(err, &se) {
			err = fmt.Errorf("%s: %.100q", se.Code, se.Expr)
		}
		return fmt.Errorf("path expression %.200q cannot be used: %w", expr, err)
	}
	if s.program = programSize(tree); s.program > maxProgram {
		return fmt.Errorf("path expression %.200q is too large", expr)
	}
	s.shape = shapeRegexp
	switch tree.Op {
	case syntax.OpConcat:
		s.split(tree.Sub)
	case syntax.OpAlternate:
		s.prefix = literalFolder(expr)
	}
	return nil
}

// literalFolder returns the folders that an expression's text begins with.
// libselinux files an expression under them even where another alternative of
// a|b would match elsewhere.
func literalFolder(expr string) string {
	folder := ""
	for i := 0; i < len(expr); i++ {
		if strings.IndexByte(metacharacters+"\\", expr[i]) >= 0 {
			break
		}
		if expr[i] == '/' {
			folder = expr[:i+1]
		}
	}
	return folder
}

// checkTotal bounds the memory of all expressions together.
func checkTotal(specs []*spec) error {
	total := 0
	for _, s := range specs {
		total += s.program
	}
	if total > maxPrograms {
		return fmt.Errorf("reading SELinux policy: its %d path expressions are too large together", len(specs))
	}
	return nil
}

// mayMatch is a cheap test that every match passes.
func (s *spec) mayMatch(name string, k kind) bool {
	return (s.kind == anyKind || s.kind == k) && strings.HasPrefix(name, s.prefix)
}

func (s *spec) match(name string) bool {
	rest := name[len(s.prefix):]
	switch s.shape {
	case shapeAnything:
		return true
	case shapeSomething:
		return rest != ""
	case shapeBelow:
		return rest == "" || rest[0] == '/'
	case shapeSegment:
		return strings.IndexByte(rest, '/') < 0
	}
	if !strings.Contains(rest, s.needs) {
		return false
	}
	s.once.Do(func() { s.re = regexp.MustCompile(s.source) })
	return s.re.MatchString(name)
}
