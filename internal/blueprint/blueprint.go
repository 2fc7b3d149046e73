// Package blueprint is the language in which an image is described: Parse,
// Validate, Resolve to a Plan. It opens no file and asks no network, and it
// refuses what it does not know: unknown keys, plaintext passwords and the
// customizations that this project does not support, each by name.
package blueprint

// Schema is the version of the language that this package reads.
const Schema = 1

// A Blueprint is what a person wrote: every key optional but schema, name and
// base, nothing filled in. Resolve makes a Plan of it.
type Blueprint struct {
	// Schema is the version of the language, 1.
	Schema int `toml:"schema" json:"schema"`
	// Name names the image: lower-case letters, digits, "-", "_" and ".".
	Name        string `toml:"name" json:"name"`
	Description string `toml:"description,omitempty" json:"description,omitempty"`
	// Arch is "x86_64" or "aarch64"; empty is the builder's.
	Arch string `toml:"arch,omitempty" json:"arch,omitempty"`

	Base   Base   `toml:"base" json:"base"`
	Update Update `toml:"update,omitempty" json:"update,omitzero"`
	// Packages are installed on top of the base with the base's own package
	// manager, before any step.
	Packages []string `toml:"packages,omitempty" json:"packages,omitempty"`
	// Containerfiles and Overlays are applied in the order in which they stand
	// in the file, whichever of the two they are; Steps gives that order.
	Containerfiles []Containerfile `toml:"containerfile,omitempty" json:"containerfile,omitempty"`
	Overlays       []Overlay       `toml:"overlay,omitempty" json:"overlay,omitempty"`

	Disk           Disk           `toml:"disk,omitempty" json:"disk,omitzero"`
	Kernel         Kernel         `toml:"kernel,omitempty" json:"kernel,omitzero"`
	Output         Output         `toml:"output,omitempty" json:"output,omitzero"`
	Customizations Customizations `toml:"customizations,omitempty" json:"customizations,omitzero"`

	// doc is where each value stood; nil for a Blueprint made in Go.
	doc *document
}

// Base is what the image is built on: exactly one of Image, Layout, Archive,
// Containerfile and Debian.
type Base struct {
	// Image is a registry reference, best by digest ("host/name@sha256:…").
	Image string `toml:"image,omitempty" json:"image,omitempty"`
	// Layout is the folder of an OCI layout.
	Layout string `toml:"layout,omitempty" json:"layout,omitempty"`
	// Archive is the file of an oci-archive.
	Archive string `toml:"archive,omitempty" json:"archive,omitempty"`
	// Containerfile is a Containerfile, or the name of a built-in one.
	Containerfile string `toml:"containerfile,omitempty" json:"containerfile,omitempty"`
	// Context is the build context of Containerfile; its own folder if empty.
	Context string `toml:"context,omitempty" json:"context,omitempty"`
	// Args are the build arguments of Containerfile.
	Args map[string]string `toml:"args,omitempty" json:"args,omitempty"`
	// Debian is the package list of a Debian base.
	Debian *Debian `toml:"debian,omitempty" json:"debian,omitempty"`
	// Shape is how the layers of a base that we build ourselves are cut:
	// ShapePlain, the default. ShapeEncapsulated is refused by name.
	Shape string `toml:"shape,omitempty" json:"shape,omitempty"`
}

// The shapes of a base; see Base.Shape.
const (
	ShapePlain        = "plain"
	ShapeEncapsulated = "encapsulated"
)

// Debian is a base made of Debian packages by the built-in Containerfile "base/debian".
type Debian struct {
	// Suite is a code name, "forky" by default.
	Suite string `toml:"suite,omitempty" json:"suite,omitempty"`
	// Mirror is the URL of a package mirror, http://deb.debian.org/debian by default.
	Mirror string `toml:"mirror,omitempty" json:"mirror,omitempty"`
	// Components are the archive's components, "main" by default.
	Components []string `toml:"components,omitempty" json:"components,omitempty"`
	// Packages are added to the base's own list.
	Packages []string `toml:"packages,omitempty" json:"packages,omitempty"`
}

// Update is where the installed machine looks for its next version.
type Update struct {
	// Source is a registry reference with a tag.
	Source string `toml:"source,omitempty" json:"source,omitempty"`
	// Signature is SignatureInsecure (the default) or SignatureEnforce: whether
	// the machine's containers-policy.json must vouch for the image.
	Signature string `toml:"signature,omitempty" json:"signature,omitempty"`
}

// The signature policies of Update.Signature.
const (
	SignatureInsecure = "insecure"
	SignatureEnforce  = "enforce"
)

// A Containerfile is one more build on top of the image so far.
type Containerfile struct {
	// Path is the name of a built-in Containerfile, a Containerfile, or the
	// folder of one, relative to the blueprint.
	Path string `toml:"path" json:"path"`
	// Context is the build context; the Containerfile's own folder if empty.
	Context string            `toml:"context,omitempty" json:"context,omitempty"`
	Args    map[string]string `toml:"args,omitempty" json:"args,omitempty"`
}

// An Overlay is a folder of files put over the image as one layer.
type Overlay struct {
	// Path is the name of a built-in overlay or a folder relative to the blueprint.
	Path string `toml:"path" json:"path"`
}

// Disk is the disk's shape. Sizes are minima; a size that is nil follows the rules.
type Disk struct {
	// Layout is LayoutUnified (the default) or LayoutSeparateBoot.
	Layout string `toml:"layout,omitempty" json:"layout,omitempty"`
	// RootFS is the root file system, "ext4".
	RootFS   string `toml:"rootfs,omitempty" json:"rootfs,omitempty"`
	Size     *Size  `toml:"size,omitempty" json:"size,omitempty"`
	ESPSize  *Size  `toml:"esp_size,omitempty" json:"esp_size,omitempty"`
	BootSize *Size  `toml:"boot_size,omitempty" json:"boot_size,omitempty"`
	RootSize *Size  `toml:"root_size,omitempty" json:"root_size,omitempty"`
	// RootFree is the least free space in the root file system as built.
	RootFree  *Size  `toml:"root_free,omitempty" json:"root_free,omitempty"`
	ESPLabel  string `toml:"esp_label,omitempty" json:"esp_label,omitempty"`
	BootLabel string `toml:"boot_label,omitempty" json:"boot_label,omitempty"`
	RootLabel string `toml:"root_label,omitempty" json:"root_label,omitempty"`
	// Grow says whether the root grows to the medium at first boot; nil is yes.
	Grow *bool `toml:"grow,omitempty" json:"grow,omitempty"`
}

// The disk layouts of Disk.Layout.
const (
	LayoutUnified      = "unified"       // /boot inside the root file system
	LayoutSeparateBoot = "separate-boot" // /boot on an ext4 of its own
)

// Kernel is what is added to the kernel's command line.
type Kernel struct {
	// Append are single arguments, without blanks outside double quotes.
	Append []string `toml:"append,omitempty" json:"append,omitempty"`
}

// Output is what files are written.
type Output struct {
	// Types are out of OutputTypes.
	Types []string `toml:"types,omitempty" json:"types,omitempty"`
	// SerialConsole adds a serial console, to the qcow2 only; nil is yes.
	SerialConsole *bool `toml:"serial_console,omitempty" json:"serial_console,omitempty"`
	// Compress is the compression of the qcow2's clusters: "none" (default), "zlib" or "zstd".
	Compress string `toml:"compress,omitempty" json:"compress,omitempty"`
}

// OutputTypes are the known values of Output.Types, in the order help prints them.
var OutputTypes = []string{"raw", "qcow2"}
