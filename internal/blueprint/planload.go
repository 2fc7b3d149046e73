package blueprint

import (
	"bytes"
	"cmp"
	"path"
	"reflect"
	"slices"
	"strings"
)

// Load reads a blueprint or a plan, as TOML or JSON, and returns the plan with
// everything that was found, warnings included. With errors the plan is nil. A
// plan says plan = 1 where a blueprint says schema = 1.
func Load(name string, src []byte, env Environment) (*Plan, Problems) {
	doc := parseAny(name, src)
	if doc.root.has("plan") {
		return loadPlan(doc, env)
	}
	b := &Blueprint{doc: doc}
	decoder{doc}.decode(doc.root, reflect.ValueOf(b).Elem(), "")
	problems := append(slices.Clone(doc.problems), b.Validate(env)...).sorted()
	if problems.Err() != nil {
		return nil, problems
	}
	plan, err := b.Resolve(env)
	if err != nil { // unreachable: Resolve refuses what Validate reports
		return nil, append(problems, Problem{File: name, Severity: Error, Code: "internal-error", Text: err.Error()})
	}
	// What only shows when all parts are together has no place in the file;
	// warnings have been given with their places.
	if err := plan.Validate(name).Err(); err != nil {
		return nil, append(problems, plan.Validate(name)...).sorted()
	}
	return plan, problems
}

func isJSON(src []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(src, " \t\r\n"), []byte("{"))
}

func parseAny(name string, src []byte) *document {
	if isJSON(src) {
		return parseJSON(name, src)
	}
	return parseTOML(name, src)
}

func loadPlan(doc *document, env Environment) (*Plan, Problems) {
	plan := &Plan{}
	decoder{doc}.decode(doc.root, reflect.ValueOf(plan).Elem(), "")
	problems := append(slices.Clone(doc.problems), plan.validate(newChecker(doc, env))...).sorted()
	if problems.Err() != nil {
		return nil, problems
	}
	return plan, problems
}

// Validate reports what is wrong with a plan that was made or changed in Go;
// name stands for the file in messages.
func (p *Plan) Validate(name string) Problems {
	c := newChecker(nil, Environment{})
	c.doc.name = name
	return p.validate(c)
}

func (p *Plan) validate(c *checker) Problems {
	if p.Version != PlanVersion {
		c.errorf(key("plan"), "bad-schema", "this program reads plan = 1", "plan %d is not known", p.Version)
	}
	if c.need(p.Name, key("name"), "") && !nameForm.MatchString(p.Name) {
		c.errorf(key("name"), "bad-name", "", "%q cannot name an image", p.Name)
	}
	if c.need(p.Arch, key("arch"), "") {
		c.arch(p.Arch)
	}
	c.packages(p.Packages, key("packages"))
	c.planBase(p.Base)
	if c.need(p.Update.Source, key("update", "source"), "say where installed machines look for updates: registry.example.com/name:tag") {
		c.updateSource(p.Update.Source, key("update", "source"))
	}
	if c.need(p.Update.Signature, key("update", "signature"), "") {
		c.oneOf(p.Update.Signature, key("update", "signature"), SignatureInsecure, SignatureEnforce)
	}
	for i, s := range p.Steps {
		c.step(s, key("step", i))
	}
	c.planDisk(p.Disk)
	c.kernelArgs(p.Kernel.Append, key("kernel", "append"))
	c.output(p.Output.Types, p.Output.Compress)
	if len(p.Output.Types) == 0 {
		c.errorf(key("output", "types"), "missing-key", "", "the plan has no output")
	}
	c.planCustomizations(p.Customizations)
	return c.result()
}

// planBase checks that a base has what its kind needs.
func (c *checker) planBase(b PlanBase) {
	w := key("base")
	if !c.need(b.Kind, w.to("kind"), "") ||
		!c.oneOf(b.Kind, w.to("kind"), BaseImage, BaseLayout, BaseArchive, BaseContainerfile, BaseDebian) {
		return
	}
	switch b.Kind {
	case BaseImage:
		if c.need(b.Reference, w.to("reference"), "") && !strings.HasPrefix(b.Reference, localStorage) {
			c.baseImage(b.Reference, w.to("reference"))
		}
	case BaseDebian:
		if b.Debian == nil {
			c.errorf(w.to("debian"), "missing-key", "", "%q is missing", w.to("debian"))
		}
	case BaseContainerfile:
		c.builtinOrPath(b.Builtin, b.Path, w)
	default:
		c.absolutePath(b.Path, w.to("path"))
	}
	if b.Debian != nil {
		c.debian(*b.Debian)
	}
	c.args(b.Args, w.to("args"))
	c.shape(b.Shape, w.to("shape"))
}

func (c *checker) step(s Step, w place) {
	if c.need(s.Kind, w.to("kind"), "") {
		c.oneOf(s.Kind, w.to("kind"), StepContainerfile, StepOverlay)
	}
	c.builtinOrPath(s.Builtin, s.Path, w)
	c.args(s.Args, w.to("args"))
}

func (c *checker) builtinOrPath(builtin, file string, w place) {
	if builtin != "" && file != "" {
		c.keyf(w.to("path"), "conflict", "keep one of the two", "%s cannot stand beside %s", w.to("path"), w.to("builtin"))
	} else if builtin == "" {
		c.absolutePath(file, w.to("path"))
	}
}

// absolutePath checks a path of the builder's disk in a plan.
func (c *checker) absolutePath(file string, w place) {
	if c.need(file, w, "") && (!path.IsAbs(file) || path.Clean(file) != file) {
		c.errorf(w, "bad-path", "plans hold absolute paths", "%q is not an absolute path in its shortest form", file)
	}
}

func (c *checker) planDisk(d PlanDisk) {
	w := key("disk")
	if c.need(d.Layout, w.to("layout"), "") {
		c.oneOf(d.Layout, w.to("layout"), LayoutUnified, LayoutSeparateBoot)
	}
	if c.need(d.RootFS, w.to("rootfs"), "") {
		c.fileSystem(d.RootFS, w.to("rootfs"), "ext4")
	}
	for _, s := range []struct {
		name  string
		size  Size
		least Size
	}{
		{"size", d.Size, minESP + minRoot}, {"esp_size", d.ESPSize, minESP}, {"boot_size", d.BootSize, minBoot},
		{"root_size", d.RootSize, 1}, {"root_free", d.RootFree, 1},
	} {
		if s.size != 0 {
			c.size(&s.size, w.to(s.name), s.least)
		}
	}
	c.labels(Disk{ESPLabel: d.ESPLabel, BootLabel: d.BootLabel, RootLabel: d.RootLabel})
}

// planCustomizations refuses what a plan holds elsewhere.
func (c *checker) planCustomizations(z Customizations) {
	w := key("customizations")
	for _, moved := range []struct {
		name, to string
		set      bool
	}{
		{"kernel", "kernel", z.Kernel != nil}, {"sshkey", "customizations.user", z.SSHKeys != nil},
		{"filesystem", "disk", z.Filesystems != nil}, {"disk", "disk", z.Disk != nil},
	} {
		if moved.set {
			c.keyf(w.to(moved.name), "conflict", "a plan has it in "+moved.to, "%q cannot stand in a plan", w.to(moved.name))
		}
	}
	z.Kernel, z.SSHKeys, z.Filesystems, z.Disk = nil, nil, nil, nil
	c.customizations(z, "")
}

// localStorage begins references of images in the builder's own storage.
const localStorage = "containers-storage:"

// PlanOfImage is the plan that only makes disks of an image that is there:
// registry references, "oci:DIR[:NAME]", "oci-archive:FILE" and
// "containers-storage:NAME". source is where the machine looks for updates; of
// a registry reference with a tag it may be empty.
func PlanOfImage(image, source string, env Environment) (*Plan, error) {
	base := PlanBase{Kind: BaseImage, Reference: strings.TrimPrefix(strings.TrimPrefix(image, "docker://"), "registry:")}
	transport, rest, _ := strings.Cut(image, ":")
	file, name, _ := strings.Cut(rest, ":")
	switch transport {
	case "oci":
		base = PlanBase{Kind: BaseLayout, Path: env.absolute(file), Reference: name}
	case "oci-archive":
		base = PlanBase{Kind: BaseArchive, Path: env.absolute(file), Reference: name}
	case "containers-storage":
		base.Reference = image
	default:
		base.Reference = withTag(base.Reference)
		if ref, _, _ := parseReference(base.Reference); source == "" && ref.tag != "" {
			source = ref.name + ":" + ref.tag
		}
	}
	p := &Plan{
		Version: PlanVersion, Name: imageName(base), Arch: cmp.Or(env.Arch, HostArch()), Seed: env.Seed, Base: base,
		Update: PlanUpdate{Source: withTag(source), Signature: SignatureInsecure},
		Disk:   defaultDisk(), Kernel: PlanKernel{Append: []string{}},
		Output: PlanOutput{Types: slices.Clone(OutputTypes), SerialConsole: true, Compress: "none"},
	}
	return p, p.Validate(image).Err()
}

// imageName is the last word of an image's reference or path, or "image".
func imageName(b PlanBase) string {
	name := path.Base(cmp.Or(b.Path, b.Reference))
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	name = strings.TrimSuffix(strings.ToLower(name), ".tar")
	if !nameForm.MatchString(name) {
		return "image"
	}
	return name
}
