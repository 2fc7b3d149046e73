package blueprint

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// nearest is the candidate that was most likely meant by word, or "". About a third
// of the letters may differ; swapped neighbours count once.
func nearest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	best, bestDistance := "", max(1, (len(word)+1)/3)+1
	for _, c := range candidates {
		if d := distance(fold(word), fold(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best != "" || len(word) < 4 {
		return best
	}
	for _, c := range candidates {
		if strings.HasPrefix(fold(c), fold(word)) || len(c) >= 4 && strings.HasPrefix(fold(word), fold(c)) {
			return c
		}
	}
	return ""
}

// fold makes spellings alike that differ in case and in the dash only.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// distance is the optimal string alignment distance of a and b, in bytes.
func distance(a, b string) int {
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// placeOf is where a key of this very name belongs, if that is one place only:
// a key in the wrong table is the commonest mistake of TOML.
func placeOf(name string) string { return places()[name] }

// places maps the last name of each key to its path, where one path is the shortest.
var places = sync.OnceValue(func() map[string]string {
	found := map[string][]string{}
	walkKeys(reflect.TypeFor[Blueprint](), "", func(path string, _ reflect.Type) {
		name := path[strings.LastIndexByte(path, '.')+1:]
		found[name] = append(found[name], path)
	})
	depth := func(path string) int { return strings.Count(path, ".") }
	only := map[string]string{}
	for name, paths := range found {
		slices.SortStableFunc(paths, func(a, b string) int { return depth(a) - depth(b) })
		if len(paths) == 1 || depth(paths[0]) < depth(paths[1]) {
			only[name] = paths[0]
		}
	}
	return only
})

// walkKeys calls f with every key below t by its dotted path and its type,
// parents first; arrays count as their elements.
func walkKeys(t reflect.Type, path string, f func(path string, t reflect.Type)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == ownerType {
		return
	}
	for _, key := range fieldsOf(t) {
		at := join(path, key.name)
		f(at, t.Field(key.index).Type)
		walkKeys(t.Field(key.index).Type, at, f)
	}
}
