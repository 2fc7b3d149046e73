package blueprint

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// stringValue reads any of the four strings.
func (p *tomlParser) stringValue() (string, *syntaxError) {
	if p.follows(`"""`) || p.follows("'''") {
		return p.multiline()
	}
	return p.quoted()
}

// quoted reads a string on one line.
func (p *tomlParser) quoted() (string, *syntaxError) {
	start, quote := p.pos, p.peek()
	p.pos++
	var b strings.Builder
	for {
		if p.pos >= len(p.src) || p.peek() == '\n' || p.follows("\r\n") {
			return "", bad(start, "close it on the same line, or use three quotes", "the string that starts here does not end")
		}
		c := p.peek()
		switch {
		case c == quote:
			p.pos++
			return b.String(), nil
		case c == '\\' && quote == '"':
			if err := p.escape(&b); err != nil {
				return "", err
			}
		case c < 0x20 && c != '\t' || c == 0x7f:
			return "", bad(p.pos, fmt.Sprintf(`write it as \u%04x between double quotes`, c), "control character 0x%02x in a string", c)
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
}

// multiline reads a string in three quotes.
func (p *tomlParser) multiline() (string, *syntaxError) {
	start, quote := p.pos, p.src[p.pos:p.pos+3]
	p.pos += 3
	if p.follows("\r\n") {
		p.pos++
	}
	if p.peek() == '\n' {
		p.pos++
	}
	var b strings.Builder
	for p.pos < len(p.src) {
		c := p.peek()
		switch {
		case bytes.HasPrefix(p.src[p.pos:], quote):
			p.pos += 3
			// Up to two more quotes belong to the text.
			for i := 0; i < 2 && p.peek() == quote[0]; i++ {
				b.WriteByte(quote[0])
				p.pos++
			}
			return b.String(), nil
		case c == '\\' && quote[0] == '"':
			if p.continuation() {
				continue
			}
			if err := p.escape(&b); err != nil {
				return "", err
			}
		case c < 0x20 && c != '\t' && c != '\n' && !p.follows("\r\n") || c == 0x7f:
			return "", bad(p.pos, fmt.Sprintf(`write it as \u%04x between double quotes`, c), "control character 0x%02x in a string", c)
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
	err := bad(start, "close it with the same three quotes", "the string that starts here does not end")
	err.fatal = true
	return "", err
}

// continuation skips a backslash at the end of a line and all white space after it.
func (p *tomlParser) continuation() bool {
	line := bytes.TrimLeft(p.src[p.pos+1:], " \t")
	if !bytes.HasPrefix(line, []byte("\n")) && !bytes.HasPrefix(line, []byte("\r\n")) {
		return false
	}
	p.pos = len(p.src) - len(bytes.TrimLeft(line, " \t\r\n"))
	return true
}

// escapes are the one-letter escapes of TOML 1.0.
var escapes = map[byte]byte{'b': '\b', 't': '\t', 'n': '\n', 'f': '\f', 'r': '\r', '"': '"', '\\': '\\'}

// escape reads a backslash and what follows.
func (p *tomlParser) escape(b *strings.Builder) *syntaxError {
	start := p.pos
	p.pos++
	c := p.peek()
	if e, ok := escapes[c]; ok {
		b.WriteByte(e)
		p.pos++
		return nil
	}
	digits := map[byte]int{'u': 4, 'U': 8}[c]
	if digits == 0 {
		return bad(start, "double the backslash, or use single quotes", "a backslash before %s is no escape", p.found())
	}
	p.pos++
	if p.pos+digits <= len(p.src) {
		v, err := strconv.ParseUint(string(p.src[p.pos:p.pos+digits]), 16, 32)
		if err == nil && v <= utf8.MaxRune && utf8.ValidRune(rune(v)) {
			b.WriteRune(rune(v))
			p.pos += digits
			return nil
		}
	}
	return bad(start, "", `\%c needs %d hexadecimal digits of a Unicode character`, c, digits)
}
