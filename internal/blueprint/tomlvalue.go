package blueprint

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// value reads any value at pos.
func (p *tomlParser) value(depth int) (*node, *syntaxError) {
	if depth > maxDepth {
		return nil, bad(p.pos, "", "values nested more than %d deep", maxDepth)
	}
	start := p.pos
	switch c := p.peek(); {
	case c == '"' || c == '\'':
		text, err := p.stringValue()
		return &node{kind: kindString, pos: start, key: start, text: text}, err
	case c == '[':
		return p.array(depth)
	case c == '{':
		return p.inlineTable(depth)
	case p.atLineEnd():
		return nil, bad(p.pos, "write key = value", "expected a value, found %s", p.found())
	}
	return p.scalar()
}

// array reads [value, value, …] over as many lines as it takes.
func (p *tomlParser) array(depth int) (*node, *syntaxError) {
	n := &node{kind: kindArray, pos: p.pos, key: p.pos, closed: true}
	p.pos++
	for {
		if err := p.arraySpace(n.pos); err != nil {
			return nil, err
		}
		if p.peek() == ']' {
			p.pos++
			return n, nil
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, v)
		if err := p.arraySpace(n.pos); err != nil {
			return nil, err
		}
		switch p.peek() {
		case ',':
			p.pos++
		case ']':
		default:
			return nil, bad(p.pos, "separate elements by commas and close the array with \"]\"",
				"expected \",\" or \"]\" in the array, found %s", p.found())
		}
	}
}

// arraySpace reads blanks, lines and comments inside an array.
func (p *tomlParser) arraySpace(start int) *syntaxError {
	for {
		p.blanks()
		if err := p.comment(); err != nil {
			return err
		}
		switch {
		case p.pos >= len(p.src):
			return bad(start, "close the array with \"]\"", "the array that starts here does not end")
		case p.follows("\r\n"):
			p.pos += 2
		case p.peek() == '\n':
			p.pos++
		default:
			return nil
		}
	}
}

// inlineTable reads { key = value, … } on one line.
func (p *tomlParser) inlineTable(depth int) (*node, *syntaxError) {
	n := newTable(p.pos, p.pos)
	p.pos++
	p.blanks()
	if p.peek() == '}' {
		p.pos++
		n.close()
		return n, nil
	}
	for {
		if p.atLineEnd() {
			err := bad(p.pos, "an inline table stands on one line; use a [table] for more", "expected a key or \"}\", found %s", p.found())
			err.behind = '}'
			return nil, err
		}
		if err := p.keyValue(n, depth+1); err != nil {
			if err.code == "syntax" {
				return nil, err
			}
			p.report(err) // the pair has been read: go on behind it
		}
		p.blanks()
		switch p.peek() {
		case '}':
			p.pos++
			n.close()
			return n, nil
		case ',':
			p.pos++
			p.blanks()
		default:
			return nil, bad(p.pos, "close the inline table with \"}\"", "expected \",\" or \"}\" in the inline table, found %s", p.found())
		}
	}
}

// close forbids additions to an inline table and to what dotted keys made in it.
func (n *node) close() {
	n.closed, n.dotted = true, false
	for _, f := range n.fields {
		if f.kind == kindTable && !f.closed {
			f.close()
		}
	}
}

// Forms of TOML's numbers and times; https://toml.io/en/v1.0.0
var (
	decimalForm = regexp.MustCompile(`^[+-]?(0|[1-9](_?[0-9])*)$`)
	radixForm   = regexp.MustCompile(`^0(x[0-9A-Fa-f](_?[0-9A-Fa-f])*|o[0-7](_?[0-7])*|b[01](_?[01])*)$`)
	floatForm   = regexp.MustCompile(`^[+-]?((0|[1-9](_?[0-9])*)(\.[0-9](_?[0-9])*)?([eE][+-]?[0-9](_?[0-9])*)?|inf|nan)$`)
	dateForm    = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
)

// timeLayouts are TOML's dates and times in Go's notation, after letters are
// made large and a blank a "T".
var timeLayouts = []string{"2006-01-02", "15:04:05", "2006-01-02T15:04:05", "2006-01-02T15:04:05Z07:00"}

// scalar reads a number, a boolean or a time.
func (p *tomlParser) scalar() (*node, *syntaxError) {
	start := p.pos
	p.word()
	if dateForm.Match(p.src[start:p.pos]) && p.pos+1 < len(p.src) && p.peek() == ' ' && isDigit(p.src[p.pos+1]) {
		p.pos++
		p.word()
	}
	text := string(p.src[start:p.pos])
	n := &node{pos: start, key: start, text: text}
	switch {
	case text == "true" || text == "false":
		n.kind, n.boolean = kindBool, text == "true"
	case decimalForm.MatchString(text) || radixForm.MatchString(text):
		v, err := strconv.ParseInt(strings.TrimPrefix(text, "+"), 0, 64)
		if err != nil {
			return nil, bad(start, "", "the integer %s does not fit into 64 bits", text)
		}
		n.kind, n.integer = kindInteger, v
	case floatForm.MatchString(text):
		n.kind = kindFloat
	case isTime(text):
		n.kind = kindTime
	default:
		return nil, p.noValue(start, text)
	}
	return n, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// noValue explains a word that is none of TOML's values.
func (p *tomlParser) noValue(start int, text string) *syntaxError {
	if text == "" {
		return bad(start, "", "expected a value, found %s", p.found())
	}
	hint := "a string needs quotes: " + strconv.Quote(text)
	if strings.EqualFold(text, "true") || strings.EqualFold(text, "false") {
		hint = "write " + strings.ToLower(text)
	}
	return bad(start, hint, "%q is neither a number, a boolean, a time nor a string", text)
}

// word skips to the next byte that ends a bare value.
func (p *tomlParser) word() {
	for p.pos < len(p.src) && bytes.IndexByte([]byte(" \t\r\n,]}#\"'[{="), p.peek()) < 0 {
		p.pos++
	}
}

func isTime(text string) bool {
	large := strings.ToUpper(strings.Replace(text, " ", "T", 1))
	for _, layout := range timeLayouts {
		if _, err := time.Parse(layout, large); err == nil {
			return true
		}
	}
	return false
}
