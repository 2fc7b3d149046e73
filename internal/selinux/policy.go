// Package selinux tells the label that a policy gives to a path, from the
// policy's text files alone and as libselinux looks it up. It refuses regular
// expressions with look-around or back-references, which policies do not use.
//
// Format and lookup: file_contexts(5), selabel_file(5) and libselinux 3.x.
package selinux

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// A Policy labels paths. It is safe for concurrent use.
type Policy struct {
	literals map[string][]*spec // by whole path, the strongest first
	buckets  map[string][]*spec // expressions by the folder of their literal prefix, the strongest first
	subs     []substitution     // of the administrator
	dist     []substitution     // of the distribution
}

// Files lists the names that Load opens, the weakest rules first. The first must exist.
func Files() []string {
	return []string{"file_contexts", "file_contexts.homedirs", "file_contexts.local", "file_contexts.subs", "file_contexts.subs_dist"}
}

// maxFile bounds the size of a policy file in bytes; real ones have half a megabyte.
const maxFile = 16 << 20

// Load reads a policy. It calls open with the names of Files; an error that is
// fs.ErrNotExist stands for a missing file. Errors name the file and the line.
func Load(open func(name string) ([]byte, error)) (*Policy, error) {
	p := &Policy{literals: map[string][]*spec{}, buckets: map[string][]*spec{}}
	var specs []*spec
	for i, name := range Files() {
		b, err := open(name)
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && len(b) > maxFile {
			err = fmt.Errorf("%d bytes are over the limit of %d", len(b), maxFile)
		}
		if err != nil {
			return nil, fmt.Errorf("reading SELinux policy file %q: %w", name, err)
		}
		text := string(b)
		switch i {
		case 3:
			p.subs, err = parseSubs(name, text)
		case 4:
			p.dist, err = parseSubs(name, text)
		default:
			specs, err = parseSpecs(specs, name, text)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := checkTotal(specs); err != nil {
		return nil, err
	}
	p.index(specs)
	return p, nil
}

// index sorts the specs into the tables, the last in the files first.
func (p *Policy) index(specs []*spec) {
	for i := len(specs) - 1; i >= 0; i-- {
		s := specs[i]
		s.order = i
		if s.literal {
			p.literals[s.prefix] = append(p.literals[s.prefix], s)
			continue
		}
		folder := s.prefix[:strings.LastIndexByte(s.prefix, '/')+1]
		p.buckets[folder] = append(p.buckets[folder], s)
	}
}

// Label returns the context of an absolute path of a file of the type in mode,
// without a final NUL. It is false if the policy gives the path no label.
func (p *Policy) Label(name string, mode fs.FileMode) (string, bool) {
	// libostree looks up the mount point of /proc as if it were a plain one,
	// since policies have no label for it.
	if name == "/proc" {
		name = "/mnt"
	}
	name = p.substitute(clean(name))
	s := p.lookup(name, kindOf(mode))
	if s == nil || s.context == none {
		return "", false
	}
	return s.context, true
}

// clean collapses slashes and drops a final one. Dots stay as they are.
func clean(name string) string {
	if strings.Contains(name, "//") {
		var b strings.Builder
		for i := range len(name) {
			if name[i] != '/' || i == 0 || name[i-1] != '/' {
				b.WriteByte(name[i])
			}
		}
		name = b.String()
	}
	if len(name) > 1 {
		name = strings.TrimSuffix(name, "/")
	}
	return name
}

func (p *Policy) lookup(name string, k kind) *spec {
	for _, s := range p.literals[name] {
		if s.kind == anyKind || s.kind == k {
			return s
		}
	}
	var space [16][]*spec
	lists := space[:0]
	for i := -1; i < len(name); i++ {
		if i >= 0 && name[i] != '/' {
			continue
		}
		if b := p.buckets[name[:i+1]]; len(b) > 0 {
			lists = append(lists, b)
		}
	}
	return strongest(lists, name, k)
}

// strongest returns the last spec of the files that matches. Each list is in
// that order already.
func strongest(lists [][]*spec, name string, k kind) *spec {
	for {
		best := -1
		for i, l := range lists {
			for len(l) > 0 && !l[0].mayMatch(name, k) {
				l = l[1:]
			}
			lists[i] = l
			if len(l) > 0 && (best < 0 || l[0].order > lists[best][0].order) {
				best = i
			}
		}
		if best < 0 {
			return nil
		}
		if s := lists[best][0]; s.match(name) {
			return s
		}
		lists[best] = lists[best][1:]
	}
}

// A substitution makes paths below from look like paths below to.
type substitution struct{ from, to string }

// substitute applies one rule of the administrator, then one of the distribution.
func (p *Policy) substitute(name string) string {
	return substituteOne(p.dist, substituteOne(p.subs, name))
}

func substituteOne(list []substitution, name string) string {
	for _, s := range list {
		rest, ok := strings.CutPrefix(name, s.from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		if s.to == "/" {
			rest = strings.TrimPrefix(rest, "/")
		}
		return s.to + rest
	}
	return name
}

// parseSubs reads substitutions; later lines win, so they come first.
func parseSubs(file, text string) ([]substitution, error) {
	var out []substitution
	err := eachLine(file, text, func(fields []string) error {
		if len(fields) != 2 || !path.IsAbs(fields[0]) || !path.IsAbs(fields[1]) {
			return errors.New("want two absolute paths")
		}
		out = append([]substitution{{fields[0], fields[1]}}, out...)
		return nil
	})
	return out, err
}

// eachLine calls f with the fields of each line that is neither empty nor a comment.
func eachLine(file, text string, f func(fields []string) error) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		err := f(strings.Fields(line))
		if err == nil && len(line) > maxLine {
			err = fmt.Errorf("%d bytes are over the limit of %d", len(line), maxLine)
		}
		if err != nil {
			return fmt.Errorf("reading SELinux policy file %q, line %d: %w", file, n, err)
		}
	}
	return nil
}
