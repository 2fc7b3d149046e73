package blueprint

import (
	"cmp"
	"slices"
	"strings"
)

// customize merges z into the plan: what is for the kernel and the disk goes
// there, single values replace, users, groups, files and directories of a name
// replace those of that name and else are added.
func (p *Plan) customize(z Customizations) {
	p.Disk.customize(z)
	if z.Kernel != nil {
		args, _ := splitArgs(z.Kernel.Append)
		for _, arg := range args {
			if !slices.Contains(p.Kernel.Append, arg) {
				p.Kernel.Append = append(p.Kernel.Append, arg)
			}
		}
	}
	c := &p.Customizations
	c.Hostname = firstOf(z.Hostname, c.Hostname)
	c.Timezone = z.Timezone.over(c.Timezone)
	c.Locale = z.Locale.over(c.Locale)
	if z.Installer != nil {
		c.Installer = z.Installer
	}
	c.Groups = replace(c.Groups, z.Groups, func(g Group) string { return g.Name })
	c.Users = replace(c.Users, mapped(z.Users, tidyUser), func(u User) string { return u.Name })
	for _, k := range z.SSHKeys {
		c.Users = addKey(c.Users, k)
	}
	c.Directories = replace(c.Directories, z.Directories, func(d Directory) string { return d.Path })
	c.Files = replace(c.Files, z.Files, func(f File) string { return f.Path })
}

// replace puts list over old, by name.
func replace[T any](old, list []T, name func(T) string) []T {
	out, at := slices.Clone(old), map[string]int{}
	for i, v := range old {
		at[name(v)] = i
	}
	for _, v := range list {
		if i, ok := at[name(v)]; ok {
			out[i] = v
			continue
		}
		at[name(v)] = len(out)
		out = append(out, v)
	}
	return out
}

// tidyUser drops what means nothing: a slash behind the home, blanks around keys.
func tidyUser(u User) User {
	u.Home = strings.TrimSuffix(u.Home, "/")
	u.Key = strings.Join(keyLines(u.Key), "\n")
	return u
}

// keyLines are the keys of a text, one a line.
func keyLines(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// addKey gives a key to its user, who is made if there is none, as osbuild does.
func addKey(users []User, k SSHKey) []User {
	i := slices.IndexFunc(users, func(u User) bool { return u.Name == k.User })
	if i < 0 {
		return append(users, User{Name: k.User, Key: strings.Join(keyLines(k.Key), "\n")})
	}
	lines := keyLines(users[i].Key)
	for _, line := range keyLines(k.Key) {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	users[i].Key = strings.Join(lines, "\n")
	return users
}

// over puts t over old.
func (t *Timezone) over(old *Timezone) *Timezone {
	if t == nil || old == nil {
		return cmp.Or(t, old)
	}
	merged := Timezone{Timezone: firstOf(t.Timezone, old.Timezone), NTPServers: old.NTPServers}
	if t.NTPServers != nil {
		merged.NTPServers = t.NTPServers
	}
	return &merged
}

// over puts l over old.
func (l *Locale) over(old *Locale) *Locale {
	if l == nil || old == nil {
		return cmp.Or(l, old)
	}
	merged := Locale{Keyboard: firstOf(l.Keyboard, old.Keyboard), Languages: old.Languages}
	if l.Languages != nil {
		merged.Languages = l.Languages
	}
	return &merged
}
