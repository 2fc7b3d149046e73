package blueprint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// seeds are all blueprints, plans and configurations of testdata.
func seeds(t testing.TB) (all [][]byte) {
	t.Helper()
	for _, src := range goodFiles(t) {
		all = append(all, src)
	}
	for _, c := range readCases(t) {
		all = append(all, []byte(c.src))
	}
	names, err := filepath.Glob("testdata/config/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, src)
	}
	return all
}

// FuzzParse holds, for any bytes, that nothing panics, that every problem has
// a place in the file, that what loads prints and loads again, and that our
// reading of TOML is go-toml's.
func FuzzParse(f *testing.F) {
	for _, src := range seeds(f) {
		f.Add(src)
	}
	base := &Plan{Version: PlanVersion, Name: "x", Arch: "x86_64", Base: PlanBase{Kind: BaseImage, Reference: "localhost/x:1"},
		Update: PlanUpdate{"localhost/x:1", SignatureInsecure}, Disk: defaultDisk(), Output: PlanOutput{Types: []string{"raw"}, Compress: "none"}}
	f.Fuzz(func(t *testing.T, src []byte) {
		plan, problems := Load("x", src, testEnvironment)
		checkPlaces(t, src, problems)
		if (plan == nil) != (problems.Err() != nil) {
			t.Fatalf("a plan and errors: %v", problems)
		}
		if plan != nil {
			checkFeedBack(t, plan)
		}
		if merged, problems := base.WithConfig("x", src); merged != nil {
			checkFeedBack(t, merged)
		} else {
			checkPlaces(t, src, problems)
		}
		checkAgainstGoTOML(t, src)
	})
}

// checkPlaces demands that places are in the file, or 0:0.
func checkPlaces(t *testing.T, src []byte, problems Problems) {
	t.Helper()
	lines := bytes.Split(src, []byte("\n"))
	for _, p := range problems {
		if p.Line == 0 && p.Col == 0 {
			continue
		}
		if p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > len(lines[p.Line-1])+1 {
			t.Errorf("no such place: %v", p)
		}
	}
}

// checkAgainstGoTOML demands that both readers see the same values in what
// both accept.
func checkAgainstGoTOML(t *testing.T, src []byte) {
	t.Helper()
	doc := parseTOML("x", src)
	var theirs map[string]any
	err := toml.Unmarshal(bytes.TrimPrefix(src, []byte("\xef\xbb\xbf")), &theirs)
	if len(doc.problems) > 0 || err != nil {
		return
	}
	if diff := cmp.Diff(plainOfAny(theirs), plainOfNode(doc.root)); diff != "" {
		t.Errorf("go-toml (-) and we (+) read different values:\n%s", diff)
	}
}

// plainOfNode is a node in comparable values; floats and times are only named.
func plainOfNode(n *node) any {
	switch n.kind {
	case kindTable:
		m := map[string]any{}
		for name, f := range n.fields {
			m[name] = plainOfNode(f)
		}
		return m
	case kindArray:
		list := []any{}
		for _, item := range n.items {
			list = append(list, plainOfNode(item))
		}
		return list
	case kindString:
		return n.text
	case kindInteger:
		return n.integer
	case kindBool:
		return n.boolean
	}
	return n.kind.String()
}

func plainOfAny(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, f := range v {
			m[name] = plainOfAny(f)
		}
		return m
	case []any:
		list := []any{}
		for _, item := range v {
			list = append(list, plainOfAny(item))
		}
		return list
	case string, int64, bool:
		return v
	case float64:
		return kindFloat.String()
	}
	return kindTime.String()
}

// TestAgainstGoTOML compares verdicts and values on all of testdata.
func TestAgainstGoTOML(t *testing.T) {
	both := 0
	for _, src := range seeds(t) {
		if isJSON(src) {
			continue
		}
		var theirs map[string]any
		err := toml.Unmarshal(bytes.TrimPrefix(src, []byte("\xef\xbb\xbf")), &theirs)
		doc := parseTOML("x", src)
		if (err != nil) != (len(doc.problems) > 0) {
			t.Errorf("go-toml says %v, we say %v of\n%s", err, doc.problems, src)
		}
		if err == nil {
			both++
		}
		checkAgainstGoTOML(t, src)
	}
	if both < 200 {
		t.Errorf("only %d files are read by both", both)
	}
}

// TestPlaces holds the columns of every kind of value against hand-counted ones.
func TestPlaces(t *testing.T) {
	src := "a = 1 # x\n  b.'c d'   =  [ true,\n\t{ e = \"é\", f = 1979-05-27 07:32:00Z } ]\n[t . u]\nv = '''\nx'''\n[[w]]\n"
	doc := parseTOML("x", []byte(src))
	if len(doc.problems) > 0 {
		t.Fatal(doc.problems)
	}
	for _, c := range []struct {
		at         place
		value, key string
	}{
		{key("a"), "1:5", "1:1"}, {key("b", "c d"), "2:16", "2:5"}, {key("b", "c d", 0), "2:18", "2:18"},
		{key("b", "c d", 1), "3:2", "3:2"}, {key("b", "c d", 1, "e"), "3:8", "3:4"}, {key("b", "c d", 1, "f"), "3:18", "3:14"},
		{key("t"), "4:1", "4:2"}, {key("t", "u"), "4:1", "4:6"}, {key("t", "u", "v"), "5:5", "5:1"}, {key("w", 0), "7:1", "7:3"},
	} {
		n := doc.root.at(c.at...)
		show := func(offset int) string {
			line, col := doc.position(offset)
			return fmt.Sprintf("%d:%d", line, col)
		}
		if show(n.pos) != c.value || show(n.key) != c.key {
			t.Errorf("%v stands at %s with its key at %s, want %s and %s", c.at, show(n.pos), show(n.key), c.value, c.key)
		}
	}
}

// manyKeys is n keys that do not exist.
func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d = 1\n", i)
	}
	return b.String()
}

// TestHostile holds bounds: of depth, of size and of the number of messages.
func TestHostile(t *testing.T) {
	for name, c := range map[string]struct{ src, code string }{
		"deep array":        {"a = " + strings.Repeat("[", 1<<20), "syntax"},
		"deep inline table": {"a = " + strings.Repeat("{a = ", 1<<18), "syntax"},
		"deep key":          {strings.Repeat("a.", 1<<20) + "a = 1", "syntax"},
		"deep header":       {"[" + strings.Repeat("a.", 1<<20) + "a]", "syntax"},
		"deep json":         {`{"plan":` + strings.Repeat("[", 1<<20), "syntax"},
		"large file":        {strings.Repeat("#", maxSource+1), "too-large"},
		"many mistakes":     {strings.Repeat("a = b\n", 1<<16), "too-many-errors"},
		"many unknown keys": {manyKeys(1 << 17), "too-many-errors"},
		"many bad values":   {"packages = [" + strings.Repeat("\"-\",", 1<<17) + "]", "bad-package"},
		"not utf-8":         {"a = \"\xff\"", "invalid-utf8"},
		"a binary":          {"\x7fELF\x02\x01\x01\x00", "syntax"},
		"one long line":     {"a = \"" + strings.Repeat("x", 1<<20), "syntax"},
	} {
		_, problems := Load("x", []byte(c.src), testEnvironment)
		found := false
		for _, p := range problems {
			found = found || p.Code == c.code
		}
		if !found || len(problems) > 2*maxProblems+2 || len(problems.Error()) > 1<<20 {
			t.Errorf("%s: %d problems of %d bytes, none %s: %.200s", name, len(problems), len(problems.Error()), c.code, problems.Error())
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "20 GiB": 20 * GiB, "20GiB": 20 * GiB, " 1.5 KiB ": 1536, "1.5 GB": 1500000000, "10 kB": 10000, "3 TiB": 3 * TiB, "0.1 MiB": 104857, "7 B": 7,
		"8388607.5 TiB": 8388607*TiB + 512*GiB,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", " ", "GiB", "1 GIB", "1 gb", "1e3", "0x10", "+1", "-1", "1.", ".5", "1.5", "1.5 B", "1 GiB x", "8388608 TiB", "999999999999999999999", "½ GiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q is a size of %d", text, got)
		}
	}
	for _, s := range []Size{0, 1, 1023, KiB, 20 * GiB, 20*GiB + 1, 3 * TiB, 1536} {
		if again, err := ParseSize(s.String()); err != nil || again != s {
			t.Errorf("%d prints as %q, which is %d (%v)", s, s, again, err)
		}
		b, err := json.Marshal(s)
		var back Size
		if err != nil || json.Unmarshal(b, &back) != nil || back != s {
			t.Errorf("%d is %s in JSON, which is %d", s, b, back)
		}
	}
	var s Size
	if err := json.Unmarshal([]byte(`"2 KiB"`), &s); err != nil || s != 2*KiB {
		t.Errorf("got %d, %v", s, err)
	}
	if err := json.Unmarshal([]byte(`true`), &s); err == nil {
		t.Error("true is a size")
	}
}
