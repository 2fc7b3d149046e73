package osbuild

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// identifier is a UUID or a FAT volume's serial number, with a dash for mount
// and without for mkfs, as manifests have them.
var identifier = regexp.MustCompile(`\b(?:[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|[0-9A-F]{4}-?[0-9A-F]{4})\b`)

// stable makes the manifest a function of the options. The library draws what
// identifiers it lacks from a generator that only a variable of the environment
// can seed, at the price of a line on stderr. What differs between two drawings
// is what was drawn; it is replaced by identifiers that come from the seed.
func (o Options) stable() ([]byte, error) {
	var texts [2][]byte
	var found [2][][]byte
	for i := range texts {
		b, err := o.generate()
		if err != nil {
			return nil, err
		}
		texts[i], found[i] = b, identifier.FindAll(b, -1)
	}
	if len(found[0]) != len(found[1]) {
		return nil, errors.New("internal error: two drawings of the manifest differ in shape")
	}
	var names [2]map[string]uuid.UUID
	for i := range names {
		names[i] = map[string]uuid.UUID{}
	}
	for i := range found[0] {
		a, b := string(found[0][i]), string(found[1][i])
		if a == b {
			continue
		}
		a, b = plain(a), plain(b)
		name, ok := names[0][a]
		if !ok {
			name = o.name(len(names[0]))
			names[0][a] = name
		}
		names[1][b] = name
	}
	first, second := rename(texts[0], names[0]), rename(texts[1], names[1])
	if !bytes.Equal(first, second) {
		return nil, errors.New("internal error: the manifest has chance in it beside identifiers")
	}
	return first, nil
}

// plain is an identifier without its form.
func plain(id string) string { return strings.ToUpper(strings.ReplaceAll(id, "-", "")) }

// name is the n-th identifier of the seed.
func (o Options) name(n int) uuid.UUID {
	return uuid.NewSHA1(namespace, fmt.Appendf(nil, "%s\x00%s\x00%d", o.Seed, o.Image.Digest, n))
}

var namespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/aitheros/aither-image/osbuild"))

// rename replaces identifiers, each in the form that it has.
func rename(b []byte, names map[string]uuid.UUID) []byte {
	return identifier.ReplaceAllFunc(b, func(old []byte) []byte {
		id, ok := names[plain(string(old))]
		switch {
		case !ok:
			return old
		case len(old) == 8:
			return fmt.Appendf(nil, "%X", id[:4])
		case len(old) == 9:
			return fmt.Appendf(nil, "%X-%X", id[:2], id[2:4])
		case bytes.Equal(old, bytes.ToUpper(old)):
			return []byte(strings.ToUpper(id.String()))
		}
		return []byte(id.String())
	})
}
