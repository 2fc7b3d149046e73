package lint

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// A pass is one lint at work on one tree.
type pass struct {
	lint  lint
	view  View
	found []Finding
	more  int   // findings beyond maxFindings
	err   error // the tree could not be read
}

// configLimit bounds files that are read as a whole: configuration, not data.
const configLimit = 4 << 20

// maxLinks is how many links are followed for one path, as in Linux.
const maxLinks = 40

func (p *pass) report(at, text, hint string) { p.say(p.lint.Severity, at, text, hint) }

// warn is a finding that is not fatal in a lint whose findings are.
func (p *pass) warn(at, text, hint string) { p.say(Warning, at, text, hint) }

func (p *pass) say(s Severity, at, text, hint string) {
	if len(p.found) >= maxFindings {
		p.more++
		return
	}
	p.found = append(p.found, Finding{Lint: p.lint.Name, Severity: s, Path: "/" + strings.TrimPrefix(at, "/"), Text: text, Hint: hint})
}

func (p *pass) result() []Finding {
	out := p.found
	sort.SliceStable(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	if p.more > 0 {
		last := out[len(out)-1]
		out = append(out, Finding{Lint: p.lint.Name, Severity: p.lint.Severity, Path: last.Path, Text: fmt.Sprintf("and %d more", p.more)})
	}
	return out
}

func (p *pass) fail(at string, err error) {
	if p.err == nil {
		p.err = fmt.Errorf("reading %s: %w", at, err)
	}
}

// lookup returns the entry at a path, which is not followed; ok is false where there is none.
func (p *pass) lookup(at string) (e tree.Entry, ok bool) {
	e, err := p.view.Lookup(at)
	if err != nil {
		if !isNotExist(err) {
			p.fail(at, err)
		}
		return e, false
	}
	if e.IsHardLink() && e.Content == nil {
		if to, err := p.view.Lookup(e.Link); err == nil {
			e.Content = to.Content
		}
	}
	return e, true
}

// follow is lookup through links at the end of the path, too. A link that leads
// nowhere, or in circles, is like nothing.
func (p *pass) follow(at string) (e tree.Entry, ok bool) {
	for range maxLinks {
		e, ok = p.lookup(at)
		if !ok || e.Mode.Type() != fs.ModeSymlink {
			return e, ok
		}
		if at = target(at, e.Link); at == "" {
			at = "."
		}
	}
	return e, false
}

// target is where a link at a path leads, relative to the image's root.
func target(at, link string) string {
	if !strings.HasPrefix(link, "/") {
		link = path.Dir("/"+at) + "/" + link
	}
	return strings.TrimPrefix(path.Clean("/"+link), "/")
}

// read returns the content of a regular file; ok is false where there is none.
func (p *pass) read(at string) (data []byte, ok bool) {
	e, ok := p.follow(at)
	if !ok || !e.Mode.IsRegular() {
		return nil, false
	}
	return p.content(at, e)
}

func (p *pass) content(at string, e tree.Entry) (data []byte, ok bool) {
	data, err := tree.ReadAll(e.Content, configLimit)
	var large *tree.TooLargeError
	if errors.As(err, &large) {
		p.report(at, fmt.Sprintf("%d bytes are too many to be checked", large.Size), "")
		return nil, false
	}
	if err != nil {
		p.fail(at, err)
		return nil, false
	}
	return data, true
}

// dir returns the entries of a folder; none where it does not exist or is something else.
func (p *pass) dir(at string) []tree.Entry {
	e, ok := p.follow(at)
	if !ok || !e.Mode.IsDir() {
		return nil
	}
	if at = e.Path; at == "." {
		at = ""
	}
	entries, err := p.view.ReadDir(at)
	if err != nil {
		p.fail(at, err)
	}
	return entries
}

// isProgram tells whether there is a file at the path that can be executed.
func (p *pass) isProgram(at string) bool {
	e, ok := p.follow(at)
	return ok && e.Mode.IsRegular() && e.Mode.Perm()&0o111 != 0
}

func size(e tree.Entry) int64 {
	if e.Content == nil {
		return 0
	}
	return e.Content.Size()
}

// under tells whether a path lies below a folder.
func under(at, folder string) bool { return strings.HasPrefix(at, folder+"/") }
