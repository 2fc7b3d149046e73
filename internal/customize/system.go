package customize

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

func (c *changes) hostname(o Options) error {
	if o.Hostname == "" {
		return nil
	}
	if err := c.write("etc/hostname", o.Hostname+"\n", 0o644); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	return nil
}

// timezone links etc/localtime, as timedatectl does; Debian also has the name in a file.
func (c *changes) timezone(o Options) error {
	if o.Timezone == "" {
		return nil
	}
	zone := "usr/share/zoneinfo/" + o.Timezone
	e, ok, err := c.lookup(zone)
	if err == nil && (!ok || e.Mode.IsDir()) {
		err = fmt.Errorf("the image does not have it\nhint: check the name, or install the package tzdata")
	}
	if err == nil {
		err = c.put(tree.Entry{Path: "etc/localtime", Mode: fs.ModeSymlink | 0o777, Link: "../" + zone})
	}
	if _, debian, lookErr := c.lookup("etc/timezone"); err == nil && debian && lookErr == nil {
		err = c.write("etc/timezone", o.Timezone+"\n", 0o644)
	}
	if err != nil {
		return fmt.Errorf("setting the time zone %q: %w", o.Timezone, err)
	}
	return nil
}

// locale sets LANG where systemd reads it, and in the file that Debian's PAM
// reads if that is one of its own.
func (c *changes) locale(o Options) error {
	if o.Locale == "" {
		return nil
	}
	err := c.setThrough("etc/locale.conf", "LANG", o.Locale)
	if e, ok, lookErr := c.lookup("etc/default/locale"); err == nil && ok && lookErr == nil && e.Mode.IsRegular() {
		err = c.setLine("etc/default/locale", "LANG", o.Locale)
	}
	if err != nil {
		return fmt.Errorf("setting the locale %q: %w", o.Locale, err)
	}
	return nil
}

// setThrough is setLine on the file to which p leads, if it is a link within /etc.
func (c *changes) setThrough(p, name, value string) error {
	target, err := c.follow(p)
	if err != nil {
		return err
	}
	return c.setLine(target, name, value)
}

// follow is the path to which the link p leads, or p.
func (c *changes) follow(p string) (string, error) {
	e, ok, err := c.lookup(p)
	if err != nil || !ok || e.Mode&fs.ModeSymlink == 0 {
		return p, err
	}
	target := e.Link
	if !path.IsAbs(target) {
		target = path.Join("/", path.Dir(p), target)
	}
	target = strings.TrimPrefix(path.Clean(target), "/")
	if !strings.HasPrefix(target, "etc/") {
		return p, nil // of the image: the link is replaced
	}
	return target, nil
}

// keyboard sets the console's key map, and the layout of Debian's
// keyboard-configuration where the image has that.
func (c *changes) keyboard(o Options) error {
	if o.Keyboard == "" {
		return nil
	}
	err := c.setThrough("etc/vconsole.conf", "KEYMAP", o.Keyboard)
	if text, _, readErr := c.read("etc/default/keyboard"); err == nil && readErr == nil && strings.Contains(text, "XKBLAYOUT=") {
		layout, variant, _ := strings.Cut(o.Keyboard, "-")
		if err = c.setLine("etc/default/keyboard", "XKBLAYOUT", `"`+layout+`"`); err == nil {
			err = c.setLine("etc/default/keyboard", "XKBVARIANT", `"`+variant+`"`)
		}
	}
	if err != nil {
		return fmt.Errorf("setting the keyboard %q: %w", o.Keyboard, err)
	}
	return nil
}

// mask links units to nothing, as systemctl mask does.
func (c *changes) mask(o Options) error {
	for _, unit := range o.Mask {
		e := tree.Entry{Path: "etc/systemd/system/" + unit, Mode: fs.ModeSymlink | 0o777, Link: "/dev/null"}
		if err := c.put(e); err != nil {
			return fmt.Errorf("masking the unit %q: %w", unit, err)
		}
	}
	return nil
}

// chronyFiles is where distributions keep chrony's configuration.
var chronyFiles = []string{"etc/chrony.conf", "etc/chrony/chrony.conf"}

// timeServers configures the time service that the image has.
func (c *changes) timeServers(o Options) error {
	if len(o.NTPServers) == 0 {
		return nil
	}
	for _, p := range chronyFiles {
		text, ok, err := c.read(p)
		if err != nil {
			return fmt.Errorf("setting the time servers: %w", err)
		}
		if ok {
			return c.write(p, chronyWith(text, o.NTPServers), 0o644)
		}
	}
	_, ok, err := c.lookup("usr/lib/systemd/systemd-timesyncd")
	if err == nil && !ok {
		err = fmt.Errorf("the image has neither chrony nor systemd-timesyncd\nhint: add packages = [\"chrony\"]")
	}
	if err == nil {
		err = c.write("etc/systemd/timesyncd.conf.d/50-aither-image.conf",
			"[Time]\nNTP=\nNTP="+strings.Join(o.NTPServers, " ")+"\n", 0o644)
	}
	if err != nil {
		return fmt.Errorf("setting the time servers: %w", err)
	}
	return nil
}

// chronyWith replaces the sources of a chrony.conf, where the first of them stood.
func chronyWith(text string, servers []string) string {
	var ours, lines []string
	for _, s := range servers {
		ours = append(ours, "server "+s+" iburst")
	}
	at := -1
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		fields := strings.Fields(line)
		if len(fields) > 0 && slices.Contains([]string{"server", "pool", "peer"}, fields[0]) {
			if at < 0 {
				at = len(lines)
			}
			continue
		}
		lines = append(lines, line)
	}
	if at < 0 {
		at = len(lines)
	}
	return strings.Join(slices.Insert(lines, at, ours...), "\n") + "\n"
}
