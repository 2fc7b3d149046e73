package lint

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// kargsDir holds the image's kernel arguments (bootc, "Kernel arguments").
const kargsDir = "usr/lib/bootc/kargs.d"

// A shape is what a key of a TOML file may hold; nested tables have keys of their own.
type shape struct {
	kind string // "string", "bool", "strings", "table"
	keys map[string]shape
	// values are the only ones allowed; nil allows all.
	values []string
	need   bool
}

func (s shape) with(need bool) shape { s.need = need; return s }

var (
	text    = shape{kind: "string"}
	texts   = shape{kind: "strings"}
	boolean = shape{kind: "bool"}
	rootFS  = shape{kind: "string", values: []string{"xfs", "ext4", "btrfs"}}

	kargsShape = shape{kind: "table", keys: map[string]shape{
		"kargs": texts.with(true), "match-architectures": texts,
	}}
	// installShape is [install] as bootc 1.16 has it (bootc-install-config(5)).
	installShape = shape{kind: "table", keys: map[string]shape{
		"install": {kind: "table", keys: map[string]shape{
			"root-fs-type": rootFS, "block": {kind: "strings", values: []string{"direct", "tpm2-luks"}},
			"filesystem": {kind: "table", keys: map[string]shape{
				"root": {kind: "table", keys: map[string]shape{"type": rootFS}},
			}},
			"kargs": texts, "karg-deletes": texts, "match-architectures": texts,
			"ostree":    {kind: "table", keys: map[string]shape{"bls-append-except-default": text}},
			"stateroot": text, "root-mount-spec": text, "boot-mount-spec": text,
			"bootupd":                 {kind: "table", keys: map[string]shape{"skip-boot-uuid": boolean}},
			"bootloader":              text,
			"discoverable-partitions": boolean, "enforce-container-sigpolicy": boolean,
		}},
	}}
)

// check returns what is wrong with a value, one line a fault.
func (s shape) check(at string, v any) []string {
	switch s.kind {
	case "table":
		return s.checkTable(at, v)
	case "bool":
		if _, ok := v.(bool); !ok {
			return []string{at + " is not true or false"}
		}
		return nil
	case "strings":
		list, ok := v.([]any)
		if !ok {
			return []string{at + " is not a list of strings"}
		}
		var bad []string
		for i, item := range list {
			bad = append(bad, shape{kind: "string", values: s.values}.check(fmt.Sprintf("%s[%d]", at, i), item)...)
		}
		return bad
	}
	str, ok := v.(string)
	switch {
	case !ok:
		return []string{at + " is not a string"}
	case s.values != nil && !slices.Contains(s.values, str):
		return []string{fmt.Sprintf("%s is %q, not one of %s", at, str, strings.Join(s.values, ", "))}
	case strings.ContainsAny(str, "\n\x00"):
		return []string{at + " holds a line break"}
	}
	return nil
}

func (s shape) checkTable(at string, v any) []string {
	table, ok := v.(map[string]any)
	if !ok {
		return []string{at + " is not a table"}
	}
	join := func(key string) string { return strings.TrimPrefix(at+"."+key, ".") }
	var bad []string
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if inner, ok := s.keys[key]; ok {
			bad = append(bad, inner.check(join(key), table[key])...)
		} else {
			bad = append(bad, fmt.Sprintf("key %s is not known", join(key)))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.keys)) {
		if _, there := table[key]; s.keys[key].need && !there {
			bad = append(bad, fmt.Sprintf("key %s is missing", join(key)))
		}
	}
	return bad
}

// tomlFiles parses the files of a folder and calls each with its table.
// Problems are reported where tell is true: only one lint tells them.
func (p *pass) tomlFiles(dir string, s shape, tell bool, each func(table map[string]any)) {
	for _, e := range p.dir(dir) {
		if path.Ext(e.Path) != ".toml" {
			if tell {
				p.warn(e.Path, "bootc reads files ending in .toml only", "rename or remove it")
			}
			continue
		}
		data, ok := p.read(e.Path)
		if !ok {
			continue
		}
		var table map[string]any
		var bad []string
		if err := toml.Unmarshal(data, &table); err != nil {
			bad = []string{err.Error()}
		} else {
			bad = s.check("", table)
		}
		for _, b := range bad {
			if tell {
				p.report(e.Path, b, "bootc refuses the whole file, and with it every installation and upgrade")
			}
		}
		if len(bad) == 0 {
			each(table)
		}
	}
}

func kargsFiles(p *pass) {
	if e, ok := p.follow(kargsDir); ok && !e.Mode.IsDir() {
		p.report(kargsDir, "this is not a folder", "put files ending in .toml into a folder of this name")
		return
	}
	p.tomlFiles(kargsDir, kargsShape, true, func(map[string]any) {})
}

// kargs returns the arguments of kargs.d for any architecture.
func (p *pass) kargs() (args []string) {
	p.tomlFiles(kargsDir, kargsShape, false, func(t map[string]any) { args = append(args, words(t["kargs"])...) })
	return args
}

// installDirs are where bootc looks for its installation's defaults.
var installDirs = []string{"usr/lib/bootc/install", "usr/local/lib/bootc/install", "etc/bootc/install"}

func installFiles(p *pass) {
	for _, dir := range installDirs {
		p.tomlFiles(dir, installShape, true, func(t map[string]any) {
			install, _ := t["install"].(map[string]any)
			fsType, _ := install["root-fs-type"].(string)
			if fstypes, ok := install["filesystem"].(map[string]any); ok {
				if root, ok := fstypes["root"].(map[string]any); ok && root["type"] != nil {
					fsType, _ = root["type"].(string)
				}
			}
			if fsType != "" && fsType != "ext4" {
				p.warn(dir, "the image asks for a root file system of type "+fsType+", disks are made with ext4", "")
			}
		})
	}
}

func (p *pass) installKargs() (args []string) {
	for _, dir := range installDirs {
		p.tomlFiles(dir, installShape, false, func(t map[string]any) {
			install, _ := t["install"].(map[string]any)
			args = append(args, words(install["kargs"])...)
		})
	}
	return args
}

// words splits a list of kernel arguments, of which one string may hold several.
func words(v any) (out []string) {
	list, _ := v.([]any)
	for _, item := range list {
		s, _ := item.(string)
		out = append(out, strings.Fields(s)...)
	}
	return out
}
