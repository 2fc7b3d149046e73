package build

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/customize"
)

// changes turns customizations into changes of /etc and /var.
func changes(c *blueprint.Customizations) (customize.Options, error) {
	o := customize.Options{Hostname: c.Hostname}
	if t := c.Timezone; t != nil {
		o.Timezone, o.NTPServers = t.Timezone, t.NTPServers
	}
	if l := c.Locale; l != nil {
		o.Keyboard = l.Keyboard
		if len(l.Languages) > 0 {
			o.Locale = l.Languages[0]
		}
	}
	for _, g := range c.Groups {
		o.Groups = append(o.Groups, customize.Group{Name: g.Name, GID: g.GID})
	}
	for _, u := range c.Users {
		o.Users = append(o.Users, customize.User{Name: u.Name, Description: u.Description, Password: u.Password,
			Keys: lines(u.Key), Home: u.Home, Shell: u.Shell, Groups: u.Groups, UID: u.UID, GID: u.GID,
			ExpireDate: u.ExpireDate, MustChangePassword: u.ForcePasswordReset != nil && *u.ForcePasswordReset})
	}
	for _, d := range c.Directories {
		mode, err := fileMode(d.Path, d.Mode)
		if err != nil {
			return o, err
		}
		o.Directories = append(o.Directories, customize.Directory{Path: d.Path, Mode: mode, User: owner(d.User), Group: owner(d.Group), EnsureParents: d.EnsureParents})
	}
	for _, f := range c.Files {
		mode, err := fileMode(f.Path, f.Mode)
		if err != nil {
			return o, err
		}
		o.Files = append(o.Files, customize.File{Path: f.Path, Mode: mode, User: owner(f.User), Group: owner(f.Group), Data: []byte(f.Data)})
	}
	return o, nil
}

func lines(s string) (out []string) {
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}

func owner(o *blueprint.Owner) *customize.Owner {
	if o == nil {
		return nil
	}
	return &customize.Owner{Name: o.Name, ID: o.ID}
}

func fileMode(path, octal string) (*fs.FileMode, error) {
	if octal == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(octal, 8, 12)
	if err != nil {
		return nil, fmt.Errorf("mode %q of %s is not octal", octal, path)
	}
	m := fs.FileMode(n & 0o777)
	return &m, nil
}
