package blueprint

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A decoder fills a Go value from nodes by its toml tags and reports every key
// that has no field and every value of another type.
type decoder struct{ doc *document }

var (
	sizeType  = reflect.TypeFor[Size]()
	ownerType = reflect.TypeFor[Owner]()
)

// maxID is one more than the largest uid and gid: 2³²-1 means "none" to the kernel.
const maxID = 1<<32 - 1

// decode fills v from n; path is where n stands, for messages.
func (d decoder) decode(n *node, v reflect.Value, path string) {
	switch {
	case v.Type() == sizeType:
		d.size(n, v, path)
	case v.Type() == ownerType:
		d.owner(n, v, path)
	case v.Kind() == reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		d.decode(n, fresh.Elem(), path)
		v.Set(fresh)
	case v.Kind() == reflect.Struct:
		d.table(n, v, path)
	case v.Kind() == reflect.Slice:
		d.array(n, v, path)
	case v.Kind() == reflect.Map:
		d.stringMap(n, v, path)
	case v.Kind() == reflect.String && d.want(n, kindString, path):
		v.SetString(n.text)
	case v.Kind() == reflect.Bool && d.want(n, kindBool, path):
		v.SetBool(n.boolean)
	case v.Kind() == reflect.Int && d.want(n, kindInteger, path):
		v.SetInt(n.integer)
	}
}

// want reports whether n is of kind k, and records it if not.
func (d decoder) want(n *node, k kind, path string) bool {
	if n.kind == k {
		return true
	}
	hint := ""
	switch {
	case k == kindString && (n.kind == kindInteger || n.kind == kindFloat || n.kind == kindTime):
		hint = "put it into quotes: " + strconv.Quote(n.text)
	case k == kindBool && n.kind == kindString:
		hint = "write true or false, without quotes"
	case k == kindInteger && n.kind == kindString:
		hint = "write the number without quotes"
	case k == kindTable && n.kind == kindArray && n.tables:
		hint = "there is only one: write [" + path + "]"
	case k == kindArray && n.kind == kindString:
		hint = "write it in brackets: [" + strconv.Quote(n.text) + "]"
	}
	d.doc.errorf(n.pos, "wrong-type", hint, "%q must be %s, not %s", path, k, n.kind)
	return false
}

// A field is a key of a struct.
type field struct {
	name  string
	index int
}

// fieldsOf lists the keys of a struct type in the order of its fields.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("toml"), ","); name != "" {
			fields = append(fields, field{name, i})
		}
	}
	return fields
}

func (d decoder) table(n *node, v reflect.Value, path string) {
	if !d.want(n, kindTable, path) {
		return
	}
	known := map[string]int{}
	for _, f := range fieldsOf(v.Type()) {
		known[f.name] = f.index
	}
	for _, name := range n.order {
		at := join(path, name)
		if i, ok := known[name]; ok {
			d.decode(n.fields[name], v.Field(i), at)
			continue
		}
		d.unknown(n.fields[name], known, name, at)
	}
}

// unknown reports a key without a field: refused by name, or unknown.
func (d decoder) unknown(n *node, known map[string]int, name, path string) {
	if len(d.doc.problems) > maxProblems {
		return // a hint takes time
	}
	if instead, ok := refusedKeys[path]; ok {
		d.doc.errorf(n.key, "unsupported", instead, "%q is not supported", path)
		return
	}
	hint := ""
	if near := nearest(name, slices.Sorted(maps.Keys(known))); near != "" {
		hint = "did you mean " + strconv.Quote(near) + "?"
	} else if elsewhere := placeOf(name); elsewhere == path {
		hint = "it belongs into a blueprint"
	} else if elsewhere != "" {
		hint = "did you mean " + strconv.Quote(elsewhere) + "?"
	}
	d.doc.errorf(n.key, "unknown-key", hint, "unknown key %q", path)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (d decoder) array(n *node, v reflect.Value, path string) {
	if n.kind == kindTable && v.Type().Elem().Kind() == reflect.Struct {
		d.doc.errorf(n.key, "wrong-type", "there may be several: write [["+path+"]]", "%q must be an array of tables, not a table", path)
		return
	}
	if !d.want(n, kindArray, path) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		d.decode(item, v.Index(i), path)
	}
}

func (d decoder) stringMap(n *node, v reflect.Value, path string) {
	if !d.want(n, kindTable, path) {
		return
	}
	m := map[string]string{}
	for _, name := range n.order {
		if d.want(n.fields[name], kindString, join(path, name)) {
			m[name] = n.fields[name].text
		}
	}
	v.Set(reflect.ValueOf(m))
}

func (d decoder) size(n *node, v reflect.Value, path string) {
	switch n.kind {
	case kindInteger:
		if n.integer < 0 {
			d.doc.errorf(n.pos, "bad-size", "", "%q cannot be negative", path)
			return
		}
		v.SetInt(n.integer)
	case kindString:
		size, err := ParseSize(n.text)
		if err != nil {
			text, hint, _ := strings.Cut(err.Error(), "\nhint: ")
			d.doc.errorf(n.pos, "bad-size", hint, "%q: %s", path, text)
			return
		}
		v.SetInt(int64(size))
	default:
		d.doc.errorf(n.pos, "wrong-type", `write a number of bytes or a string such as "20 GiB"`,
			"%q must be a size, not %s", path, n.kind)
	}
}

func (d decoder) owner(n *node, v reflect.Value, path string) {
	switch n.kind {
	case kindInteger:
		if n.integer < 0 || n.integer >= maxID {
			d.doc.errorf(n.pos, "bad-id", "", "%q must be between 0 and %d", path, maxID-1)
			return
		}
		v.Set(reflect.ValueOf(Owner{ID: int(n.integer)}))
	case kindString:
		v.Set(reflect.ValueOf(Owner{Name: n.text}))
	default:
		d.doc.errorf(n.pos, "wrong-type", "", "%q must be a name or a number, not %s", path, n.kind)
	}
}
