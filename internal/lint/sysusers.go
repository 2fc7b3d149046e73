package lint

import (
	"fmt"
	"strings"
)

// sysusers compares /etc/passwd and /etc/group with sysusers.d(5).
func sysusers(p *pass) {
	passwd, ok := p.read("etc/passwd")
	if !ok {
		return
	}
	users, groups := declaredUsers(p)
	for _, name := range names(passwd) {
		if !users[name] {
			p.report("etc/passwd", fmt.Sprintf("user %q has no entry in sysusers.d", name), "a machine whose /etc/passwd was changed does not see it after an upgrade: declare it in /usr/lib/sysusers.d")
		}
	}
	group, _ := p.read("etc/group")
	for _, name := range names(group) {
		if !groups[name] {
			p.report("etc/group", fmt.Sprintf("group %q has no entry in sysusers.d", name), "declare it in /usr/lib/sysusers.d")
		}
	}
}

// names returns the first fields of a file like passwd(5).
func names(data []byte) []string {
	var out []string
	for line := range strings.Lines(string(data)) {
		name, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && name != "" && name[0] != '#' {
			out = append(out, name)
		}
	}
	return out
}

func declaredUsers(p *pass) (users, groups map[string]bool) {
	users, groups = map[string]bool{}, map[string]bool{}
	for _, e := range p.dir("usr/lib/sysusers.d") {
		if !strings.HasSuffix(e.Path, ".conf") {
			continue
		}
		data, _ := p.read(e.Path)
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) < 2 || f[0][0] == '#' {
				continue
			}
			name := strings.Trim(f[1], `"`)
			switch f[0] {
			case "u", "u!": // a user brings a group of its name
				users[name], groups[name] = true, true
			case "g":
				groups[name] = true
			}
		}
	}
	return users, groups
}
