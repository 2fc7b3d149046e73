package blueprint

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	osbuild "github.com/osbuild/blueprint/pkg/blueprint"
)

// TestCustomizationsAreOsbuilds lets osbuild's own types read our
// customizations, strictly, and demands the same values back.
func TestCustomizationsAreOsbuilds(t *testing.T) {
	read := 0
	for name, src := range goodFiles(t) {
		b, problems := Parse(name, src)
		if problems.Err() != nil || !b.doc.root.has("customizations") {
			continue
		}
		z := b.Customizations
		for i, f := range z.Filesystems { // osbuild has the old name in TOML only
			if f.MinSize == nil {
				z.Filesystems[i].MinSize, z.Filesystems[i].Size = f.Size, nil
			}
		}
		ours, err := json.Marshal(z)
		if err != nil {
			t.Fatal(err)
		}
		var theirs osbuild.Customizations
		d := json.NewDecoder(bytes.NewReader(ours))
		d.DisallowUnknownFields()
		if err := d.Decode(&theirs); err != nil {
			t.Errorf("%s: osbuild refuses %s: %v", name, ours, err)
			continue
		}
		back, err := json.Marshal(theirs)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if err := json.Unmarshal(ours, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(back, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(pruned(want), pruned(got)); diff != "" {
			t.Errorf("%s: ours (-) and osbuild's (+) differ:\n%s", name, diff)
		}
		read++
	}
	if read < 6 {
		t.Errorf("only %d blueprints have customizations", read)
	}
}

// pruned drops empty values and the partition type that both take for granted.
func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, f := range v {
			f = pruned(f)
			if f == nil || f == "" || f == false || name == "type" && f == "plain" {
				delete(v, name)
				continue
			}
			v[name] = f
		}
	case []any:
		for i := range v {
			v[i] = pruned(v[i])
		}
	}
	return v
}

// TestEveryOsbuildKeyIsAnswered goes through osbuild's customizations: each key
// is one of ours or is refused by name.
func TestEveryOsbuildKeyIsAnswered(t *testing.T) {
	known := map[string]bool{}
	for _, k := range everyKey() {
		known[k] = true
	}
	example := osbuildKeys(t)
	if len(example) < 25 {
		t.Fatalf("found only %d keys of osbuild's", len(example))
	}
	for _, k := range example {
		if k := "customizations." + k; !known[k] && refusedKeys[k] == "" {
			t.Errorf("osbuild's %s is neither supported nor refused by name", k)
		}
	}
}

// osbuildKeys are the keys of osbuild's Customizations.
func osbuildKeys(t *testing.T) []string {
	t.Helper()
	keys := jsonNames[osbuild.Customizations]()
	for _, f := range jsonNames[osbuild.InstallerCustomization]() {
		keys = append(keys, "installer."+f)
	}
	for _, f := range jsonNames[osbuild.UserCustomization]() {
		keys = append(keys, "user."+f)
	}
	for _, f := range jsonNames[osbuild.DiskCustomization]() {
		keys = append(keys, "disk."+f)
	}
	for _, f := range jsonNames[osbuild.FileCustomization]() {
		keys = append(keys, "files."+f)
	}
	for _, f := range jsonNames[osbuild.DirectoryCustomization]() {
		keys = append(keys, "directories."+f)
	}
	return keys
}

// TestShippedBlueprints loads each blueprint that the program carries, with
// the names of what it carries beside them.
func TestShippedBlueprints(t *testing.T) {
	env := Environment{Dir: "/nowhere", Arch: "x86_64", Files: fakeFiles{}}
	for list, pattern := range map[*[]string]string{&env.Overlays: "../../overlays/*/*", &env.Containerfiles: "../../containerfiles/*/*/Containerfile"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: found nothing (%v)", pattern, err)
		}
		for _, f := range found { // ../../overlays/NAME/usr, ../../containerfiles/NA/ME/Containerfile
			*list = append(*list, strings.Join(strings.Split(filepath.ToSlash(filepath.Dir(f)), "/")[3:], "/"))
		}
	}
	shipped, err := filepath.Glob("../../blueprints/*.toml")
	if err != nil || !slices.Contains(shipped, "../../blueprints/lab.toml") {
		t.Fatalf("the lab's blueprint is missing (%v)", err)
	}
	for _, name := range shipped {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		plan, problems := Load(name, src, env)
		if len(problems) > 0 {
			t.Error(problems)
			continue
		}
		checkFeedBack(t, plan)
	}
}

// jsonNames are the JSON keys of a struct type's own fields.
func jsonNames[T any]() (names []string) {
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}
