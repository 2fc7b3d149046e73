package blueprint

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// A tomlParser reads TOML 1.0 into nodes. It exists because messages need the
// place of every value and of every mistake, not of the first alone, and
// because hostile nesting must not exhaust the stack. go-toml is the oracle of
// its tests.
type tomlParser struct {
	doc     *document
	src     []byte
	pos     int
	current *node // the table that keys go to
	// lastKey of lastTable is what this statement has set, "" for nothing.
	lastTable *node
	lastKey   string
}

// A syntaxError is a mistake in the language itself.
type syntaxError struct {
	pos              int
	code, hint, text string
	// fatal says that what follows cannot be told from text.
	fatal bool
	// behind, if not 0, ends what the mistake made unreadable.
	behind byte
}

func bad(pos int, hint, format string, args ...any) *syntaxError {
	return &syntaxError{pos: pos, code: "syntax", hint: hint, text: fmt.Sprintf(format, args...)}
}

// readable reports whether the source can be parsed at all, and records why not.
func (d *document) readable() bool {
	if len(d.src) > maxSource {
		d.errorf(0, "too-large", "put large content into an overlay",
			"the file has %d bytes, more than the %d that are read", len(d.src), maxSource)
		return false
	}
	for i := 0; i < len(d.src); {
		r, n := utf8.DecodeRune(d.src[i:])
		if r == utf8.RuneError && n == 1 {
			d.errorf(i, "invalid-utf8", "save the file as UTF-8", "byte 0x%02x is not UTF-8", d.src[i])
			return false
		}
		i += n
	}
	return true
}

// parseTOML reads src; every mistake is in the document's problems.
func parseTOML(name string, src []byte) *document {
	d := newDocument(name, src)
	if !d.readable() {
		return d
	}
	p := &tomlParser{doc: d, src: src, current: d.root}
	if bytes.HasPrefix(src, []byte("\xef\xbb\xbf")) {
		p.pos = 3
	}
	for p.pos < len(p.src) {
		start := p.pos
		err := p.statement()
		if err == nil {
			continue
		}
		p.report(err)
		if err.fatal {
			break
		}
		if len(d.problems) >= maxSyntax {
			d.errorf(err.pos, "too-many-errors", "", "more than %d mistakes: the rest of the file was not read", maxSyntax)
			break
		}
		if err.code == "syntax" {
			p.resume(start, err)
		}
	}
	return d
}

func (p *tomlParser) report(err *syntaxError) {
	p.doc.errorf(err.pos, err.code, err.hint, "%s", err.text)
}

// resume goes on at the next line that looks like a statement.
func (p *tomlParser) resume(start int, err *syntaxError) {
	at := err.pos
	if end := bytes.IndexByte(p.src[min(at, len(p.src)):], err.behind); err.behind != 0 && end >= 0 {
		at += end
		start = at
	}
	// A mistake found on a later line is often a bracket left open above it:
	// that line is then a statement of its own.
	startLine, _ := p.doc.position(start)
	if line, _ := p.doc.position(at); line > startLine {
		p.pos = p.doc.lines[line-1]
		if p.looksLikeStatement() {
			return
		}
	}
	p.pos = max(start, at)
	for p.pos < len(p.src) {
		next := bytes.IndexByte(p.src[p.pos:], '\n')
		if next < 0 {
			p.pos = len(p.src)
			return
		}
		p.pos += next + 1
		if p.looksLikeStatement() {
			return
		}
	}
}

// looksLikeStatement reports whether a header, or a key and "=", stands at pos.
func (p *tomlParser) looksLikeStatement() bool {
	line, _, _ := bytes.Cut(p.src[p.pos:], []byte("\n"))
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return false
	}
	if line[0] == '[' {
		inner := bytes.TrimLeft(line, "[ \t")
		return len(inner) > 0 && bareKeyByte(inner[0]) && !bytes.ContainsAny(line, ",")
	}
	key, _, found := bytes.Cut(line, []byte("="))
	key = bytes.TrimRight(key, " \t")
	if !found || len(key) == 0 {
		return false
	}
	for _, c := range key {
		if !bareKeyByte(c) && c != '.' {
			return false
		}
	}
	return true
}

// statement reads one line's worth: nothing, a header, or a key and its value.
func (p *tomlParser) statement() *syntaxError {
	p.blanks()
	p.lastKey = ""
	var err *syntaxError
	switch {
	case p.peek() == '[':
		if err = p.header(); err != nil {
			// Keys below a lost header belong to no table that is known.
			p.current = newTable(p.pos, p.pos)
		}
	case !p.atLineEnd():
		err = p.keyValue(p.current, 0)
	}
	if err != nil && err.code == "syntax" {
		return err
	}
	if end := p.lineEnd(); end != nil {
		if p.lastKey != "" { // half a value is none
			delete(p.lastTable.fields, p.lastKey)
			p.lastTable.order = p.lastTable.order[:len(p.lastTable.order)-1]
		}
		return end
	}
	return err
}

func (p *tomlParser) peek() byte {
	if p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

func (p *tomlParser) follows(s string) bool {
	return bytes.HasPrefix(p.src[p.pos:], []byte(s))
}

func (p *tomlParser) blanks() {
	for p.peek() == ' ' || p.peek() == '\t' {
		p.pos++
	}
}

func (p *tomlParser) atLineEnd() bool {
	return p.pos >= len(p.src) || p.peek() == '\n' || p.peek() == '#' || p.follows("\r\n")
}

// lineEnd reads blanks, a comment and the end of the line.
func (p *tomlParser) lineEnd() *syntaxError {
	p.blanks()
	if err := p.comment(); err != nil {
		return err
	}
	switch {
	case p.pos >= len(p.src):
		return nil
	case p.follows("\r\n"):
		p.pos += 2
		return nil
	case p.peek() == '\n':
		p.pos++
		return nil
	}
	hint := "one statement a line"
	if p.lastKey != "" && p.lastTable.fields[p.lastKey].kind == kindInteger {
		hint = "one statement a line; a size with its unit needs quotes"
	}
	return bad(p.pos, hint, "expected the end of the line, found %s", p.found())
}

// comment reads a comment if one starts here, up to the end of the line.
func (p *tomlParser) comment() *syntaxError {
	if p.peek() != '#' {
		return nil
	}
	for p.pos < len(p.src) && p.peek() != '\n' && !p.follows("\r\n") {
		if c := p.peek(); c < 0x20 && c != '\t' || c == 0x7f {
			return bad(p.pos, "", "control character 0x%02x in a comment", c)
		}
		p.pos++
	}
	return nil
}

// found describes what stands at pos, for messages.
func (p *tomlParser) found() string {
	if p.pos >= len(p.src) {
		return "the end of the file"
	}
	if p.peek() == '\n' || p.follows("\r\n") {
		return "the end of the line"
	}
	r, _ := utf8.DecodeRune(p.src[p.pos:])
	return fmt.Sprintf("%q", r)
}
