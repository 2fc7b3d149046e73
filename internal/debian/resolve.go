package debian

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A universe is every package of the archive, by name and by what it provides.
type universe struct {
	byName    map[string]*stanza
	providers map[string][]*stanza // most wanted first
}

// priorities in the order in which a provider of a virtual package is preferred.
var priorities = []string{"required", "important", "standard", "optional", "extra"}

func newUniverse(all []*stanza) *universe {
	u := &universe{byName: map[string]*stanza{}, providers: map[string][]*stanza{}}
	for _, s := range all {
		// One version a suite is the rule; if not so, the later one counts, as
		// the archive's tools list them.
		u.byName[s.name] = s
	}
	for _, s := range u.byName {
		for _, p := range strings.Split(s.provides, ",") {
			if name := relationName(p); name != "" {
				u.providers[name] = append(u.providers[name], s)
			}
		}
	}
	for _, list := range u.providers {
		slices.SortFunc(list, func(a, b *stanza) int {
			return cmp.Or(
				cmp.Compare(slices.Index(priorities, a.priority), slices.Index(priorities, b.priority)),
				strings.Compare(a.name, b.name))
		})
	}
	return u
}

// relationName strips version and architecture from "name:any (>= 1)".
func relationName(r string) string {
	r, _, _ = strings.Cut(r, "(")
	r, _, _ = strings.Cut(r, "[")
	r, _, _ = strings.Cut(r, ":")
	return strings.TrimSpace(r)
}

// resolve chooses the bootstrap's own packages, those in include, and what all
// of them depend on, sorted by name. An archive is consistent by its owners'
// promise, so versions are not compared, and of alternatives the first counts.
func resolve(all []*stanza, include []string) ([]*stanza, error) {
	u := newUniverse(all)
	chosen := map[string]*stanza{}
	neededBy := map[string]string{}
	var queue []*stanza
	choose := func(s *stanza, by string) {
		if chosen[s.name] == nil {
			chosen[s.name], neededBy[s.name] = s, by
			queue = append(queue, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(u.byName)) {
		if s := u.byName[name]; s.essential || s.priority == "required" {
			choose(s, "the bootstrap")
		}
	}
	for _, name := range append([]string{"apt", "ca-certificates"}, slices.Sorted(slices.Values(include))...) {
		s := u.find([]string{name})
		if s == nil {
			return nil, fmt.Errorf("no package %q in the archive", name)
		}
		choose(s, "the request")
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for _, group := range strings.Split(s.depends, ",") {
			names := alternatives(group)
			if len(names) == 0 || u.satisfied(names, chosen) {
				continue
			}
			next := u.find(names)
			if next == nil {
				return nil, fmt.Errorf("%s (needed by %s) depends on %s, which the archive does not have", s.name, neededBy[s.name], strings.TrimSpace(group))
			}
			choose(next, s.name)
		}
	}
	var debs []*stanza
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		debs = append(debs, chosen[name])
	}
	return debs, nil
}

func alternatives(group string) []string {
	var names []string
	for _, a := range strings.Split(group, "|") {
		if n := relationName(a); n != "" {
			names = append(names, n)
		}
	}
	return names
}

// satisfied holds when one of the names, or a provider of one, is chosen already.
func (u *universe) satisfied(names []string, chosen map[string]*stanza) bool {
	for _, n := range names {
		if chosen[n] != nil {
			return true
		}
		for _, p := range u.providers[n] {
			if chosen[p.name] != nil {
				return true
			}
		}
	}
	return false
}

// find returns the first alternative that exists, a package of that name before
// its providers; nil if there is none.
func (u *universe) find(names []string) *stanza {
	for _, n := range names {
		if s := u.byName[n]; s != nil {
			return s
		}
		if p := u.providers[n]; len(p) > 0 {
			return p[0]
		}
	}
	return nil
}
