package blueprint

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readDocs(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/blueprint.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDocsNameEveryKey holds the reference against the types: each key that
// holds a value has a row, and each row is of a key.
func TestDocsNameEveryKey(t *testing.T) {
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.-]+)` \\| [^|]+ \\| [^|]* \\| .+ \\|$").FindAllStringSubmatch(readDocs(t), -1) {
		rows[m[1]] = true
	}
	known := map[string]bool{}
	for _, k := range everyKey() {
		known[k] = true
	}
	for _, k := range everyKey() {
		table := slices.ContainsFunc(everyKey(), func(other string) bool { return strings.HasPrefix(other, k+".") })
		if !table && !rows[k] {
			t.Errorf("docs/blueprint.md has no row for %s", k)
		}
	}
	for row := range rows {
		if !known[row] {
			t.Errorf("docs/blueprint.md has a row for %s, which is no key", row)
		}
	}
}

// TestDocsNameEveryCode holds the list of codes against the sources.
func TestDocsNameEveryCode(t *testing.T) {
	_, list, ok := strings.Cut(readDocs(t), "| code | what it says |")
	if !ok {
		t.Fatal("docs/blueprint.md has no list of codes")
	}
	documented := map[string]bool{}
	for line := range strings.Lines(list) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for _, m := range regexp.MustCompile("`([a-z0-9-]+)`").FindAllStringSubmatch(first, -1) {
			documented[m[1]] = true
		}
	}
	used := map[string]bool{}
	for _, c := range readCases(t) {
		for _, e := range c.want {
			used[e.code] = true
			if !documented[e.code] {
				t.Errorf("docs/blueprint.md does not name the code %s", e.code)
			}
		}
	}
	// Of these no small file can have one.
	for _, code := range []string{"invalid-utf8", "too-large", "too-many-errors"} {
		used[code] = true
	}
	for code := range documented {
		if !used[code] {
			t.Errorf("no case has the documented code %s", code)
		}
	}
}

// TestDocsNameEveryRefusal holds the table of refused keys against the sources.
func TestDocsNameEveryRefusal(t *testing.T) {
	docs := readDocs(t)
	for _, k := range slices.Sorted(maps.Keys(refusedKeys)) {
		if row := "| `" + k + "` | " + refusedKeys[k] + " |\n"; !strings.Contains(docs, row) {
			t.Errorf("docs/blueprint.md lacks the row %s", row)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| [^|]+ \\|$").FindAllStringSubmatch(docs, -1) {
		if strings.Contains(m[1], ".") && refusedKeys[m[1]] == "" {
			t.Errorf("docs/blueprint.md says that %s is refused, which it is not", m[1])
		}
	}
}

// TestDocsBlocks loads every block of the reference; what a fragment leaves out is added.
func TestDocsBlocks(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(readDocs(t), -1)
	if len(blocks) < 5 {
		t.Fatalf("found only %d blocks", len(blocks))
	}
	env := testEnvironment
	env.Files = nil // the paths are examples
	for _, m := range blocks {
		src := m[1]
		if !strings.Contains(src, "schema = 1") && !strings.Contains(src, "plan = 1") {
			var head []string
			for line := range strings.Lines(preamble) {
				key, _, _ := strings.Cut(line, ".")
				if !strings.Contains(src, "["+key+"]") && !strings.Contains(src, "["+key+".") {
					head = append(head, line)
				}
			}
			src = strings.Join(head, "") + src
		}
		plan, problems := Load("docs/blueprint.md", []byte(src), env)
		if len(problems) > 0 {
			t.Errorf("%v in\n%s", problems, src)
		} else if strings.Contains(src, "plan = 1") && string(plan.TOML()) != src {
			t.Errorf("the plan of the reference is not as it is printed:\n%s", plan.TOML())
		}
	}
}
