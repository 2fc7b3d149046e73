package lint

import (
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// varTmpfiles checks that tmpfiles.d makes again what the image has in /var:
// content there reaches a machine at its installation only.
func varTmpfiles() lint {
	var declared map[string]bool
	return lint{
		Info: Info{Name: "var-tmpfiles", Severity: Warning, Text: "what is in /var has an entry in tmpfiles.d"},
		root: func(p *pass) { declared = tmpfilesPaths(p) },
		each: func(p *pass, e tree.Entry) {
			if !under(e.Path, "var") || declared[e.Path] {
				return
			}
			switch {
			case e.Mode.IsDir() || e.Mode.Type() == fs.ModeSymlink:
				p.report(e.Path, "no entry of tmpfiles.d makes this again on a machine that is upgraded", "write one in /usr/lib/tmpfiles.d, or remove it")
			default:
				p.report(e.Path, "this file reaches machines when they are installed and never again", "ship it in /usr and let tmpfiles.d copy it (type C)")
			}
		},
	}
}

// tmpfilesPaths returns the paths that have a line in tmpfiles.d, with links in
// their folders resolved.
func tmpfilesPaths(p *pass) map[string]bool {
	declared := map[string]bool{}
	for _, dir := range []string{"usr/lib/tmpfiles.d", "etc/tmpfiles.d"} {
		for _, e := range p.dir(dir) {
			if !strings.HasSuffix(e.Path, ".conf") {
				continue
			}
			data, _ := p.read(e.Path)
			for line := range strings.Lines(string(data)) {
				if at := tmpfilesPath(line); at != "" {
					declared[p.place(at)] = true
				}
			}
		}
	}
	return declared
}

// tmpfilesPath is the path of one line of tmpfiles.d(5); empty where there is none.
func tmpfilesPath(line string) string {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return ""
	}
	at := strings.IndexAny(line, " \t")
	if at < 0 {
		return ""
	}
	rest := strings.TrimLeft(line[at:], " \t")
	quoted := strings.HasPrefix(rest, `"`)
	if quoted {
		rest = rest[1:]
	}
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		c := rest[i]
		if quoted && c == '"' || !quoted && (c == ' ' || c == '\t') {
			break
		}
		if c == '\\' && i+1 < len(rest) {
			var used int
			c, used = unescape(rest[i+1:])
			i += used
		}
		b.WriteByte(c)
	}
	return strings.TrimPrefix(path.Clean("/"+b.String()), "/")
}

// unescape returns the byte of an escape sequence after its backslash, and its length.
func unescape(s string) (c byte, used int) {
	switch s[0] {
	case 'n':
		return '\n', 1
	case 't':
		return '\t', 1
	case 'r':
		return '\r', 1
	case 'x':
		if len(s) >= 3 {
			if v, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
				return byte(v), 3
			}
		}
	}
	return s[0], 1
}

// place is a path with the links of its folders resolved; its last component stays.
func (p *pass) place(at string) string {
	dir, name := path.Split(at)
	dir = strings.TrimSuffix(dir, "/")
	for range maxLinks {
		moved := false
		for i := range len(dir) + 1 {
			if i < len(dir) && dir[i] != '/' || i == 0 {
				continue
			}
			if e, ok := p.lookup(dir[:i]); ok && e.Mode.Type() == fs.ModeSymlink {
				dir, moved = path.Join(target(dir[:i], e.Link), dir[i:]), true
				break
			}
		}
		if !moved {
			break
		}
	}
	return path.Join(dir, name)
}
