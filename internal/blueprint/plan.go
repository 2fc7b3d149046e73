package blueprint

// PlanVersion is the version of the plan that this package reads and writes.
const PlanVersion = 1

// A Plan is a Blueprint with every default filled in and every path absolute:
// a plain value that prints as TOML and JSON and can be loaded again. Two equal
// plans build the same bytes.
type Plan struct {
	// Version is PlanVersion; its key makes a file a plan and not a blueprint.
	Version     int    `toml:"plan" json:"plan"`
	Name        string `toml:"name" json:"name"`
	Description string `toml:"description,omitempty" json:"description,omitempty"`
	// Arch is "x86_64" or "aarch64".
	Arch string `toml:"arch" json:"arch"`
	// Seed is mixed into every identifier; empty is the image's digest alone.
	Seed string `toml:"seed,omitempty" json:"seed,omitempty"`
	// Packages are installed before the first step.
	Packages []string `toml:"packages,omitempty" json:"packages,omitempty"`

	Base   PlanBase   `toml:"base" json:"base"`
	Update PlanUpdate `toml:"update" json:"update"`
	Steps  []Step     `toml:"step,omitempty" json:"step,omitempty"`
	Disk   PlanDisk   `toml:"disk" json:"disk"`
	Kernel PlanKernel `toml:"kernel" json:"kernel"`
	Output PlanOutput `toml:"output" json:"output"`
	// Customizations hold only what changes /etc and /var, and the installer's:
	// kernel arguments and sizes have been moved to Kernel and Disk, keys of
	// [[customizations.sshkey]] to their users.
	Customizations Customizations `toml:"customizations,omitempty" json:"customizations,omitzero"`
}

// PlanBase is the base; Kind says which fields count.
type PlanBase struct {
	// Kind is one of BaseImage, BaseLayout, BaseArchive, BaseContainerfile
	// and BaseDebian.
	Kind string `toml:"kind" json:"kind"`
	// Reference is the registry reference of BaseImage, with its tag or digest,
	// or "containers-storage:NAME"; of a layout or an archive with several
	// images it is the name of the one.
	Reference string `toml:"reference,omitempty" json:"reference,omitempty"`
	// Path is the absolute path of a layout, an archive or a Containerfile.
	Path string `toml:"path,omitempty" json:"path,omitempty"`
	// Builtin names a Containerfile that the program carries, in place of Path.
	Builtin string `toml:"builtin,omitempty" json:"builtin,omitempty"`
	// Context is the absolute build context of a Containerfile by path.
	Context string            `toml:"context,omitempty" json:"context,omitempty"`
	Shape   string            `toml:"shape,omitempty" json:"shape,omitempty"`
	Args    map[string]string `toml:"args,omitempty" json:"args,omitempty"`
	Debian  *Debian           `toml:"debian,omitempty" json:"debian,omitempty"`
}

// The values of PlanBase.Kind.
const (
	BaseImage         = "image"
	BaseLayout        = "layout"
	BaseArchive       = "archive"
	BaseContainerfile = "containerfile"
	BaseDebian        = "debian"
)

// PlanUpdate is Update, filled in.
type PlanUpdate struct {
	Source    string `toml:"source" json:"source"`
	Signature string `toml:"signature" json:"signature"`
}

// A Step changes the image: a Containerfile built on it or an overlay put over it.
type Step struct {
	// Kind is StepContainerfile or StepOverlay.
	Kind string `toml:"kind" json:"kind"`
	// Builtin names what the program carries; else Path is absolute: a
	// Containerfile, or an overlay's folder.
	Builtin string            `toml:"builtin,omitempty" json:"builtin,omitempty"`
	Path    string            `toml:"path,omitempty" json:"path,omitempty"`
	Context string            `toml:"context,omitempty" json:"context,omitempty"`
	Args    map[string]string `toml:"args,omitempty" json:"args,omitempty"`
}

// The values of Step.Kind.
const (
	StepContainerfile = "containerfile"
	StepOverlay       = "overlay"
)

// PlanDisk is the input of the partition planner. A size of 0 is left to its
// rules; any other is a minimum.
type PlanDisk struct {
	Layout   string `toml:"layout" json:"layout"`
	RootFS   string `toml:"rootfs" json:"rootfs"`
	Size     Size   `toml:"size" json:"size"`
	ESPSize  Size   `toml:"esp_size" json:"esp_size"`
	BootSize Size   `toml:"boot_size" json:"boot_size"`
	RootSize Size   `toml:"root_size" json:"root_size"`
	RootFree Size   `toml:"root_free" json:"root_free"`

	ESPLabel  string `toml:"esp_label" json:"esp_label"`
	BootLabel string `toml:"boot_label" json:"boot_label"`
	RootLabel string `toml:"root_label" json:"root_label"`
	Grow      bool   `toml:"grow" json:"grow"`
}

// PlanKernel is every kernel argument that the blueprint adds, in order.
type PlanKernel struct {
	Append []string `toml:"append" json:"append"`
}

// PlanOutput is Output, filled in.
type PlanOutput struct {
	Types         []string `toml:"types" json:"types"`
	SerialConsole bool     `toml:"serial_console" json:"serial_console"`
	Compress      string   `toml:"compress" json:"compress"`
}
