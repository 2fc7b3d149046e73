// Package customize turns the customizations of a blueprint into files of a
// deployment's /etc and /var, as a pure function of what the image holds. It
// touches no file system, makes up no time and no password, and refuses
// anything outside those two folders.
package customize

import (
	"io/fs"
)

// Options are the changes to make; the zero value makes none.
type Options struct {
	Groups   []Group
	Users    []User
	Hostname string
	// Timezone is a name below usr/share/zoneinfo, as "Europe/Berlin".
	Timezone   string
	NTPServers []string
	// Locale is the system's locale, as "en_US.UTF-8".
	Locale string
	// Keyboard is a console key map, as "de-nodeadkeys".
	Keyboard    string
	Directories []Directory
	Files       []File
}

// A Group is made, or kept if it is there with the same number.
type Group struct {
	Name string
	GID  *int
}

// A User is made, or changed if it is there.
type User struct {
	Name string
	// Description is the comment field of passwd.
	Description string
	// Password is a crypt(5) hash; empty locks the password of a new user and
	// leaves that of an existing one.
	Password string
	// Keys are lines of authorized_keys.
	Keys []string
	// Home is absolute; empty is the image's default, below /home.
	Home string
	// Shell is absolute; empty is the image's default.
	Shell string
	// Groups are further groups by name.
	Groups []string
	UID    *int
	// GID is the number of the primary group; nil is a group of the user's own name.
	GID *int
	// ExpireDate is in days since 1970-01-01.
	ExpireDate *int
	// MustChangePassword makes the first login ask for a new password.
	MustChangePassword bool
}

// An Owner is a user or group by name, or by number if Name is empty.
type Owner struct {
	Name string
	ID   int
}

// A Directory is made, or its mode and owner changed. Path is absolute, below /etc or /var.
type Directory struct {
	Path string
	// Mode is nil for 0755.
	Mode          *fs.FileMode
	User, Group   Owner
	EnsureParents bool
}

// A File is written or replaced. Path is absolute, below /etc or /var.
type File struct {
	Path string
	// Mode is nil for 0644.
	Mode        *fs.FileMode
	User, Group Owner
	Data        []byte
}

// A View is the merged tree of the image, by clean relative paths. It follows
// no symbolic link in the last component and any number of them before it.
type View interface {
	// ReadFile returns the bytes of a regular file, or an error that is fs.ErrNotExist.
	ReadFile(path string) ([]byte, error)
	// Lstat returns the type and permission bits, or an error that is fs.ErrNotExist.
	Lstat(path string) (fs.FileMode, error)
}
