package blueprint

import (
	"errors"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

var (
	nameForm      = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)
	suiteForm     = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	componentForm = regexp.MustCompile(`^[a-z][a-z0-9-]*(/[a-z0-9-]+)?$`)
	// packageForm takes names of Debian and RPM packages, with an architecture
	// or a version behind; never what a package manager reads as an option.
	packageForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._:~^=-]*$`)
	secretForm  = regexp.MustCompile(`(?i)(^|_)(password|passwd|secret|token|api_?key|private_?key)(_|$)`)
	argForm     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// arches are the known values of Blueprint.Arch.
var arches = []string{"x86_64", "aarch64"}

// archAliases are other tools' names of them.
var archAliases = map[string]string{"amd64": "x86_64", "x86-64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}

// HostArch is the builder's architecture in the words of Blueprint.Arch.
func HostArch() string {
	if arch, ok := archAliases[runtime.GOARCH]; ok {
		return arch
	}
	return runtime.GOARCH
}

// head checks what stands above the tables.
func (c *checker) head(b *Blueprint) {
	if !c.doc.root.has("schema") && !c.doc.made {
		c.errorf(key("schema"), "missing-key", "write schema = 1 at the top", "%q is missing", "schema")
	} else if b.Schema != Schema && (c.doc.made || c.doc.root.at("schema").kind == kindInteger) {
		c.errorf(key("schema"), "bad-schema", "this program reads schema = 1", "schema %d is not known", b.Schema)
	}
	if c.need(b.Name, key("name"), `write name = "my-image"`) && !nameForm.MatchString(b.Name) {
		c.errorf(key("name"), "bad-name", "use up to 64 lower-case letters, digits, \"-\", \"_\" and \".\"", "%q cannot name an image", b.Name)
	}
	c.arch(b.Arch)
}

func (c *checker) arch(arch string) {
	if alias, ok := archAliases[arch]; ok {
		c.errorf(key("arch"), "bad-value", "did you mean "+strconv.Quote(alias)+"?", "%q cannot be %q", "arch", arch)
		return
	}
	c.oneOf(arch, key("arch"), arches...)
}

// base checks that there is exactly one base, and that one.
func (c *checker) base(b Base) {
	kinds := b.kinds()
	switch {
	case len(kinds) == 0 && c.doc.root.has("base") && c.doc.root.at("base").kind != kindTable:
	case len(kinds) == 0 && !c.badBase():
		c.errorf(key("base"), "missing-key", `write base.image = "registry/name@sha256:…", or layout, archive, containerfile or debian`, "the blueprint has no base")
	case len(kinds) > 1:
		c.keyf(key("base", kinds[1]), "conflict", "keep one of them", "base.%s cannot stand beside base.%s", kinds[1], kinds[0])
	}
	if c.given(b.Image, key("base", "image")) {
		c.baseImage(b.Image, key("base", "image"))
	}
	c.existing(b.Layout, key("base", "layout"), wantDir)
	c.existing(b.Archive, key("base", "archive"), wantFile)
	if c.given(b.Containerfile, key("base", "containerfile")) && !slices.Contains(c.env.Containerfiles, b.Containerfile) {
		c.existing(b.Containerfile, key("base", "containerfile"), wantAny)
	}
	c.existing(b.Context, key("base", "context"), wantDir)
	c.args(b.Args, key("base", "args"))
	for _, name := range []string{"context", "args"} {
		if b.Containerfile == "" && c.doc.root.has("base", name) {
			c.keyf(key("base", name), "conflict", "it belongs to base.containerfile", "base.%s means nothing for this base", name)
		}
	}
	c.shape(b.Shape, key("base", "shape"))
	if b.Shape != "" && b.Containerfile == "" && b.Debian == nil && len(kinds) > 0 {
		c.keyf(key("base", "shape"), "conflict", "leave it out: an image that is there has its shape", "base.shape is for bases that are built here")
	}
	if b.Debian != nil {
		c.debian(*b.Debian)
	}
}

// shape refuses the shape that the tools of Fedora's bases make: layers of
// another shape than the build's own come as an image.
func (c *checker) shape(shape string, w place) {
	if shape == ShapeEncapsulated {
		c.errorf(w, "unsupported", "build the image with base/debian-encapsulated and name it as base.layout", "encapsulated bases are not made here")
		return
	}
	c.oneOf(shape, w, ShapePlain)
}

// badBase reports whether a base was tried with a value of a wrong type.
func (c *checker) badBase() bool {
	for _, name := range []string{"image", "layout", "archive", "containerfile", "debian"} {
		if c.doc.root.has("base", name) {
			return true
		}
	}
	return false
}

// kinds are the keys that each make a base, as far as b has them.
func (b Base) kinds() []string {
	var kinds []string
	for _, k := range []struct {
		key string
		set bool
	}{
		{BaseImage, b.Image != ""}, {BaseLayout, b.Layout != ""}, {BaseArchive, b.Archive != ""},
		{BaseContainerfile, b.Containerfile != ""}, {BaseDebian, b.Debian != nil},
	} {
		if k.set {
			kinds = append(kinds, k.key)
		}
	}
	return kinds
}

func (c *checker) baseImage(image string, w place) {
	ref, why, hint := parseReference(image)
	if why != "" {
		c.errorf(w, "bad-reference", hint, "%q: %s", image, why)
		return
	}
	if ref.digest == "" {
		c.warnf(w, "unpinned-image", "name it by digest: "+ref.name+"@sha256:…", "%q may be another image tomorrow", image)
	}
}

func (c *checker) debian(d Debian) {
	w := key("base", "debian")
	if c.given(d.Suite, w.to("suite")) && !suiteForm.MatchString(d.Suite) {
		c.errorf(w.to("suite"), "bad-value", `write a code name such as "forky"`, "%q is no Debian suite", d.Suite)
	}
	if c.given(d.Mirror, w.to("mirror")) {
		u, err := url.Parse(d.Mirror)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(d.Mirror, " \t\n'\"\\") {
			c.errorf(w.to("mirror"), "bad-url", `write a URL such as "http://deb.debian.org/debian"`, "%q is no URL of a mirror", d.Mirror)
		} else if u.User != nil {
			c.errorf(w.to("mirror"), "secret", "let the mirror ask for none, or put a proxy before it", "the URL holds credentials, which would be kept in the image")
		}
	}
	for i, component := range d.Components {
		if !componentForm.MatchString(component) && c.given(component, w.to("components", i)) {
			c.errorf(w.to("components", i), "bad-value", `components are "main", "contrib", "non-free", "non-free-firmware"`, "%q is no component", component)
		}
	}
	c.unique(d.Components, func(i int) place { return w.to("components", i) }, "component")
	c.packages(d.Packages, w.to("packages"))
}

func (c *checker) packages(names []string, w place) {
	for i, name := range names {
		if c.given(name, w.to(i)) && !packageForm.MatchString(name) {
			hint := "one package name each, without blanks"
			if strings.HasPrefix(name, "@") {
				hint = "install package groups in a Containerfile"
			}
			c.errorf(w.to(i), "bad-package", hint, "%q is no package name", name)
		}
	}
	c.unique(names, func(i int) place { return w.to(i) }, "package")
}

func (c *checker) update(u Update) {
	w := key("update", "source")
	if c.need(u.Source, w, `write update.source = "registry.example.com/name:tag": where installed machines look for updates`) {
		c.updateSource(u.Source, w)
	}
	c.oneOf(u.Signature, key("update", "signature"), SignatureInsecure, SignatureEnforce)
}

func (c *checker) updateSource(source string, w place) {
	ref, why, hint := parseReference(source)
	switch {
	case why != "":
		c.errorf(w, "bad-reference", hint, "%q: %s", source, why)
	case ref.digest != "":
		c.errorf(w, "bad-reference", "name a tag: "+ref.name+":latest", "%q never changes, so that no update would ever be found", source)
	}
}

func (c *checker) containerfile(s Containerfile, w place) {
	if c.need(s.Path, w.to("path"), "") && !slices.Contains(c.env.Containerfiles, s.Path) {
		c.existing(s.Path, w.to("path"), wantAny)
	}
	c.existing(s.Context, w.to("context"), wantDir)
	c.args(s.Args, w.to("args"))
}

func (c *checker) overlay(s Overlay, w place) {
	if c.need(s.Path, w.to("path"), "") && !slices.Contains(c.env.Overlays, s.Path) {
		c.existing(s.Path, w.to("path"), wantDir)
	}
}

// args checks build arguments. Those that sound like secrets earn a warning: an
// image keeps them in its history.
func (c *checker) args(args map[string]string, w place) {
	for name, value := range args {
		if secretForm.MatchString(name) && value != "" {
			c.warnf(w.to(name), "secret", "fetch what needs it before the build", "the image's history keeps the build argument %q for every reader", name)
		}
		if !argForm.MatchString(name) {
			c.keyf(w.to(name), "bad-name", "use letters, digits and \"_\"", "%q cannot name a build argument", name)
		}
	}
}

// What a path must be.
const (
	wantAny  = ""
	wantFile = "a file"
	wantDir  = "a folder"
)

// existing checks the form of a path of the builder's disk and, if it can, the disk.
func (c *checker) existing(name string, w place, want string) {
	if !c.given(name, w) {
		return
	}
	if clean := path.Clean(name); name == "" || strings.ContainsAny(name, "\x00\n") {
		c.errorf(w, "bad-path", "", "%q is no path", name)
		return
	} else if strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/") != clean && name != "." {
		c.errorf(w, "bad-path", "did you mean "+strconv.Quote(clean)+"?", "%q is not in its shortest form", name)
		return
	}
	if c.env.Files == nil {
		return
	}
	info, err := c.env.Files.Stat(c.env.absolute(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.errorf(w, "no-such-file", c.builtinHint(name, w), "%q does not exist", name)
	case err != nil:
		c.errorf(w, "no-such-file", "", "%q cannot be looked at: %v", name, err)
	case want == wantFile && info.IsDir() || want == wantDir && !info.IsDir():
		c.errorf(w, "bad-path", "", "%q is not %s", name, want)
	}
}

// builtinHint offers a built-in of a similar name.
func (c *checker) builtinHint(name string, w place) string {
	candidates := c.env.Containerfiles
	if w[0] == "overlay" {
		candidates = c.env.Overlays
	}
	if near := nearest(name, candidates); near != "" {
		return "did you mean the built-in " + strconv.Quote(near) + "?"
	}
	return "paths start at the folder of the blueprint"
}

// absolute is a path of the blueprint from the root of the builder's disk.
func (e Environment) absolute(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(e.Dir, name)
}
