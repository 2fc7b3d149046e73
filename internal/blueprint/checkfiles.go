package blueprint

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// modeForm is osbuild's: permission bits only.
var modeForm = regexp.MustCompile(`^0?[0-7]{3}$`)

// ownedFiles are files that something else writes, with what to use instead.
var ownedFiles = map[string]string{
	"/etc/passwd":                        "use [[customizations.user]]",
	"/etc/shadow":                        "use [[customizations.user]]",
	"/etc/group":                         "use [[customizations.group]]",
	"/etc/gshadow":                       "use [[customizations.group]]",
	"/etc/subuid":                        "use [[customizations.user]]",
	"/etc/subgid":                        "use [[customizations.user]]",
	"/etc/fstab":                         "use [[customizations.disk.partitions]] or a mount unit",
	"/etc/machine-id":                    "every machine makes its own",
	"/etc/ostree/auth.json":              "a secret does not belong into an image: put it on the machine",
	"/var/lib/dbus/machine-id":           "every machine makes its own",
	"/var/lib/systemd/random-seed":       "every machine makes its own",
	"/var/lib/systemd/credential.secret": "every machine makes its own",
}

// nodes checks files and directories, alone and together.
func (c *checker) nodes(z Customizations) {
	var all []located
	settings := z.settings()
	for i, d := range z.Directories {
		w := key("customizations", "directories", i)
		if c.need(d.Path, w.to("path"), "") && c.path(d.Path, w.to("path")) {
			all = append(all, located{d.Path, w.to("path"), true})
		}
		c.attributes(d.Mode, d.User, d.Group, w)
	}
	for i, f := range z.Files {
		w := key("customizations", "files", i)
		if c.need(f.Path, w.to("path"), "") && c.path(f.Path, w.to("path")) {
			all = append(all, located{f.Path, w.to("path"), false})
			c.ownedFile(f.Path, w.to("path"))
			if key := settings[f.Path]; key != "" {
				c.errorf(w.to("path"), "conflict", "keep one of the two", "%q is written by %s", f.Path, key)
			}
		}
		c.attributes(f.Mode, f.User, f.Group, w)
		c.privateKey(f.Data, w.to("data"))
	}
	c.overlaps(all)
}

// settings are the files that other customizations write, by whom.
func (z Customizations) settings() map[string]string {
	files := map[string]string{}
	if z.Hostname != "" {
		files["/etc/hostname"] = "customizations.hostname"
	}
	if z.Timezone != nil && z.Timezone.Timezone != "" {
		files["/etc/localtime"] = "customizations.timezone"
	}
	if z.Locale != nil && len(z.Locale.Languages) > 0 {
		files["/etc/locale.conf"] = "customizations.locale"
	}
	if z.Locale != nil && z.Locale.Keyboard != "" {
		files["/etc/vconsole.conf"] = "customizations.locale"
	}
	return files
}

// A located path is a path of the image and where it was asked for.
type located struct {
	path string
	at   place
	dir  bool
}

// machineFolders are /etc and /var, and those that osbuild takes beside them:
// images link them into /var.
var machineFolders = []string{"/etc/", "/var/", "/root/", "/usr/local/bin/", "/usr/local/sbin/"}

// path checks a path of the image: below /etc or /var, in its shortest form.
func (c *checker) path(name string, w place) bool {
	clean := cleanAbsolute(name)
	switch {
	case strings.ContainsAny(name, "\x00\n"):
		c.errorf(w, "bad-path", "", "%q holds letters that no path has", name)
	case slices.Contains(strings.Split(name, "/"), ".."):
		c.errorf(w, "bad-path", "did you mean "+strconv.Quote(clean)+"?", "%q climbs with \"..\"", name)
	case clean != name:
		c.errorf(w, "bad-path", "did you mean "+strconv.Quote(clean)+"?", "%q is not an absolute path in its shortest form", name)
	case strings.HasPrefix(name, "/var/run/") || strings.HasPrefix(name, "/var/lock/") || name == "/var/run" || name == "/var/lock":
		c.errorf(w, "bad-path", "use tmpfiles.d, in an overlay", "%q is emptied at every boot", name)
	case !slices.ContainsFunc(machineFolders, func(dir string) bool { return strings.HasPrefix(name, dir) }):
		c.errorf(w, "bad-path", "use an overlay: only /etc and /var belong to the machine", "%q lies outside of /etc and /var", name)
	case len(name) > 4095 || slices.ContainsFunc(strings.Split(name, "/"), func(s string) bool { return len(s) > 255 }):
		c.errorf(w, "bad-path", "", "the path is longer than a path can be")
	default:
		return true
	}
	return false
}

// cleanAbsolute is the shortest absolute form of a path.
func cleanAbsolute(name string) string { return path.Clean("/" + name) }

// ownedFile refuses files that are made by other keys or by the machine.
func (c *checker) ownedFile(name string, w place) {
	if instead, ok := ownedFiles[name]; ok {
		c.errorf(w, "refused-file", instead, "%q cannot be written by hand", name)
	} else if strings.HasPrefix(name, "/etc/ssh/ssh_host_") {
		c.errorf(w, "refused-file", "every machine makes its own", "%q would give all machines one identity", name)
	}
}

func (c *checker) attributes(mode string, user, group *Owner, w place) {
	if c.given(mode, w.to("mode")) && !modeForm.MatchString(mode) {
		hint := "write three octal digits, as \"0644\""
		if len(mode) == 4 && strings.Trim(mode, "01234567") == "" {
			hint = "setuid, setgid and sticky bits are set by tmpfiles.d, in an overlay"
		}
		c.errorf(w.to("mode"), "bad-mode", hint, "%q is no mode", mode)
	}
	for name, owner := range map[string]*Owner{"user": user, "group": group} {
		if owner != nil && (owner.Name != "" || c.given("", w.to(name))) {
			c.accountName(owner.Name, w.to(name), name)
		}
	}
}

// privateKey refuses secrets: every machine would have the same, and every reader of the image.
func (c *checker) privateKey(text string, w place) {
	if strings.Contains(text, "-----BEGIN ") && strings.Contains(text, "PRIVATE KEY-----") {
		c.errorf(w, "private-key", "put secrets on the machine, not into its image", "this holds a private key")
	}
}

// overlaps reports a path that is asked for twice, or below a file.
func (c *checker) overlaps(all []located) {
	slices.SortStableFunc(all, func(a, b located) int { return cmp.Compare(a.path, b.path) })
	first := map[string]located{}
	for _, one := range all {
		if other, ok := first[one.path]; ok {
			c.overlap(one, other)
			continue
		}
		for up := path.Dir(one.path); up != "/"; up = path.Dir(up) {
			if other, ok := first[up]; ok && !other.dir {
				c.overlap(one, other)
				break
			}
		}
		first[one.path] = one
	}
}

// overlap reports the later of two paths that cannot both be.
func (c *checker) overlap(a, b located) {
	at := func(l located) int { return c.doc.root.at(l.at...).pos }
	if at(a) < at(b) {
		a, b = b, a
	}
	where := ""
	if line, _ := c.doc.position(at(b)); line > 0 {
		where = fmt.Sprintf(" in line %d", line)
	}
	if a.path == b.path {
		c.errorf(a.at, "duplicate", "keep one of the two", "%q was already given%s", a.path, where)
		return
	}
	c.errorf(a.at, "conflict", "make it a directory", "%q cannot stand beside %q%s: one of the two is a file", a.path, b.path, where)
}
