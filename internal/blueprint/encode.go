package blueprint

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// TOML is the plan as TOML; Load reads it back.
func (p *Plan) TOML() []byte {
	var e encoder
	e.table(reflect.ValueOf(*p), "")
	return []byte(strings.TrimPrefix(e.b.String(), "\n"))
}

// JSON is the plan as indented JSON; Load reads it back.
func (p *Plan) JSON() []byte {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil { // a Plan holds strings, numbers and booleans only
		return []byte(fmt.Sprintf("{\"plan\": 0, \"error\": %q}", err))
	}
	return append(b, '\n')
}

// MarshalJSON writes a name as a string and a number as one.
func (o Owner) MarshalJSON() ([]byte, error) {
	if o.Name != "" {
		return json.Marshal(o.Name)
	}
	return json.Marshal(o.ID)
}

// UnmarshalJSON reads a name or a number.
func (o *Owner) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &o.Name) == nil {
		return nil
	}
	return json.Unmarshal(b, &o.ID)
}

// An encoder writes structs as TOML in the order of their fields: a table's
// values first, then its tables.
type encoder struct{ b strings.Builder }

func (e *encoder) table(v reflect.Value, path string) {
	var tables []field
	for _, f := range fieldsOf(v.Type()) {
		value := v.Field(f.index)
		optional := strings.HasSuffix(v.Type().Field(f.index).Tag.Get("toml"), ",omitempty")
		empty := value.IsZero() || (value.Kind() == reflect.Slice || value.Kind() == reflect.Map) && value.Len() == 0
		if optional && empty {
			continue
		}
		if isTable(value.Type()) {
			tables = append(tables, f)
			continue
		}
		fmt.Fprintf(&e.b, "%s = %s\n", tomlKey(f.name), tomlValue(value))
	}
	for _, f := range tables {
		e.tables(reflect.Indirect(v.Field(f.index)), join(path, tomlKey(f.name)))
	}
}

// tables writes one table or an array of them. A table without values of its
// own needs no header.
func (e *encoder) tables(v reflect.Value, path string) {
	if v.Kind() != reflect.Slice {
		var inner encoder
		inner.table(v, path)
		if text := inner.b.String(); !strings.HasPrefix(text, "\n[") {
			fmt.Fprintf(&e.b, "\n[%s]\n", path)
		}
		e.b.WriteString(inner.b.String())
		return
	}
	for i := range v.Len() {
		fmt.Fprintf(&e.b, "\n[[%s]]\n", path)
		e.table(v.Index(i), path)
	}
}

// isTable reports whether a type is written under a header.
func isTable(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && t != ownerType
}

func tomlKey(name string) string {
	if name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
		return name
	}
	return tomlString(name)
}

func tomlValue(v reflect.Value) string {
	v = reflect.Indirect(v)
	switch value := v.Interface().(type) {
	case Size:
		return tomlString(value.String())
	case Owner:
		if value.Name != "" {
			return tomlString(value.Name)
		}
		return strconv.Itoa(value.ID)
	case string:
		return tomlText(value)
	case map[string]string:
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(value)) {
			pairs = append(pairs, tomlKey(name)+" = "+tomlString(value[name]))
		}
		return "{ " + strings.Join(pairs, ", ") + " }"
	case []string:
		return "[" + strings.Join(mapped(value, tomlString), ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

// tomlString is a basic string on one line.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r == '\n' {
			b.WriteString(`\n`)
			continue
		}
		b.WriteString(tomlRune(r))
	}
	return b.String() + `"`
}

// tomlText is a string, over several lines if it has some.
func tomlText(s string) string {
	if !strings.Contains(s, "\n") {
		return tomlString(s)
	}
	var b strings.Builder
	b.WriteString("\"\"\"\n")
	for _, r := range s {
		if r == '\n' {
			b.WriteRune(r)
			continue
		}
		b.WriteString(tomlRune(r))
	}
	return b.String() + `"""`
}

func tomlRune(r rune) string {
	switch {
	case r == '"' || r == '\\':
		return `\` + string(r)
	case r == '\t':
		return `\t`
	case r < 0x20 || r == 0x7f:
		return fmt.Sprintf(`\u%04X`, r)
	}
	return string(r)
}
