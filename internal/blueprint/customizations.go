package blueprint

// Customizations are osbuild's, with its keys and meanings; they change the
// deployment's /etc and /var and the kernel command line at image build time.
// What is missing here is refused by name.
// Reference: https://osbuild.org/docs/user-guide/blueprint-reference
type Customizations struct {
	Hostname    string             `toml:"hostname,omitempty" json:"hostname,omitempty"`
	Kernel      *KernelArgs        `toml:"kernel,omitempty" json:"kernel,omitempty"`
	SSHKeys     []SSHKey           `toml:"sshkey,omitempty" json:"sshkey,omitempty"`
	Users       []User             `toml:"user,omitempty" json:"user,omitempty"`
	Groups      []Group            `toml:"group,omitempty" json:"group,omitempty"`
	Timezone    *Timezone          `toml:"timezone,omitempty" json:"timezone,omitempty"`
	Locale      *Locale            `toml:"locale,omitempty" json:"locale,omitempty"`
	Filesystems []Filesystem       `toml:"filesystem,omitempty" json:"filesystem,omitempty"`
	Disk        *DiskCustomization `toml:"disk,omitempty" json:"disk,omitempty"`
	Directories []Directory        `toml:"directories,omitempty" json:"directories,omitempty"`
	Files       []File             `toml:"files,omitempty" json:"files,omitempty"`
	Installer   *Installer         `toml:"installer,omitempty" json:"installer,omitempty"`
}

// KernelArgs is customizations.kernel; its osbuild key "name" is refused.
type KernelArgs struct {
	// Append is a blank-separated list of arguments.
	Append string `toml:"append,omitempty" json:"append,omitempty"`
}

// An SSHKey gives a key to a user; the user is made when there is none.
type SSHKey struct {
	User string `toml:"user" json:"user"`
	Key  string `toml:"key" json:"key"`
}

// A User is an account of the image.
type User struct {
	Name        string `toml:"name" json:"name"`
	Description string `toml:"description,omitempty" json:"description,omitempty"`
	// Password is a crypt(5) hash, or "!" or "*" for none. Plain text is refused.
	Password string `toml:"password,omitempty" json:"password,omitempty"`
	// Key holds one public key a line, as authorized_keys does.
	Key    string   `toml:"key,omitempty" json:"key,omitempty"`
	Home   string   `toml:"home,omitempty" json:"home,omitempty"`
	Shell  string   `toml:"shell,omitempty" json:"shell,omitempty"`
	Groups []string `toml:"groups,omitempty" json:"groups,omitempty"`
	UID    *int     `toml:"uid,omitempty" json:"uid,omitempty"`
	GID    *int     `toml:"gid,omitempty" json:"gid,omitempty"`
	// ExpireDate is in days since 1970-01-01, as in shadow(5).
	ExpireDate *int `toml:"expiredate,omitempty" json:"expiredate,omitempty"`
	// ForcePasswordReset makes the first login ask for a new password.
	ForcePasswordReset *bool `toml:"force_password_reset,omitempty" json:"force_password_reset,omitempty"`
}

// A Group is a group of the image.
type Group struct {
	Name string `toml:"name" json:"name"`
	GID  *int   `toml:"gid,omitempty" json:"gid,omitempty"`
}

// Timezone is the time zone and the servers of the time.
type Timezone struct {
	Timezone   string   `toml:"timezone,omitempty" json:"timezone,omitempty"`
	NTPServers []string `toml:"ntpservers,omitempty" json:"ntpservers,omitempty"`
}

// Locale is the language and the keyboard.
type Locale struct {
	// Languages are locales as "en_US.UTF-8"; the first is the system's.
	Languages []string `toml:"languages,omitempty" json:"languages,omitempty"`
	Keyboard  string   `toml:"keyboard,omitempty" json:"keyboard,omitempty"`
}

// A Filesystem asks for a least size of "/" or "/boot".
type Filesystem struct {
	Mountpoint string `toml:"mountpoint" json:"mountpoint"`
	MinSize    *Size  `toml:"minsize,omitempty" json:"minsize,omitempty"`
	// Size is osbuild's old name of MinSize.
	Size *Size `toml:"size,omitempty" json:"size,omitempty"`
}

// DiskCustomization is osbuild's partition table; only gpt and plain
// partitions are supported.
type DiskCustomization struct {
	Type       string      `toml:"type,omitempty" json:"type,omitempty"`
	MinSize    *Size       `toml:"minsize,omitempty" json:"minsize,omitempty"`
	Partitions []Partition `toml:"partitions,omitempty" json:"partitions,omitempty"`
}

// A Partition sets the size and label of "/", "/boot" or "/boot/efi". Further
// partitions are refused, and identifiers: those are derived from the image.
type Partition struct {
	// Type is "plain"; "lvm" and "btrfs" are refused.
	Type       string `toml:"type,omitempty" json:"type,omitempty"`
	MinSize    *Size  `toml:"minsize,omitempty" json:"minsize,omitempty"`
	Mountpoint string `toml:"mountpoint,omitempty" json:"mountpoint,omitempty"`
	Label      string `toml:"label,omitempty" json:"label,omitempty"`
	FSType     string `toml:"fs_type,omitempty" json:"fs_type,omitempty"`
}

// A Directory is made below /etc or /var.
type Directory struct {
	Path string `toml:"path" json:"path"`
	// User and Group are a name or a number; root if nil.
	User  *Owner `toml:"user,omitempty" json:"user,omitempty"`
	Group *Owner `toml:"group,omitempty" json:"group,omitempty"`
	// Mode is three octal digits, with or without a 0 before them; "0755" if empty.
	Mode string `toml:"mode,omitempty" json:"mode,omitempty"`
	// EnsureParents makes missing parents too.
	EnsureParents bool `toml:"ensure_parents,omitempty" json:"ensure_parents,omitempty"`
}

// A File is written below /etc or /var.
type File struct {
	Path  string `toml:"path" json:"path"`
	User  *Owner `toml:"user,omitempty" json:"user,omitempty"`
	Group *Owner `toml:"group,omitempty" json:"group,omitempty"`
	// Mode is three octal digits, with or without a 0 before them; "0644" if empty.
	Mode string `toml:"mode,omitempty" json:"mode,omitempty"`
	Data string `toml:"data,omitempty" json:"data,omitempty"`
}

// An Owner is a user or group by name, or by number when Name is empty.
type Owner struct {
	Name string
	ID   int
}

// Installer is kept for the installer ISO; disks do not use it.
type Installer struct {
	Unattended   bool             `toml:"unattended,omitempty" json:"unattended,omitempty"`
	SudoNopasswd []string         `toml:"sudo-nopasswd,omitempty" json:"sudo-nopasswd,omitempty"`
	Kickstart    *Kickstart       `toml:"kickstart,omitempty" json:"kickstart,omitempty"`
	Modules      *AnacondaModules `toml:"modules,omitempty" json:"modules,omitempty"`
}

// Kickstart is a kickstart file's text.
type Kickstart struct {
	Contents string `toml:"contents" json:"contents"`
}

// AnacondaModules switches the installer's modules by their D-Bus names.
type AnacondaModules struct {
	Enable  []string `toml:"enable,omitempty" json:"enable,omitempty"`
	Disable []string `toml:"disable,omitempty" json:"disable,omitempty"`
}
