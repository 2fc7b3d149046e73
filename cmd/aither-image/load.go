package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aitheros/aither-image/blueprints"
	"github.com/aitheros/aither-image/containerfiles"
	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/overlays"
)

// maxBlueprint bounds what is read as a blueprint, in bytes.
const maxBlueprint = 4 << 20

// load makes the plan that the flags and the one argument ask for.
func (p *program) load(f *planFlags, args []string) (*blueprint.Plan, error) {
	plan, err := p.loadSource(f, args)
	if err != nil {
		return nil, err
	}
	if f.config != "" {
		src, err := readSource(f.config, p.stdin)
		if err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
		merged, problems := plan.WithConfig(f.config, src)
		if err := errors.Join(warn(p.stderr, problems), problems.Err()); err != nil {
			return nil, err
		}
		plan = merged
	}
	f.apply(plan)
	if err := plan.Validate("command line").Err(); err != nil {
		return nil, err
	}
	return plan, nil
}

// loadSource reads the blueprint or plan, or makes a plan of --image.
func (p *program) loadSource(f *planFlags, args []string) (*blueprint.Plan, error) {
	switch {
	case f.image != "" && len(args) > 0:
		return nil, &usageError{err: fmt.Errorf("--image and a blueprint at once\nhint: an existing image needs no blueprint; --config changes the machine")}
	case f.image != "":
		env, err := environment(".", f)
		if err != nil {
			return nil, err
		}
		return blueprint.PlanOfImage(f.image, f.source, env)
	case len(args) == 0:
		return nil, &usageError{err: fmt.Errorf("the blueprint is missing\nhint: name a file, one of the built-in ones (%s), or --image", strings.Join(builtins(), ", "))}
	}
	name, src, dir, err := p.source(args[0])
	if err != nil {
		return nil, err
	}
	env, err := environment(dir, f)
	if err != nil {
		return nil, err
	}
	plan, problems := blueprint.Load(name, withoutExplanation(src), env)
	if err := errors.Join(warn(p.stderr, problems), problems.Err()); err != nil {
		return nil, err
	}
	return plan, nil
}

// apply puts flags over what the blueprint says.
func (f *planFlags) apply(plan *blueprint.Plan) {
	if len(f.types) > 0 {
		plan.Output.Types = f.types
	}
	for _, s := range []struct {
		to   *string
		from string
	}{{&plan.Disk.RootFS, f.rootfs}, {&plan.Seed, f.seed}, {&plan.Output.Compress, f.compress}, {&plan.Arch, f.arch}, {&plan.Update.Source, f.source}} {
		if s.from != "" {
			*s.to = s.from
		}
	}
}

// source finds a blueprint: "-" is stdin, a bare word without a file of that
// name is built in. dir is where its relative paths start.
func (p *program) source(arg string) (name string, src []byte, dir string, err error) {
	if slices.Contains(builtins(), arg) {
		if _, err := os.Stat(arg); errors.Is(err, fs.ErrNotExist) || isDir(arg) {
			src, err := blueprints.FS.ReadFile(arg + ".toml")
			return arg + ".toml", src, ".", err
		}
	}
	src, err = readSource(arg, p.stdin)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(arg, "./") {
		err = &usageError{err: fmt.Errorf("%q is neither a file nor built in\nhint: built in are %s", arg, strings.Join(builtins(), ", "))}
	}
	if arg == "-" {
		return "stdin", src, ".", err
	}
	return arg, src, filepath.Dir(arg), err
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}

func readSource(name string, stdin io.Reader) (b []byte, err error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // only read from
		r = f
	}
	b, err = io.ReadAll(io.LimitReader(r, maxBlueprint+1))
	if err == nil && len(b) > maxBlueprint {
		err = fmt.Errorf("%s is longer than %d bytes", name, maxBlueprint)
	}
	return b, err
}

// environment is what a blueprint in dir is checked against.
func environment(dir string, f *planFlags) (blueprint.Environment, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return blueprint.Environment{}, err
	}
	arch := f.arch
	if arch == "" {
		arch = blueprint.HostArch()
	}
	return blueprint.Environment{Dir: abs, Arch: arch, Seed: f.seed, Files: realFiles{},
		Containerfiles: recipes(), Overlays: overlayNames()}, nil
}

type realFiles struct{}

var _ blueprint.Files = realFiles{}

// Stat is os.Stat.
func (realFiles) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// builtins are the names of the shipped blueprints.
func builtins() (names []string) {
	ents, err := blueprints.FS.ReadDir(".")
	if err != nil {
		panic("internal error: " + err.Error())
	}
	for _, e := range ents {
		names = append(names, strings.TrimSuffix(e.Name(), ".toml"))
	}
	return names
}

// recipes are the folders of the shipped build contexts that hold a Containerfile.
func recipes() (names []string) {
	err := fs.WalkDir(containerfiles.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "Containerfile" {
			names = append(names, path.Dir(name))
		}
		return err
	})
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return names
}

func overlayNames() (names []string) {
	ents, err := overlays.FS.ReadDir(".")
	if err != nil {
		panic("internal error: " + err.Error())
	}
	for _, e := range ents {
		names = append(names, e.Name())
	}
	return names
}

// explanationKey holds in the JSON of a plan what plan says for people.
const explanationKey = "explanation"

func withExplanation(plan []byte, e any) ([]byte, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(plan, &fields); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	fields[explanationKey] = text
	out, err := json.MarshalIndent(fields, "", "  ")
	return append(out, '\n'), err
}

// withoutExplanation takes out again what withExplanation put in. Anything else
// stays as it is, so that messages keep their places.
func withoutExplanation(src []byte) []byte {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(src, &fields) != nil || fields["plan"] == nil || fields[explanationKey] == nil {
		return src
	}
	delete(fields, explanationKey)
	out, err := json.Marshal(fields)
	if err != nil {
		return src
	}
	return out
}
