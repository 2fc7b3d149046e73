// Package customize turns the customizations of a blueprint into files of a
// deployment's /etc and /var, as a pure function of what the image holds. It
// touches no file system, makes up no time and no password, and refuses
// anything outside of those two folders.
package customize

import (
	"fmt"
	"io/fs"

	"github.com/aitheros/aither-image/internal/tree"
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
	// Mask are systemd units that must not start.
	Mask []string
	// Day is the day of password changes, in days since 1970-01-01, as
	// SOURCE_DATE_EPOCH tells it; 0 leaves the field empty.
	Day int
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
	// Groups are further groups by name. Of "wheel" and "sudo" the one that is
	// missing in the image, or that sudo has no rule for, brings the other.
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

// A Directory is made, or its mode and owner changed. Path is absolute and leads
// below /etc or /var, as /root does by the image's link.
type Directory struct {
	Path string
	// Mode is nil for 0755, or for what an existing folder has.
	Mode *fs.FileMode
	// User and Group are nil for root, or for what an existing folder has.
	User, Group *Owner
	// EnsureParents makes missing parents; without it they are an error.
	EnsureParents bool
}

// A File is written or replaced, with its missing parents. Path is as a Directory's.
type File struct {
	Path string
	// Mode is nil for 0644.
	Mode *fs.FileMode
	// User and Group are nil for root.
	User, Group *Owner
	Data        []byte
}

// A View is the merged tree of the image, by clean relative paths. It follows
// symbolic links in all components of a path but the last.
type View interface {
	// ReadFile returns the bytes of a regular file.
	ReadFile(path string) ([]byte, error)
	// Lookup returns the entry of a path; the error is fs.ErrNotExist where
	// there is none.
	Lookup(path string) (tree.Entry, error)
	// ReadDir returns the entries of a folder in byte order of their names.
	ReadDir(path string) ([]tree.Entry, error)
}

// Apply returns the entries "etc/…" and "var/…" that make the changes of o to
// the image that v shows: parents before children, with the parents that are
// missing, without times.
func Apply(o Options, v View) ([]tree.Entry, error) {
	c := &changes{view: v, entries: map[string]tree.Entry{}}
	if len(o.Groups) > 0 || len(o.Users) > 0 {
		if err := c.accounts(o); err != nil {
			return nil, err
		}
	}
	for _, step := range []func(Options) error{c.hostname, c.timezone, c.locale, c.keyboard, c.timeServers, c.mask} {
		if err := step(o); err != nil {
			return nil, err
		}
	}
	for _, d := range o.Directories {
		if err := c.directory(d); err != nil {
			return nil, fmt.Errorf("making the directory %q: %w", d.Path, err)
		}
	}
	for _, f := range o.Files {
		if err := c.file(f); err != nil {
			return nil, fmt.Errorf("writing the file %q: %w", f.Path, err)
		}
	}
	return c.sorted(), nil
}
