package customize

import (
	"io/fs"
	"strconv"
	"strings"
)

// defaults is what useradd takes from login.defs(5) and default/useradd.
type defaults struct {
	uids, gids, subUIDs, subGIDs idRange
	subCount                     int
	aging                        [3]string // minimum, maximum, warning; empty is none
	homeMode                     fs.FileMode
	homes, shell, skel           string
	userGroups                   bool
}

// An idRange is the numbers from low to high, both included.
type idRange struct{ low, high int }

// defaults reads both files; what they leave out is shadow-utils' own.
func (c *changes) defaults() (defaults, error) {
	login, err := c.settings("etc/login.defs", func(line string) (string, string) {
		name, value, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		return name, value
	})
	if err != nil {
		return defaults{}, err
	}
	useradd, err := c.settings("etc/default/useradd", func(line string) (string, string) {
		name, value, _ := strings.Cut(line, "=")
		return name, value
	})
	if err != nil {
		return defaults{}, err
	}
	number := func(name string, otherwise int) int {
		if n, err := strconv.ParseInt(login[name], 0, 64); err == nil && n >= 0 && n < 1<<32 {
			return int(n)
		}
		return otherwise
	}
	text := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	d := defaults{
		subCount: number("SUB_UID_COUNT", 65536),
		aging:    [3]string{login["PASS_MIN_DAYS"], login["PASS_MAX_DAYS"], login["PASS_WARN_AGE"]},
		homes:    strings.TrimSuffix(text(useradd["HOME"], "/home"), "/"), shell: text(useradd["SHELL"], "/bin/sh"), skel: text(useradd["SKEL"], "/etc/skel"),
		userGroups: !strings.EqualFold(login["USERGROUPS_ENAB"], "no"),
	}
	d.uids.low, d.uids.high = number("UID_MIN", 1000), number("UID_MAX", 60000)
	d.gids.low, d.gids.high = number("GID_MIN", 1000), number("GID_MAX", 60000)
	d.subUIDs.low, d.subUIDs.high = number("SUB_UID_MIN", 100000), number("SUB_UID_MAX", 600100000)
	d.subGIDs.low, d.subGIDs.high = number("SUB_GID_MIN", 100000), number("SUB_GID_MAX", 600100000)
	d.homeMode = 0o777 &^ fs.FileMode(octal(login["UMASK"], 0o022))
	if mode, ok := login["HOME_MODE"]; ok {
		d.homeMode = fs.FileMode(octal(mode, 0o700))
	}
	return d, nil
}

func octal(s string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(s, 8, 9); err == nil {
		return n
	}
	return otherwise
}

// settings reads a file of one setting a line; a missing file has none.
func (c *changes) settings(p string, split func(line string) (name, value string)) (map[string]string, error) {
	text, _, err := c.read(p)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			name, value := split(line)
			values[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return values, nil
}
