package compose

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/openshift/imagebuilder"
	"github.com/openshift/imagebuilder/dockerfile/parser"
)

// baseArg is the build argument that names the result of the step before.
const baseArg = "BASE"

// baseMark stands for that result while a Containerfile is read.
const baseMark = "result-of-the-step-before"

// A fromScan collects the images that a Containerfile names.
type fromScan struct {
	env    []string // ARG values seen so far, NAME=value
	given  map[string]string
	stages []string
	usesOn bool
}

// imagesOf returns the names of images that the Containerfile takes from
// elsewhere, each as written and, where that differs, with arguments filled in. A step
// must build on the step before.
func imagesOf(text []byte, args map[string]string, isStep bool) ([]fromWord, error) {
	root, err := imagebuilder.ParseDockerfile(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading the Containerfile: %w: %w", err, ErrUsage)
	}
	s := &fromScan{given: args}
	if isStep {
		s.env = append(s.env, baseArg+"="+baseMark)
	}
	var out []fromWord
	for _, n := range root.Children {
		words, err := s.instruction(n)
		if err != nil {
			return nil, fmt.Errorf("reading the Containerfile, line %d: %w: %w", n.StartLine, err, ErrUsage)
		}
		for _, w := range words {
			f, skip, err := s.resolve(w)
			if err != nil {
				return nil, fmt.Errorf("reading the Containerfile, line %d: %w: %w", n.StartLine, err, ErrUsage)
			}
			if !skip && !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
		if strings.EqualFold(n.Value, "FROM") {
			s.stages = append(s.stages, stageAlias(n))
		}
	}
	if isStep && !s.usesOn {
		return nil, fmt.Errorf("the Containerfile does not build on the step before: %w\nhint: begin with ARG %s and FROM ${%s}", ErrUsage, baseArg, baseArg)
	}
	return out, nil
}

// A fromWord is one image name of a Containerfile.
type fromWord struct{ written, name string }

// instruction returns the words of one instruction that name images or stages.
func (s *fromScan) instruction(n *parser.Node) ([]string, error) {
	switch strings.ToUpper(n.Value) {
	case "ARG":
		if len(s.stages) == 0 {
			s.arg(n)
		}
	case "FROM":
		if n.Next == nil {
			return nil, fmt.Errorf("FROM names no image")
		}
		return []string{n.Next.Value}, nil
	case "COPY", "ADD":
		for _, f := range n.Flags {
			if v, ok := strings.CutPrefix(f, "--from="); ok {
				return []string{v}, nil
			}
		}
	case "RUN":
		var out []string
		for _, f := range n.Flags {
			if !strings.HasPrefix(f, "--mount=") {
				continue
			}
			for _, field := range strings.Split(strings.TrimPrefix(f, "--mount="), ",") {
				if v, ok := strings.CutPrefix(field, "from="); ok {
					out = append(out, v)
				}
			}
		}
		return out, nil
	}
	return nil, nil
}

// arg keeps the value of a heading ARG: given, or its default.
func (s *fromScan) arg(n *parser.Node) {
	for a := n.Next; a != nil; a = a.Next {
		name, def, _ := strings.Cut(a.Value, "=")
		if name == baseArg && len(s.env) > 0 && strings.HasPrefix(s.env[0], baseArg+"=") {
			continue
		}
		v, ok := s.given[name]
		if !ok {
			v = strings.Trim(def, `"'`)
		}
		s.env = append(s.env, name+"="+v)
	}
}

func (s *fromScan) resolve(w string) (f fromWord, skip bool, err error) {
	name, err := imagebuilder.ProcessWord(w, s.env)
	if err != nil {
		return f, false, err
	}
	if name == baseMark {
		s.usesOn = true
		return f, true, nil
	}
	if name == "" {
		return f, false, fmt.Errorf("%q names no image: an argument has no value", w)
	}
	if _, err := strconv.Atoi(name); err == nil || name == "scratch" || slices.Contains(s.stages, name) {
		return f, true, nil
	}
	return fromWord{w, name}, false, nil
}

// stageAlias returns NAME of FROM image AS NAME.
func stageAlias(n *parser.Node) string {
	if n.Next != nil && n.Next.Next != nil && strings.EqualFold(n.Next.Next.Value, "as") && n.Next.Next.Next != nil {
		return n.Next.Next.Next.Value
	}
	return ""
}
