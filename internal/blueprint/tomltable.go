package blueprint

import (
	"fmt"
	"strings"
)

// header reads [a.b] or [[a.b]] and makes it the current table.
func (p *tomlParser) header() *syntaxError {
	start := p.pos
	closing := "]"
	if p.follows("[[") {
		closing = "]]"
	}
	p.pos += len(closing)
	p.blanks()
	keys, err := p.keys()
	if err != nil {
		return err
	}
	p.blanks()
	if !p.follows(closing) {
		return bad(p.pos, "a header is [table] or [[array of tables]]", "expected %q, found %s", closing, p.found())
	}
	p.pos += len(closing)
	if closing == "]]" {
		return p.openElement(start, keys)
	}
	return p.openTable(start, keys)
}

// A keyPart is one name of a dotted key.
type keyPart struct {
	name string
	pos  int
}

func keyPath(keys []keyPart) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return strings.Join(names, ".")
}

// parent finds or makes the tables above a header's last name.
func (p *tomlParser) parent(start int, keys []keyPart) (*node, *syntaxError) {
	t := p.doc.root
	for i, k := range keys[:len(keys)-1] {
		next := t.fields[k.name]
		if next == nil {
			next = newTable(start, k.pos)
			t.set(k.name, next)
		}
		if next.tables {
			next = next.items[len(next.items)-1]
		}
		if next.kind != kindTable || next.closed {
			return nil, p.clash(k.pos, keys[:i+1], next)
		}
		t = next
	}
	return t, nil
}

// openTable makes the table of a [header] the current one.
func (p *tomlParser) openTable(start int, keys []keyPart) *syntaxError {
	t, err := p.parent(start, keys)
	if err != nil {
		return err
	}
	last := keys[len(keys)-1]
	old := t.fields[last.name]
	if old == nil {
		old = newTable(start, last.pos)
		t.set(last.name, old)
	} else if old.kind != kindTable || old.closed || old.header || old.dotted {
		return p.clash(last.pos, keys, old)
	}
	old.pos, old.key, old.header = start, last.pos, true
	p.current = old
	return nil
}

// openElement makes one more table of a [[header]] the current one.
func (p *tomlParser) openElement(start int, keys []keyPart) *syntaxError {
	t, err := p.parent(start, keys)
	if err != nil {
		return err
	}
	last := keys[len(keys)-1]
	array := t.fields[last.name]
	if array == nil {
		array = &node{kind: kindArray, pos: start, key: last.pos, tables: true}
		t.set(last.name, array)
	} else if !array.tables {
		return p.clash(last.pos, keys, array)
	}
	p.current = newTable(start, last.pos)
	p.current.header = true
	array.items = append(array.items, p.current)
	return nil
}

// clash says that a key was there before.
func (p *tomlParser) clash(pos int, keys []keyPart, old *node) *syntaxError {
	line, _ := p.doc.position(old.key)
	hint := "keep one of the two"
	if old.tables {
		hint = "write [[" + keyPath(keys) + "]] for one more of them"
	}
	return &syntaxError{pos: pos, code: "duplicate-key", hint: hint,
		text: fmt.Sprintf("%q was already given in line %d", keyPath(keys), line)}
}

// keyValue reads key = value into t. Of a doubled key the value is read and dropped.
func (p *tomlParser) keyValue(t *node, depth int) *syntaxError {
	keys, err := p.keys()
	if err != nil {
		return err
	}
	p.blanks()
	if p.peek() != '=' {
		return bad(p.pos, "write key = value", "expected \"=\" after the key %q, found %s", keyPath(keys), p.found())
	}
	p.pos++
	p.blanks()
	v, err := p.value(depth)
	if err != nil {
		return err
	}
	for i, k := range keys[:len(keys)-1] {
		next := t.fields[k.name]
		if next == nil {
			next = newTable(k.pos, k.pos)
			next.dotted = true
			t.set(k.name, next)
		}
		if !next.dotted {
			return p.clash(k.pos, keys[:i+1], next)
		}
		t = next
	}
	last := keys[len(keys)-1]
	if old := t.fields[last.name]; old != nil {
		return p.clash(last.pos, keys, old)
	}
	v.key = last.pos
	t.set(last.name, v)
	p.lastTable, p.lastKey = t, last.name
	return nil
}

// keys reads a key, dotted or not.
func (p *tomlParser) keys() ([]keyPart, *syntaxError) {
	var keys []keyPart
	for {
		p.blanks()
		part, err := p.simpleKey()
		if err != nil {
			return nil, err
		}
		if keys = append(keys, part); len(keys) > maxDepth {
			return nil, bad(part.pos, "", "a key of more than %d parts", maxDepth)
		}
		mark := p.pos
		p.blanks()
		if p.peek() != '.' {
			p.pos = mark
			return keys, nil
		}
		p.pos++
	}
}

func (p *tomlParser) simpleKey() (keyPart, *syntaxError) {
	start := p.pos
	if c := p.peek(); c == '"' || c == '\'' {
		if p.follows(`"""`) || p.follows("'''") {
			return keyPart{}, bad(p.pos, "", "a key cannot be a multi-line string")
		}
		text, err := p.quoted()
		return keyPart{text, start}, err
	}
	for bareKeyByte(p.peek()) {
		p.pos++
	}
	if p.pos == start {
		return keyPart{}, bad(p.pos, "keys are letters, digits, \"_\" and \"-\", or stand in quotes", "expected a key, found %s", p.found())
	}
	return keyPart{string(p.src[start:p.pos]), start}, nil
}

func bareKeyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
