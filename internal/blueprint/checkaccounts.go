package blueprint

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	userForm = regexp.MustCompile(`^[a-z_][a-z0-9_.-]{0,30}[a-z0-9_$-]?$`)
	// lockedForm is a password field with which nobody logs in.
	lockedForm = regexp.MustCompile(`^(!{1,2}|\*|!\*)$`)
)

// hashForms are the crypt(5) hashes that are accepted, after their prefixes.
var hashForms = []struct {
	prefix string
	form   *regexp.Regexp
}{
	{"$y$", regexp.MustCompile(`^\$y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}$`)},
	{"$gy$", regexp.MustCompile(`^\$gy\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}$`)},
	{"$7$", regexp.MustCompile(`^\$7\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43}$`)},
	{"$2b$", regexp.MustCompile(`^\$2b\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$`)},
	{"$2a$", regexp.MustCompile(`^\$2a\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$`)},
	{"$2y$", regexp.MustCompile(`^\$2y\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}$`)},
	{"$6$", regexp.MustCompile(`^\$6\$(rounds=[1-9][0-9]{3,8}\$)?[^$:\n\s]{1,16}\$[./A-Za-z0-9]{86}$`)},
	{"$5$", regexp.MustCompile(`^\$5\$(rounds=[1-9][0-9]{3,8}\$)?[^$:\n\s]{1,16}\$[./A-Za-z0-9]{43}$`)},
}

// accounts checks users, groups and keys.
func (c *checker) accounts(z Customizations) {
	users, groups := key("customizations", "user"), key("customizations", "group")
	for i, u := range z.Users {
		c.user(u, users.to(i))
	}
	c.unique(mapped(z.Users, func(u User) string { return u.Name }), func(i int) place { return users.to(i, "name") }, "user")
	c.unique(mapped(z.Users, func(u User) string { return number(u.UID) }), func(i int) place { return users.to(i, "uid") }, "uid")
	for i, g := range z.Groups {
		if c.need(g.Name, groups.to(i, "name"), "") {
			c.accountName(g.Name, groups.to(i, "name"), "group")
		}
		c.id(g.GID, groups.to(i, "gid"), g.Name)
	}
	c.unique(mapped(z.Groups, func(g Group) string { return g.Name }), func(i int) place { return groups.to(i, "name") }, "group")
	c.unique(mapped(z.Groups, func(g Group) string { return number(g.GID) }), func(i int) place { return groups.to(i, "gid") }, "gid")
	keys := key("customizations", "sshkey")
	for i, k := range z.SSHKeys {
		if c.need(k.User, keys.to(i, "user"), "") {
			c.accountName(k.User, keys.to(i, "user"), "user")
		}
		if c.need(k.Key, keys.to(i, "key"), "") {
			c.sshKeys(k.Key, keys.to(i, "key"))
		}
	}
}

// number is an optional number as text; "" is none.
func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func (c *checker) user(u User, w place) {
	if c.need(u.Name, w.to("name"), "") {
		c.accountName(u.Name, w.to("name"), "user")
	}
	c.password(u.Password, w.to("password"))
	if c.given(u.Key, w.to("key")) {
		c.sshKeys(u.Key, w.to("key"))
	}
	if c.given(u.Description, w.to("description")) && strings.ContainsFunc(u.Description, func(r rune) bool { return r < 0x20 || r == ':' || r == 0x7f }) {
		c.errorf(w.to("description"), "bad-description", "", "a description cannot hold \":\" or a line's end")
	}
	if c.given(u.Home, w.to("home")) {
		c.home(u, w.to("home"))
	}
	if c.given(u.Shell, w.to("shell")) && (cleanAbsolute(u.Shell) != u.Shell || strings.ContainsAny(u.Shell, ": \t\n") || u.Shell == "/") {
		c.errorf(w.to("shell"), "bad-path", "write an absolute path such as \"/bin/bash\"", "%q is no shell", u.Shell)
	}
	for i, g := range u.Groups {
		if c.given(g, w.to("groups", i)) {
			c.accountName(g, w.to("groups", i), "group")
		}
	}
	c.unique(u.Groups, func(i int) place { return w.to("groups", i) }, "group")
	c.id(u.UID, w.to("uid"), u.Name)
	c.id(u.GID, w.to("gid"), u.Name)
	if u.ExpireDate != nil && *u.ExpireDate < 0 {
		c.errorf(w.to("expiredate"), "bad-value", "days since 1970-01-01", "%q cannot be negative", w.to("expiredate"))
	}
	if u.ForcePasswordReset != nil && *u.ForcePasswordReset && (u.Password == "" || lockedForm.MatchString(u.Password)) {
		c.errorf(w.to("force_password_reset"), "conflict", "give the user a password, or leave it out", "a user without a password cannot change it")
	}
}

func (c *checker) accountName(name string, w place, what string) {
	if userForm.MatchString(name) && name != "." && name != ".." {
		return
	}
	hint := "use up to 32 lower-case letters, digits, \"-\", \"_\" and \".\", a letter first"
	if lower := strings.ToLower(name); userForm.MatchString(lower) {
		hint = "did you mean " + strconv.Quote(lower) + "?"
	}
	c.errorf(w, "bad-name", hint, "%q cannot name a %s", name, what)
}

// id checks a uid or gid: only root is 0, and two numbers mean "nobody" and "none".
func (c *checker) id(id *int, w place, name string) {
	switch {
	case id == nil || c.doc.root.has(w...) && c.doc.root.at(w...).kind != kindInteger:
	case *id < 0 || *id >= maxID:
		c.errorf(w, "bad-id", "", "%q must be between 0 and %d", w, maxID-1)
	case *id == 65534 || *id == 65535:
		c.errorf(w, "bad-id", "choose another number", "%d is reserved", *id)
	case *id == 0 && name != "root" && name != "":
		c.errorf(w, "bad-id", "choose another number: 0 is root", "%q cannot be 0 for %q", w, name)
	}
}

// home checks that a home lies where the machine can write.
func (c *checker) home(u User, w place) {
	home := strings.TrimSuffix(u.Home, "/")
	switch {
	case cleanAbsolute(home) != home || strings.ContainsAny(home, ": \t\n"):
		c.errorf(w, "bad-path", "write an absolute path such as \"/home/"+u.Name+"\"", "%q is no home", u.Home)
	case u.Name == "root" && home == "/root":
	case !strings.HasPrefix(home, "/home/") && !strings.HasPrefix(home, "/var/"):
		c.errorf(w, "bad-path", "homes lie below /home or /var", "%q is part of the image, which is read-only", u.Home)
	}
}

// password accepts hashes and locks. It never repeats the value: messages end in logs.
func (c *checker) password(value string, w place) {
	const hint = "hash it: openssl passwd -6, or mkpasswd --method=yescrypt"
	if !c.given(value, w) || lockedForm.MatchString(value) {
		return
	}
	hash := strings.TrimPrefix(value, "!")
	for _, h := range hashForms {
		if strings.HasPrefix(hash, h.prefix) {
			if !h.form.MatchString(hash) {
				c.errorf(w, "bad-hash", "copy it whole; in TOML single quotes keep every letter", "the password begins as a %s hash but is none", h.prefix)
			}
			return
		}
	}
	switch {
	case value == "":
		c.errorf(w, "empty-password", "write \"!\" for none, or leave it out", "an empty password lets everyone in")
	case strings.HasPrefix(hash, "$1$") || strings.HasPrefix(hash, "$3$") || strings.HasPrefix(hash, "_"):
		c.errorf(w, "weak-hash", hint, "this kind of hash is broken within minutes")
	default:
		c.errorf(w, "plaintext-password", hint, "the password is not hashed")
	}
}

// sshKeys checks lines of authorized_keys.
func (c *checker) sshKeys(text string, w place) {
	seen := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.Contains(line, "PRIVATE KEY") {
			c.errorf(w, "private-key", "give the public key: the file whose name ends in .pub", "this is a private key; consider it disclosed")
			return
		}
		if why, hint := checkPublicKey(line); why != "" {
			c.errorf(w, "bad-ssh-key", hint, "%s", why)
		} else if seen[line] {
			c.errorf(w, "duplicate", "keep one of the two", "the key was already given")
		}
		seen[line] = true
	}
	if len(seen) == 0 {
		c.errorf(w, "bad-ssh-key", "write the line of a .pub file", "there is no key")
	}
}
