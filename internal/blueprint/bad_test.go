package blueprint

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// preamble makes most cases whole.
const preamble = `schema = 1
name = "x"
base.image = "registry.example.com/os@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
update.source = "registry.example.com/os:latest"
`

// testEnvironment knows one built-in of each kind and a few files.
var testEnvironment = Environment{
	Dir: "/work", Arch: "x86_64",
	Containerfiles: []string{"base/debian", "nvidia"},
	Overlays:       []string{"selfcheck", "hardening"},
	Files:          fakeFiles{"/work/overlay": true, "/work/layer": true, "/work/layer/Containerfile": false, "/work/Containerfile": false, "/work/os.tar": false, "/work/layout": true, "/work/ctx": true, "/abs": true, "/shared/overlay": true},
}

// fakeFiles are paths; true are folders.
type fakeFiles map[string]bool

func (f fakeFiles) Stat(path string) (fs.FileInfo, error) {
	dir, ok := f[path]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return fakeInfo{path, dir}, nil
}

type fakeInfo struct {
	path string
	dir  bool
}

func (i fakeInfo) Name() string       { return filepath.Base(i.path) }
func (i fakeInfo) Size() int64        { return 0 }
func (i fakeInfo) Mode() fs.FileMode  { return 0o644 }
func (i fakeInfo) ModTime() time.Time { return time.Time{} }
func (i fakeInfo) IsDir() bool        { return i.dir }
func (i fakeInfo) Sys() any           { return nil }

// A badCase is a blueprint and what must be said of it.
type badCase struct {
	name, src string
	skip      int // lines of the preamble
	want      []expectation
}

type expectation struct {
	line, col   int
	code, words string
}

func (e expectation) String() string { return fmt.Sprintf("%d:%d %s", e.line, e.col, e.code) }

// readCases reads the files of testdata/bad; their README explains the form.
func readCases(t testing.TB) []badCase {
	t.Helper()
	files, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	var cases []badCase
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.SplitSeq("\n"+string(b), "\n=== ") {
			if name, body, ok := strings.Cut(text, "\n"); ok && name != "" {
				cases = append(cases, readCase(t, strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+name, body))
			}
		}
	}
	return cases
}

func readCase(t testing.TB, name, body string) badCase {
	c := badCase{name: name}
	if !strings.HasSuffix(name, ": whole") {
		c.src, c.skip = preamble, strings.Count(preamble, "\n")
	}
	line, target := 0, 0
	for text := range strings.SplitAfterSeq(body, "\n") {
		bare := strings.TrimSuffix(text, "\n")
		if want, ok := strings.CutPrefix(bare, "--- "); ok {
			c.want = append(c.want, readExpectation(t, name, want))
			continue
		}
		c.src += text
		line++
		caret := strings.IndexByte(bare, '^')
		switch {
		case strings.HasPrefix(bare, "#!"):
			caret, bare = 0, " "+bare[2:]
			fallthrough
		case strings.HasPrefix(bare, "#") && caret > 0 && strings.TrimSpace(bare[1:caret]) == "":
			code, words, _ := strings.Cut(strings.TrimSpace(bare[caret+1:]), " ")
			c.want = append(c.want, expectation{target, caret + 1, code, words})
		default:
			target = line
		}
	}
	return c
}

func readExpectation(t testing.TB, name, text string) expectation {
	t.Helper()
	place, rest, _ := strings.Cut(text, " ")
	line, col, _ := strings.Cut(place, ":")
	code, words, _ := strings.Cut(rest, " ")
	l, err1 := strconv.Atoi(line)
	c, err2 := strconv.Atoi(col)
	if err1 != nil || err2 != nil {
		t.Fatalf("%s: no expectation: %q", name, text)
	}
	return expectation{l, c, code, words}
}

func TestBadBlueprints(t *testing.T) {
	cases := readCases(t)
	if len(cases) < 200 {
		t.Errorf("there are %d cases, of the 200 that are promised", len(cases))
	}
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("%s: there are two cases of this name", c.name)
		}
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) { checkCase(t, c) })
	}
}

func checkCase(t *testing.T, c badCase) {
	plan, problems := Load("bad.toml", []byte(c.src), testEnvironment)
	var got []string
	for _, p := range problems {
		got = append(got, expectation{p.Line - c.skip, p.Col, p.Code, ""}.String())
	}
	var want []string
	for _, e := range c.want {
		want = append(want, e.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n  %s", problems.Error(), strings.Join(want, "\n  "))
	}
	if (plan == nil) != (problems.Err() != nil) {
		t.Errorf("plan and errors at once: %v", problems)
	}
	for _, e := range c.want {
		if !slices.ContainsFunc(problems, func(p Problem) bool {
			return p.Line-c.skip == e.line && p.Col == e.col && p.Code == e.code && strings.Contains(p.Text+"\n"+p.Hint, e.words)
		}) {
			t.Errorf("no problem at %s says %q:\n%s", e, e.words, problems.Error())
		}
	}
	for _, p := range problems {
		place := fmt.Sprintf("bad.toml:%d:%d: ", p.Line, p.Col)
		if p.Line == 0 { // it only shows when all parts are together
			place = "bad.toml: "
		}
		if !strings.HasPrefix(p.String(), place) || strings.HasSuffix(p.Text, ".") || strings.Contains(p.Text, "\n") {
			t.Errorf("not in the form file:line:col: code: text: %q", p.String())
		}
	}
}
