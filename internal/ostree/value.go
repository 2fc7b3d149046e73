package ostree

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// A Value is one value of a commit's metadata: a type of GVariant and the
// serialised bytes, which this package keeps for types that it does not make.
type Value struct {
	Type string // one complete type, such as "s" or "a{sv}"
	Data []byte // in normal form, little-endian
}

// StringValue makes a value of type s. Text must be UTF-8 without NUL.
func StringValue(s string) Value { return Value{"s", appendString(nil, s)} }

// Uint32Value makes a value of type u.
func Uint32Value(v uint32) Value { return Value{"u", binary.LittleEndian.AppendUint32(nil, v)} }

// Uint64Value makes a value of type t.
func Uint64Value(v uint64) Value { return Value{"t", binary.LittleEndian.AppendUint64(nil, v)} }

// BoolValue makes a value of type b.
func BoolValue(v bool) Value {
	if v {
		return Value{"b", []byte{1}}
	}
	return Value{"b", []byte{0}}
}

// StringsValue makes a value of type as.
func StringsValue(list []string) Value {
	var b []byte
	var ends []int
	for _, s := range list {
		b = appendString(b, s)
		ends = append(ends, len(b))
	}
	return Value{"as", appendOffsets(b, 0, ends)}
}

// DictValue makes a value of type a{sv}, its keys sorted.
func DictValue(d map[string]Value) Value { return Value{typeDict, appendDict(nil, d)} }

const typeDict = "a{sv}"

// Text returns the text of a value of type s.
func (v Value) Text() (string, error) {
	if err := v.check("s"); err != nil {
		return "", err
	}
	return text(v.Data), nil
}

// Strings returns the texts of a value of type as.
func (v Value) Strings() ([]string, error) {
	if err := v.check("as"); err != nil {
		return nil, err
	}
	list, err := split("as", v.Data)
	out := make([]string, 0, len(list))
	for _, b := range list {
		out = append(out, text(b))
	}
	return out, err
}

// Uint reads a value of type u or t.
func (v Value) Uint() (uint64, error) {
	if v.Type == "u" && len(v.Data) == 4 {
		return uint64(binary.LittleEndian.Uint32(v.Data)), nil
	}
	if err := v.check("t"); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(v.Data), nil
}

// Dict returns the entries of a value of type a{sv}.
func (v Value) Dict() (map[string]Value, error) {
	if err := v.check(typeDict); err != nil {
		return nil, err
	}
	return parseDict(v.Data)
}

func (v Value) check(want string) error {
	if v.Type != want {
		return fmt.Errorf("value has type %q, not %q", v.Type, want)
	}
	if err := verify(want, v.Data, 0); err != nil {
		return fmt.Errorf("value of type %q: %w", want, err)
	}
	return nil
}

// ParseDict reads a serialised a{sv}, as commits and detached metadata hold it.
// Keys may come in any order, but only once.
func ParseDict(b []byte) (map[string]Value, error) {
	if len(b) > MaxMetadata {
		return nil, errTooLarge
	}
	if err := verify(typeDict, b, 0); err != nil {
		return nil, fmt.Errorf("reading dictionary: %w", err)
	}
	return parseDict(b)
}

// parseDict is ParseDict on verified bytes.
func parseDict(b []byte) (map[string]Value, error) {
	out := map[string]Value{}
	err := children(typeDict, b, func(m member) error {
		pair, err := split(m.typ, m.b)
		if err != nil {
			return err
		}
		key := text(pair[0])
		if _, dup := out[key]; dup {
			return fmt.Errorf("key %.200q occurs twice", key)
		}
		v, err := variantChild(pair[1])
		if err != nil {
			return err
		}
		out[key] = Value{v.typ, slices.Clone(v.b)}
		return nil
	})
	return out, err
}

func appendDict(b []byte, d map[string]Value) []byte {
	const align = 8 // a variant's
	start := len(b)
	var ends []int
	for _, key := range slices.Sorted(maps.Keys(d)) {
		b = appendPad(b, start, align)
		entry := len(b)
		b = appendString(b, key)
		end := len(b) - entry
		b = appendPad(b, entry, align)
		b = append(b, d[key].Data...)
		b = append(b, 0)
		b = append(b, d[key].Type...)
		b = appendTupleOffsets(b, entry, end)
		ends = append(ends, len(b)-start)
	}
	return appendOffsets(b, start, ends)
}
