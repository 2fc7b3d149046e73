package blueprint

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"
)

// A Size is a number of bytes. In TOML and JSON it is an integer or a string
// with a unit, as "20 GiB" or "1.5 GB".
type Size int64

// Units of Size.
const (
	KiB Size = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

// sizeUnits are osbuild's, largest first within each family.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// ParseSize reads a size as it stands in a string: a number, with a fraction
// only if a unit follows, and one of the units TiB, GiB, MiB, KiB, TB, GB, MB,
// kB and B; no unit is bytes.
func ParseSize(s string) (Size, error) {
	t := strings.TrimSpace(s)
	end := strings.IndexFunc(t, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	number, unit := t, ""
	if end >= 0 {
		number, unit = t[:end], strings.TrimSpace(t[end:])
	}
	factor, known := int64(1), unit == ""
	for _, u := range sizeUnits {
		if u.name == unit {
			factor, known = u.bytes, true
		}
	}
	if !known || !plainNumber(number) {
		return 0, fmt.Errorf("%q is no size\nhint: write a number of bytes or a string such as \"20 GiB\" or \"512 MiB\"", s)
	}
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("%q is no size", s)
	}
	value.Mul(value, new(big.Rat).SetInt64(factor))
	if !value.IsInt() && factor == 1 {
		return 0, fmt.Errorf("%q is a fraction of a byte", s)
	}
	bytes := new(big.Int).Quo(value.Num(), value.Denom())
	if !bytes.IsInt64() || bytes.Int64() == math.MaxInt64 {
		return 0, fmt.Errorf("%q is larger than any disk", s)
	}
	return Size(bytes.Int64()), nil
}

// plainNumber reports whether s is digits with at most one point inside them.
func plainNumber(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" && len(s) <= 20 }
	return digits(whole) && (!point || digits(fraction))
}

// String is the size in the largest binary unit that divides it, as "20 GiB".
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if int64(s) >= u.bytes && int64(s)%u.bytes == 0 {
			return fmt.Sprintf("%d %s", int64(s)/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(s))
}

// MarshalJSON writes the bytes as a number, which every reader understands.
func (s Size) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%d", int64(s)), nil }

// UnmarshalJSON reads a number of bytes or a string with a unit.
func (s *Size) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		v, err := ParseSize(text)
		*s = v
		return err
	}
	var n int64
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("reading the size %s: %w", b, err)
	}
	*s = Size(n)
	return nil
}
