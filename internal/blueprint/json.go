package blueprint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
)

// A jsonReader turns JSON into the nodes that TOML makes, with places.
type jsonReader struct {
	doc *document
	dec *json.Decoder
}

// parseJSON reads src; of mistakes in JSON itself only the first is found.
func parseJSON(name string, src []byte) *document {
	d := newDocument(name, src)
	if !d.readable() {
		return d
	}
	r := &jsonReader{doc: d, dec: json.NewDecoder(bytes.NewReader(src))}
	r.dec.UseNumber()
	n, err := r.value(0)
	if err == nil {
		err = r.end()
	}
	if err != nil {
		d.errorf(r.errorOffset(err), "syntax", "", "%s", strings.TrimPrefix(err.Error(), "json: "))
		return d
	}
	if n.kind != kindTable {
		d.errorf(n.pos, "syntax", "", "expected an object, found %s", n.kind)
		return d
	}
	d.root = n
	return d
}

// next is the offset of the token that the decoder reads next.
func (r *jsonReader) next() int {
	i := int(r.dec.InputOffset())
	for i < len(r.doc.src) && strings.IndexByte(" \t\r\n,:", r.doc.src[i]) >= 0 {
		i++
	}
	return i
}

func (r *jsonReader) errorOffset(err error) int {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) || syntax.Offset < 1 {
		return r.next()
	}
	// The offset is that of the letter or of the one after it.
	at := min(int(syntax.Offset)-1, len(r.doc.src))
	for at < len(r.doc.src) && strings.IndexByte(" \t\r\n", r.doc.src[at]) >= 0 {
		at++
	}
	return at
}

// end refuses anything behind the one value.
func (r *jsonReader) end() error {
	_, err := r.dec.Token()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = errors.New("a second value follows the first")
	}
	return err
}

func (r *jsonReader) value(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errors.New("values nested too deep")
	}
	pos := r.next()
	token, err := r.dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("unexpected end of JSON input")
	}
	if err != nil {
		return nil, err
	}
	n := &node{pos: pos, key: pos}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return r.object(pos, depth)
		}
		return r.array(pos, depth)
	case string:
		n.kind, n.text = kindString, t
	case bool:
		n.kind, n.boolean = kindBool, t
	case json.Number:
		n.kind, n.text = kindFloat, t.String()
		if i, err := strconv.ParseInt(n.text, 10, 64); err == nil {
			n.kind, n.integer = kindInteger, i
		}
	default:
		n.kind = kindNull
	}
	return n, nil
}

func (r *jsonReader) array(pos, depth int) (*node, error) {
	n := &node{kind: kindArray, pos: pos, key: pos}
	for r.dec.More() {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, v)
	}
	_, err := r.dec.Token()
	return n, err
}

func (r *jsonReader) object(pos, depth int) (*node, error) {
	n := newTable(pos, pos)
	for r.dec.More() {
		at := r.next()
		token, err := r.dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok {
			return nil, errors.New("expected a key")
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		v.key = at
		if old := n.fields[key]; old != nil {
			line, _ := r.doc.position(old.key)
			r.doc.errorf(at, "duplicate-key", "keep one of the two", "%q was already given in line %d", key, line)
			continue
		}
		n.set(key, v)
	}
	_, err := r.dec.Token()
	return n, err
}
