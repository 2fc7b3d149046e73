package blueprint

import (
	_ "embed"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// zoneList is the names of the IANA time zone database, one a line.
//
//go:embed zones.txt
var zoneList string

var (
	hostLabelForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	localeForm    = regexp.MustCompile(`^(C|POSIX|[a-z]{2,3}(_[A-Z]{2}|_[0-9]{3})?)(\.[A-Za-z0-9][A-Za-z0-9-]*)?(@[A-Za-z0-9]+)?$`)
	keyboardForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+-]*$`)
)

// customizations checks the whole of [customizations]; layout is what [disk] asked for.
func (c *checker) customizations(z Customizations, layout string) {
	if w := key("customizations", "hostname"); c.given(z.Hostname, w) && (!hostName(z.Hostname) || len(z.Hostname) > 64) {
		c.errorf(w, "bad-hostname", "use letters, digits, \"-\" and \".\", at most 64", "%q is no host name", z.Hostname)
	}
	if z.Kernel != nil {
		c.kernelLine(z.Kernel.Append, key("customizations", "kernel", "append"))
	}
	c.accounts(z)
	c.timezone(z.Timezone)
	c.locale(z.Locale)
	c.filesystems(z.Filesystems, layout)
	c.partitions(z.Disk, layout)
	if z.Disk != nil && len(z.Filesystems) > 0 {
		c.keyf(key("customizations", "filesystem"), "conflict", "keep one of them", "customizations.filesystem cannot stand beside customizations.disk")
	}
	c.nodes(z)
	if z.Installer != nil {
		c.installer(*z.Installer)
	}
}

// hostName reports whether s is labels of RFC 1123 with points between them.
func hostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !hostLabelForm.MatchString(label) {
			return false
		}
	}
	return true
}

func (c *checker) timezone(t *Timezone) {
	if t == nil {
		return
	}
	w := key("customizations", "timezone")
	if c.given(t.Timezone, w.to("timezone")) && !strings.Contains("\n"+zoneList, "\n"+t.Timezone+"\n") || strings.Contains(t.Timezone, "\n") {
		hint := "write a name such as \"Europe/Berlin\" or \"UTC\""
		if near := nearest(t.Timezone, strings.Fields(zoneList)); near != "" {
			hint = "did you mean " + strconv.Quote(near) + "?"
		}
		c.errorf(w.to("timezone"), "bad-timezone", hint, "there is no time zone %q", t.Timezone)
	}
	for i, server := range t.NTPServers {
		if _, err := netip.ParseAddr(server); err != nil && !hostName(server) && c.given(server, w.to("ntpservers", i)) {
			c.errorf(w.to("ntpservers", i), "bad-hostname", "write a host name or an address", "%q is no server", server)
		}
	}
	c.unique(t.NTPServers, func(i int) place { return w.to("ntpservers", i) }, "server")
}

func (c *checker) locale(l *Locale) {
	if l == nil {
		return
	}
	w := key("customizations", "locale")
	for i, language := range l.Languages {
		if c.given(language, w.to("languages", i)) && !localeForm.MatchString(language) {
			hint := "write a locale such as \"en_US.UTF-8\""
			if fixed := strings.Replace(language, "-", "_", 1); localeForm.MatchString(fixed) {
				hint = "did you mean " + strconv.Quote(fixed) + "?"
			}
			c.errorf(w.to("languages", i), "bad-locale", hint, "%q is no locale", language)
		}
	}
	c.unique(l.Languages, func(i int) place { return w.to("languages", i) }, "language")
	if c.given(l.Keyboard, w.to("keyboard")) && !keyboardForm.MatchString(l.Keyboard) {
		c.errorf(w.to("keyboard"), "bad-keyboard", "write a key map such as \"us\" or \"de-nodeadkeys\"", "%q is no key map", l.Keyboard)
	}
}

func (c *checker) installer(i Installer) {
	w := key("customizations", "installer")
	c.warnf(w, "unused", "", "customizations.installer is for the installer ISO; disks do not use it")
	if i.Kickstart != nil {
		c.need(i.Kickstart.Contents, w.to("kickstart", "contents"), "write the kickstart's text")
		if i.Unattended || len(i.SudoNopasswd) > 0 {
			c.keyf(w.to("kickstart"), "conflict", "write it into the kickstart", "installer.unattended and sudo-nopasswd cannot stand beside a kickstart")
		}
		c.privateKey(i.Kickstart.Contents, w.to("kickstart", "contents"))
	}
	for j, name := range i.SudoNopasswd {
		bare := strings.TrimPrefix(name, "%")
		if c.given(name, w.to("sudo-nopasswd", j)) && !userForm.MatchString(bare) && bare != "ALL" {
			c.errorf(w.to("sudo-nopasswd", j), "bad-name", "write a user, or \"%\" and a group", "%q is no user", name)
		}
	}
}
