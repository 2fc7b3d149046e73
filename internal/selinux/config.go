package selinux

import (
	"fmt"
	"strings"
)

// A Config is the content of /etc/selinux/config.
type Config struct {
	// Enabled is true for the modes enforcing and permissive: files get labels.
	Enabled bool
	// Enforcing is true for the mode enforcing.
	Enforcing bool
	// Type names the policy: its folder is /etc/selinux/Type, and the files that
	// Load reads lie in contexts/files there.
	Type string
}

// ContextsDir is where, relative to the folder of the root's /etc, the files
// of the policy lie.
func (c Config) ContextsDir() string { return "selinux/" + c.Type + "/contexts/files" }

// defaultType is libselinux' own default.
const defaultType = "targeted"

// ParseConfig reads /etc/selinux/config. Without a mode, SELinux is disabled; the
// last line of each key counts.
func ParseConfig(b []byte) (Config, error) {
	c := Config{Type: defaultType}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if value, ok := cutKey(line, "SELINUXTYPE="); ok {
			c.Type = value
		} else if value, ok := cutKey(line, "SELINUX="); ok {
			value = strings.ToLower(value)
			c.Enforcing = strings.HasPrefix(value, "enforcing")
			c.Enabled = c.Enforcing || strings.HasPrefix(value, "permissive")
		}
	}
	if c.Type == "" || c.Type == "." || c.Type == ".." || strings.ContainsAny(c.Type, "/\x00") {
		return Config{}, fmt.Errorf("reading SELinux configuration: SELINUXTYPE %.100q is not the name of a folder", c.Type)
	}
	return c, nil
}

func cutKey(line, key string) (string, bool) {
	if len(line) < len(key) || !strings.EqualFold(line[:len(key)], key) {
		return "", false
	}
	return strings.TrimSpace(line[len(key):]), true
}
