package blueprint

import "reflect"

// A config is bootc-image-builder's config.toml or config.json: osbuild's
// blueprint with customizations alone.
type config struct {
	Name           string         `toml:"name"`
	Description    string         `toml:"description"`
	Version        string         `toml:"version"`
	Customizations Customizations `toml:"customizations"`
}

// WithConfig is the plan with the customizations of bootc-image-builder's
// config.toml or config.json merged over it: single values replace, kernel
// arguments are added, users, groups, files and directories replace those of
// the same name. With errors the plan is nil.
func (p *Plan) WithConfig(name string, src []byte) (*Plan, Problems) {
	doc := parseAny(name, src)
	// Old configurations have everything one level deeper.
	if inner := doc.root.fields["blueprint"]; inner != nil && inner.kind == kindTable && len(doc.root.fields) == 1 {
		doc.root = inner
	}
	var cfg config
	decoder{doc}.decode(doc.root, reflect.ValueOf(&cfg).Elem(), "")
	c := newChecker(doc, Environment{})
	c.customizations(cfg.Customizations, "")
	problems := append(doc.problems, c.result()...).sorted()
	if problems.Err() != nil {
		return nil, problems
	}
	merged := *p
	merged.Kernel.Append = append([]string{}, p.Kernel.Append...)
	merged.customize(cfg.Customizations)
	problems = append(problems, merged.Validate(name)...).sorted()
	if problems.Err() != nil {
		return nil, problems
	}
	return &merged, problems
}
