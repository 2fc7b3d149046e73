package blueprint

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goodFiles are the blueprints of testdata/good.
func goodFiles(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/good/*.toml")
	if err != nil || len(names) < 20 {
		t.Fatalf("there are %d good blueprints, of the 20 that are promised (%v)", len(names), err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(filepath.Base(name), ".toml")] = src
	}
	return files
}

// golden compares got with a file of testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", name, diff)
	}
}

func TestGoodBlueprints(t *testing.T) {
	for name, src := range goodFiles(t) {
		t.Run(name, func(t *testing.T) {
			plan, problems := Load(name, src, testEnvironment)
			if err := problems.Err(); err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/good/"+name+".plan", plan.TOML())
			checkFeedBack(t, plan)
		})
	}
}

// checkFeedBack loads what a plan prints, as TOML and as JSON.
func checkFeedBack(t *testing.T, plan *Plan) {
	t.Helper()
	for form, src := range map[string][]byte{"TOML": plan.TOML(), "JSON": plan.JSON()} {
		again, problems := Load("plan", src, Environment{})
		if err := problems.Err(); err != nil {
			t.Errorf("a printed plan is refused: %v\n%s", err, src)
			continue
		}
		if diff := cmp.Diff(string(plan.TOML()), string(again.TOML())); diff != "" {
			t.Errorf("the plan changes when it is fed back as %s:\n%s", form, diff)
		}
		if diff := cmp.Diff(string(plan.JSON()), string(again.JSON())); diff != "" {
			t.Errorf("the plan changes when it is fed back as %s:\n%s", form, diff)
		}
	}
	var value map[string]any
	if err := toml.Unmarshal(plan.TOML(), &value); err != nil {
		t.Errorf("go-toml does not read the plan: %v", err)
	}
	if err := json.Unmarshal(plan.JSON(), &value); err != nil {
		t.Errorf("encoding/json does not read the plan: %v", err)
	}
}

// TestExampleShowsEveryKey reads the example with all its commented keys in
// force: then bases and other choices clash, but no key is unknown and no value
// is of a wrong type or form.
func TestExampleShowsEveryKey(t *testing.T) {
	if _, problems := Load("example", Example(), testEnvironment); problems.Err() != nil {
		t.Error(problems)
	}
	var lines []string
	for line := range strings.SplitSeq(string(Example()), "\n") {
		bare := strings.TrimPrefix(line, "# ")
		key, _, ok := strings.Cut(bare, " = ")
		if strings.HasPrefix(bare, "[") || ok && !strings.Contains(key, " ") {
			line = bare
		}
		lines = append(lines, line)
	}
	all := []byte(strings.Join(lines, "\n"))
	b, problems := Parse("example", all)
	if len(problems) > 0 {
		t.Errorf("the commented keys are wrong: %v", problems)
	}
	allowed := []string{"conflict", "no-such-file", "unused", "duplicate"}
	for _, p := range b.Validate(testEnvironment) {
		if !slices.Contains(allowed, p.Code) {
			t.Errorf("the commented keys are wrong: %v", p)
		}
	}
	shown := keysOfNode(b.doc.root)
	for _, key := range everyKey() {
		if !shown[key] {
			t.Errorf("the example does not show %s", key)
		}
	}
}

// TestConfigs merges configurations of bootc-image-builder over one plan.
func TestConfigs(t *testing.T) {
	names, err := filepath.Glob("testdata/config/*.*")
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile("testdata/config/base")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".plan") {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			plan, problems := Load("base", base, testEnvironment)
			if problems.Err() != nil {
				t.Fatal(problems)
			}
			before := string(plan.TOML())
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			merged, problems := plan.WithConfig(filepath.Base(name), src)
			if string(plan.TOML()) != before {
				t.Error("merging changed the plan that it was given")
			}
			if merged == nil {
				golden(t, name+".plan", []byte(problems.Error()+"\n"))
				return
			}
			golden(t, name+".plan", merged.TOML())
			checkFeedBack(t, merged)
		})
	}
}

func TestPlanOfImage(t *testing.T) {
	env := Environment{Dir: "/work", Arch: "aarch64", Seed: "s"}
	for _, c := range []struct{ image, source, kind, reference, path, update, name string }{
		{"quay.io/a/b:1", "", "image", "quay.io/a/b:1", "", "quay.io/a/b:1", "b"},
		{"docker://quay.io/a/b", "", "image", "quay.io/a/b:latest", "", "quay.io/a/b:latest", "b"},
		{"quay.io/a/b:1", "quay.io/c/d", "image", "quay.io/a/b:1", "", "quay.io/c/d:latest", "b"},
		{"oci:out/layout:tag", "quay.io/a/b:1", "layout", "tag", "/work/out/layout", "quay.io/a/b:1", "layout"},
		{"oci-archive:/x/OS.tar", "quay.io/a/b:1", "archive", "", "/x/OS.tar", "quay.io/a/b:1", "os"},
		{"containers-storage:localhost/x:1", "quay.io/a/b:1", "image", "containers-storage:localhost/x:1", "", "quay.io/a/b:1", "x"},
	} {
		p, err := PlanOfImage(c.image, c.source, env)
		if err != nil {
			t.Errorf("%s: %v", c.image, err)
			continue
		}
		got := []string{p.Base.Kind, p.Base.Reference, p.Base.Path, p.Update.Source, p.Name, p.Arch, p.Seed}
		if want := []string{c.kind, c.reference, c.path, c.update, c.name, "aarch64", "s"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", c.image, got, want)
		}
		checkFeedBack(t, p)
	}
	for image, why := range map[string]string{"fedora": "registry's host", "oci:x": "update.source", "quay.io/a/b@sha256:" + strings.Repeat("0", 64): "update.source"} {
		if _, err := PlanOfImage(image, "", env); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, want an error about %s", image, err, why)
		}
	}
}

func TestResolveOfGoValues(t *testing.T) {
	b := &Blueprint{Schema: 1, Name: "x", Base: Base{Debian: &Debian{}}, Update: Update{Source: "localhost/x:1"},
		Overlays: []Overlay{{"selfcheck"}}, Containerfiles: []Containerfile{{Path: "nvidia"}}}
	p, err := b.Resolve(testEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Steps) != 2 || p.Steps[0].Builtin != "nvidia" || p.Steps[1].Builtin != "selfcheck" {
		t.Errorf("steps are %+v", p.Steps)
	}
	b.Name = ""
	if _, err := b.Resolve(testEnvironment); err == nil || !strings.Contains(err.Error(), "blueprint: missing-key") {
		t.Errorf("a blueprint without name resolves: %v", err)
	}
}
