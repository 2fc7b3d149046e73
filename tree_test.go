package repo

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestGoModIsWhatEverybodyGets holds that building needs the module proxy alone.
func TestGoModIsWhatEverybodyGets(t *testing.T) {
	for i, l := range strings.Split(read(t, "go.mod"), "\n") {
		if f := strings.Fields(l); len(f) > 0 && slices.Contains([]string{"replace", "exclude", "toolchain"}, f[0]) {
			t.Errorf("go.mod:%d: %s", i+1, l)
		}
	}
}

// TestOverlaysAreRegularFiles holds what embedding needs: links, modes and empty
// folders would be lost.
func TestOverlaysAreRegularFiles(t *testing.T) {
	err := filepath.WalkDir("overlays", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			if ents, err := os.ReadDir(name); err == nil && len(ents) == 0 && name != "overlays" {
				t.Errorf("%s is an empty folder", name)
			}
		case !d.Type().IsRegular():
			t.Errorf("%s is a %s", name, d.Type())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// machinePaths are paths that mean something on one machine only.
var machinePaths = regexp.MustCompile(`/(?:wo` + `rk/(?:main|shared|tmp)|Us` + `ers/[a-z]|home/(?:[a-z]+)/(?:src|go|git|work|projects?))\b|/tmp/ai` + `ther\b`)

func TestNoPathsOfOneMachine(t *testing.T) {
	for _, bad := range []string{"/wo" + "rk/main", "/home/jo/" + "src/x", "/tmp/ai" + "ther/x"} {
		if !machinePaths.MatchString(bad) {
			t.Fatalf("%q is not seen", bad)
		}
	}
	for _, name := range repoFiles(t) {
		if fi, err := os.Stat(name); err != nil || fi.Size() > 1<<20 {
			continue
		}
		for i, l := range strings.Split(read(t, name), "\n") {
			if m := machinePaths.FindString(l); m != "" {
				t.Errorf("%s:%d: %s", name, i+1, m)
			}
		}
	}
}

// A block is a fenced code block of a Markdown file.
type block struct {
	file string
	lang string
	text string
}

func docs(t testing.TB) (names []string) {
	for _, n := range repoFiles(t) {
		if strings.HasSuffix(n, ".md") && !strings.Contains(n, "testdata/") {
			names = append(names, n)
		}
	}
	return names
}

func blocks(file, text string) (bs []block) {
	var cur *block
	for _, l := range strings.Split(text, "\n") {
		fence, ok := strings.CutPrefix(strings.TrimSpace(l), "```")
		switch {
		case ok && cur == nil:
			cur = &block{file: file, lang: strings.TrimSpace(fence)}
		case ok:
			bs = append(bs, *cur)
			cur = nil
		case cur != nil:
			cur.text += l + "\n"
		}
	}
	if cur != nil {
		cur.lang = "unclosed"
		bs = append(bs, *cur)
	}
	return bs
}

// broken tells why a code block cannot be what its fence says, or nil.
func broken(b block) []string {
	var err error
	switch b.lang {
	case "unclosed":
		return []string{"a fence is not closed"}
	case "go":
		src := b.text
		if !strings.HasPrefix(strings.TrimSpace(src), "package ") {
			src = "package doc\n" + src
		}
		if _, err = parser.ParseFile(token.NewFileSet(), b.file, src, 0); err != nil {
			_, err = parser.ParseFile(token.NewFileSet(), b.file, "package doc\nfunc _() {\n"+b.text+"\n}", 0)
		}
	case "toml":
		var v map[string]any
		err = toml.Unmarshal([]byte(b.text), &v)
	case "json":
		var v any
		err = json.Unmarshal([]byte(b.text), &v)
	case "sh", "console":
		return badTargets(b.text)
	}
	if err != nil {
		return []string{err.Error()}
	}
	return nil
}

var (
	makeCall   = regexp.MustCompile(`\bmake ([a-z]+)`)
	makeTarget = regexp.MustCompile(`(?m)^([a-z-]+):`)
	verbCall   = regexp.MustCompile(`\baither-image ([a-z]+)`)
)

// badTargets finds calls of make targets and verbs that do not exist.
func badTargets(text string) (bad []string) {
	mk, err := os.ReadFile("Makefile")
	if err != nil {
		return []string{err.Error()}
	}
	var targets []string
	for _, m := range makeTarget.FindAllStringSubmatch(string(mk), -1) {
		targets = append(targets, m[1])
	}
	for _, m := range makeCall.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(targets, m[1]) {
			bad = append(bad, "make "+m[1]+" does not exist")
		}
	}
	for _, m := range verbCall.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat("cmd/aither-image/" + m[1] + ".go"); err != nil {
			bad = append(bad, "aither-image "+m[1]+" does not exist")
		}
	}
	return bad
}

func TestCodeBlocksInDocsParse(t *testing.T) {
	for _, bad := range []string{"```go\nfunc {\n```", "```toml\na = \n```", "```json\n{\n```", "```sh\nmake nonsense\n```", "```sh\naither-image nonsense\n```", "```sh\n"} {
		if bs := blocks("x.md", bad); len(bs) != 1 || len(broken(bs[0])) == 0 {
			t.Fatalf("a broken block passes: %q", bad)
		}
	}
	for _, name := range docs(t) {
		for _, b := range blocks(name, read(t, name)) {
			for _, why := range broken(b) {
				t.Errorf("%s: ```%s block: %s\n%s", name, b.lang, why, b.text)
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksInDocsLeadSomewhere(t *testing.T) {
	for _, name := range docs(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, name), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || target == "" {
				continue
			}
			if regexp.MustCompile(`^L\d`).MatchString(anchor) {
				t.Errorf("%s links to line numbers of %s, which move", name, target)
			}
			if _, err := os.Stat(path.Join(path.Dir(name), target)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestDecisionsAreIndexed holds that every decision is one click from the map.
func TestDecisionsAreIndexed(t *testing.T) {
	arch := read(t, "docs/ARCHITECTURE.md")
	found, err := filepath.Glob("docs/decisions/[0-9]*.md")
	if err != nil || len(found) == 0 {
		t.Fatalf("no decisions found: %v", err)
	}
	for _, d := range found {
		if !strings.Contains(arch, strings.TrimPrefix(filepath.ToSlash(d), "docs/")) {
			t.Errorf("docs/ARCHITECTURE.md does not link to %s", d)
		}
	}
}
