package blueprint

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// everyKey is the dotted path of every key of the language.
func everyKey() (keys []string) {
	walkKeys(reflect.TypeFor[Blueprint](), "", func(path string, _ reflect.Type) { keys = append(keys, path) })
	return keys
}

// keysOfNode is the dotted path of every key that a file has.
func keysOfNode(n *node) map[string]bool {
	keys := map[string]bool{}
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		for _, item := range n.items {
			walk(item, path)
		}
		for name, f := range n.fields {
			keys[join(path, name)] = true
			walk(f, join(path, name))
		}
	}
	walk(n, "")
	return keys
}

// A schemaWalk compares the schema with Go types.
type schemaWalk struct {
	t    *testing.T
	root map[string]any
}

// deref follows a reference within the schema.
func (w schemaWalk) deref(s map[string]any) map[string]any {
	ref, ok := s["$ref"].(string)
	if !ok {
		return s
	}
	at := any(w.root)
	for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at = at.(map[string]any)[step]
	}
	target, ok := at.(map[string]any)
	if !ok {
		w.t.Fatalf("%s leads nowhere", ref)
	}
	return target
}

// kindOf is what a schema allows: a JSON type, or "string" for an enumeration of strings.
func (w schemaWalk) kindOf(s map[string]any) string {
	if t, ok := s["type"].(string); ok {
		return t
	}
	if values, ok := s["enum"].([]any); ok {
		if _, ok := values[0].(string); ok {
			return "string"
		}
	}
	if _, ok := s["const"].(float64); ok {
		return "integer"
	}
	if all, ok := s["oneOf"].([]any); ok {
		var kinds []string
		for _, one := range all {
			kinds = append(kinds, w.kindOf(w.deref(one.(map[string]any))))
		}
		slices.Sort(kinds)
		return strings.Join(kinds, "|")
	}
	return "?"
}

// compare demands that s allows exactly what the decoder takes for t.
func (w schemaWalk) compare(s map[string]any, t reflect.Type, path string) {
	s = w.deref(s)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	want := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer",
		reflect.Slice: "array", reflect.Struct: "object", reflect.Map: "object"}[t.Kind()]
	if t == sizeType || t == ownerType {
		want = "integer|string"
	}
	if got := w.kindOf(s); got != want {
		w.t.Errorf("%s: the schema says %s, Go says %s", path, got, want)
	}
	switch {
	case t.Kind() == reflect.Slice:
		w.compare(s["items"].(map[string]any), t.Elem(), path)
	case t.Kind() == reflect.Map:
		w.compare(s["additionalProperties"].(map[string]any), t.Elem(), path)
	case want == "object":
		w.object(s, t, path)
	}
}

func (w schemaWalk) object(s map[string]any, t reflect.Type, path string) {
	if s["additionalProperties"] != false {
		w.t.Errorf("%s: the schema allows unknown keys", path)
	}
	properties, _ := s["properties"].(map[string]any)
	known := map[string]bool{}
	for _, f := range fieldsOf(t) {
		known[f.name] = true
		p, ok := properties[f.name].(map[string]any)
		if !ok {
			w.t.Errorf("%s: the schema lacks %q", path, f.name)
			continue
		}
		w.compare(p, t.Field(f.index).Type, join(path, f.name))
	}
	for name := range properties {
		if !known[name] {
			w.t.Errorf("%s: the schema has %q, which Go does not", path, name)
		}
	}
}

func TestSchemaIsTheGoTypes(t *testing.T) {
	w := schemaWalk{t: t}
	if err := json.Unmarshal(SchemaJSON(), &w.root); err != nil {
		t.Fatal(err)
	}
	w.compare(w.root, reflect.TypeFor[Blueprint](), "")
}

// TestSchemaCompares holds that the comparison above notices differences.
func TestSchemaCompares(t *testing.T) {
	for change, edit := range map[string][2]string{
		"a key is missing": {`"grow": {`, `"grew": {`},
		"a type differs":   {`"serial_console": { "description": "A serial console, in the qcow2 only", "type": "boolean"`, `"serial_console": { "type": "string"`},
		"keys are open":    {`"additionalProperties": false`, `"additionalProperties": true`},
	} {
		src := bytes.Replace(SchemaJSON(), []byte(edit[0]), []byte(edit[1]), 1)
		if bytes.Equal(src, SchemaJSON()) {
			t.Fatalf("%s: nothing was replaced", change)
		}
		inner := &testing.T{}
		w := schemaWalk{t: inner}
		if err := json.Unmarshal(src, &w.root); err != nil {
			t.Fatal(err)
		}
		w.compare(w.root, reflect.TypeFor[Blueprint](), "")
		if !inner.Failed() {
			t.Errorf("%s: not noticed", change)
		}
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(SchemaJSON()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", value); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is TOML as the schema sees it; ok is false if it is no TOML.
func asJSON(t *testing.T, src []byte) (value any, ok bool) {
	t.Helper()
	var v map[string]any
	if toml.Unmarshal(bytes.TrimPrefix(src, []byte("\xef\xbb\xbf")), &v) != nil {
		return nil, false
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, false // a float that JSON does not know
	}
	value, err = jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return value, true
}

func TestSchemaTakesGoodBlueprints(t *testing.T) {
	s := compileSchema(t)
	for name, src := range goodFiles(t) {
		value, ok := asJSON(t, src)
		if !ok {
			t.Errorf("%s: go-toml does not read it", name)
		} else if err := s.Validate(value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// formCodes are the problems that a schema must find too: those of keys and types.
var formCodes = []string{"unknown-key", "wrong-type", "unsupported", "plaintext-password", "missing-key", "bad-mode"}

// formExceptions are cases whose fault JSON Schema cannot see: JSON has no
// dates, knows 1000.0 as an integer, and two keys are judged together.
var formExceptions = []string{"keys/date for a string", "keys/float for an integer", "disk/ext4 as esp"}

func TestSchemaRefusesBadBlueprints(t *testing.T) {
	s := compileSchema(t)
	seen := 0
	for _, c := range readCases(t) {
		value, ok := asJSON(t, []byte(c.src))
		if !ok {
			continue
		}
		_, problems := Load("x", []byte(c.src), testEnvironment)
		form := slices.ContainsFunc(problems, func(p Problem) bool { return slices.Contains(formCodes, p.Code) })
		err := s.Validate(value)
		if form && err == nil && !slices.Contains(formExceptions, c.name) {
			t.Errorf("%s: the schema takes it", c.name)
		}
		if problems.Err() == nil && err != nil {
			t.Errorf("%s: the schema refuses what only deserves a warning: %v", c.name, err)
		}
		seen++
	}
	if seen < 200 {
		t.Errorf("only %d cases were looked at", seen)
	}
}
