package customize

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// accountFiles is every file that users and groups are kept in. Those that the
// image does not have are nil and stay away.
type accountFiles struct {
	defaults
	passwd, group, shadow, gshadow, subuid, subgid *database
	day                                            int
	// sudoers are the groups that may become root by a rule of sudo's.
	sudoers map[string]bool
}

// accounts makes groups and then users, as groupadd and useradd would.
func (c *changes) accounts(o Options) error {
	f, err := c.openAccounts()
	if err != nil {
		return err
	}
	f.day = o.Day
	for _, g := range o.Groups {
		if err := f.addGroup(g, o); err != nil {
			return fmt.Errorf("making the group %q: %w", g.Name, err)
		}
	}
	for _, u := range o.Users {
		if err := c.user(f, u, o); err != nil {
			return fmt.Errorf("making the user %q: %w", u.Name, err)
		}
	}
	for _, db := range []*database{f.passwd, f.group, f.shadow, f.gshadow, f.subuid, f.subgid} {
		if db == nil || !db.changed {
			continue
		}
		if err := c.write(db.path, db.text(), 0o644); err != nil {
			return fmt.Errorf("writing %q: %w", "/"+db.path, err)
		}
	}
	c.users, c.groups = f.passwd, f.group
	return nil
}

func (c *changes) openAccounts() (*accountFiles, error) {
	f := &accountFiles{}
	var err error
	if f.defaults, err = c.defaults(); err != nil {
		return nil, err
	}
	if f.sudoers, err = c.sudoersRules(); err != nil {
		return nil, err
	}
	for _, file := range []struct {
		db     **database
		name   string
		fields int
		needed bool
	}{
		{&f.passwd, "passwd", 7, true}, {&f.group, "group", 4, true}, {&f.shadow, "shadow", 9, true},
		{&f.gshadow, "gshadow", 4, false}, {&f.subuid, "subuid", 3, false}, {&f.subgid, "subgid", 3, false},
	} {
		db, ok, err := c.open("etc/"+file.name, file.fields)
		if err != nil {
			return nil, err
		}
		if ok {
			*file.db = db
		} else if file.needed {
			return nil, fmt.Errorf("the image has no /etc/%s, so that no user can be made\nhint: install the package that brings it in a Containerfile", file.name)
		}
	}
	return f, nil
}

// addGroup makes a group; one that is there with the same number is kept.
func (f *accountFiles) addGroup(g Group, o Options) error {
	if gid, ok := f.group.id(g.Name); ok {
		if g.GID != nil && *g.GID != gid {
			return fmt.Errorf("the image has it with the number %d\nhint: leave out the number, or choose another name", gid)
		}
		return nil
	}
	used := f.group.ids()
	if g.GID != nil {
		if name, taken := used[*g.GID]; taken {
			return fmt.Errorf("the number %d belongs to the group %q\nhint: choose another number", *g.GID, name)
		}
		f.newGroup(g.Name, *g.GID)
		return nil
	}
	reserved := map[int]bool{} // numbers that others ask for
	for _, other := range o.Groups {
		if other.GID != nil {
			reserved[*other.GID] = true
		}
	}
	gid, err := allocate(used, reserved, f.gids)
	if err != nil {
		return err
	}
	f.newGroup(g.Name, gid)
	return nil
}

func (f *accountFiles) newGroup(name string, gid int) {
	f.group.set([]string{name, "x", strconv.Itoa(gid), ""})
	if f.gshadow != nil {
		f.gshadow.set([]string{name, "!", "", ""})
	}
}

// user makes or changes one user, with home and keys.
func (c *changes) user(f *accountFiles, u User, o Options) error {
	isNew := f.passwd.row(u.Name) == nil
	var row []string
	var err error
	if isNew {
		row, err = f.newUser(u, o)
	} else {
		row, err = f.changeUser(u)
	}
	if err != nil {
		return err
	}
	if err := c.checkShell(row[6], u.Shell); err != nil {
		return err
	}
	f.passwd.set(row)
	f.password(u, isNew)
	for _, asked := range u.Groups {
		for _, g := range f.joins(asked) {
			if err := f.join(u.Name, g); err != nil {
				return err
			}
		}
	}
	uid, err := strconv.Atoi(row[2])
	if err != nil {
		return fmt.Errorf("its number %q in the image is none", row[2])
	}
	gid, err := strconv.Atoi(row[3])
	if err != nil {
		return fmt.Errorf("its group's number %q in the image is none", row[3])
	}
	if isNew {
		f.subordinate(u.Name, uid)
	}
	return c.home(f, u, homeOf{row[5], uid, gid, isNew})
}

// newUser is the passwd line of a user that is not there yet.
func (f *accountFiles) newUser(u User, o Options) ([]string, error) {
	used := f.passwd.ids()
	uid := 0
	if u.UID != nil {
		uid = *u.UID
		if name, taken := used[uid]; taken {
			return nil, fmt.Errorf("the number %d belongs to the user %q\nhint: choose another number", uid, name)
		}
	} else {
		reserved := map[int]bool{} // numbers that others ask for
		for _, other := range o.Users {
			if other.UID != nil {
				reserved[*other.UID] = true
			}
		}
		var err error
		if uid, err = allocate(used, reserved, f.uids); err != nil {
			return nil, err
		}
	}
	gid, err := f.primaryGroup(u, uid, o)
	if err != nil {
		return nil, err
	}
	home, shell := u.Home, u.Shell
	if home == "" {
		home = f.homes + "/" + u.Name
	}
	if shell == "" {
		shell = f.shell
	}
	return []string{u.Name, "x", strconv.Itoa(uid), strconv.Itoa(gid), u.Description, home, shell}, nil
}

// primaryGroup finds or makes the group of a new user.
func (f *accountFiles) primaryGroup(u User, uid int, o Options) (int, error) {
	groups := f.group.ids()
	if u.GID != nil {
		if _, ok := groups[*u.GID]; ok {
			return *u.GID, nil
		}
		return 0, fmt.Errorf("there is no group with the number %d\nhint: add it as [[customizations.group]]", *u.GID)
	}
	if gid, ok := f.group.id(u.Name); ok {
		if slices.ContainsFunc(o.Groups, func(g Group) bool { return g.Name == u.Name }) {
			return gid, nil
		}
		return 0, fmt.Errorf("the image has a group of that name\nhint: write gid = %d to make it the user's own", gid)
	}
	if !f.userGroups {
		if _, ok := groups[100]; ok {
			return 100, nil
		}
	}
	gid := uid
	if _, taken := groups[gid]; taken {
		var err error
		if gid, err = allocate(groups, nil, f.gids); err != nil {
			return 0, err
		}
	}
	f.newGroup(u.Name, gid)
	return gid, nil
}

// changeUser is the passwd line of a user that the image has.
func (f *accountFiles) changeUser(u User) ([]string, error) {
	row := f.passwd.row(u.Name)
	for _, number := range []struct {
		what  string
		want  *int
		field string
	}{{"number", u.UID, row[2]}, {"group", u.GID, row[3]}} {
		if number.want != nil && strconv.Itoa(*number.want) != number.field {
			return nil, fmt.Errorf("the image has it with the %s %s\nhint: files of the image belong to that one; leave it out", number.what, number.field)
		}
	}
	for i, value := range map[int]string{4: u.Description, 5: u.Home, 6: u.Shell} {
		if value != "" {
			row[i] = value
		}
	}
	return row, nil
}

// checkShell refuses a shell that was asked for and is not there: nobody could log in.
func (c *changes) checkShell(shell, asked string) error {
	if asked == "" {
		return nil
	}
	_, ok, err := c.lookup(strings.TrimPrefix(path.Clean(shell), "/"))
	if err == nil && !ok {
		err = fmt.Errorf("the image has no shell %q\nhint: install it by packages = […], or leave it out for the image's default", shell)
	}
	return err
}

// password sets the shadow line.
func (f *accountFiles) password(u User, isNew bool) {
	row := f.shadow.row(u.Name)
	changed := row == nil
	if changed {
		row = []string{u.Name, "!", "", f.aging[0], f.aging[1], f.aging[2], "", "", ""}
	}
	if u.Password != "" {
		row[1], changed = u.Password, true
	}
	if changed && f.day > 0 {
		row[2] = strconv.Itoa(f.day)
	}
	if u.ExpireDate != nil {
		row[7], changed = strconv.Itoa(*u.ExpireDate), true
	}
	if u.MustChangePassword {
		row[2], changed = "0", true
	}
	if changed || isNew {
		f.shadow.set(row)
	}
	// "x" says that the hash is in shadow.
	if entry := f.passwd.row(u.Name); entry[1] != "x" && u.Password != "" {
		entry[1] = "x"
		f.passwd.set(entry)
	}
}

// administrators are the groups whose members may become root, by distribution.
var administrators = []string{"wheel", "sudo"}

// joins are the groups that a user enters who asks for one. Images name their
// administrators differently, and some have both groups but a rule for one: of
// "wheel" and "sudo" the one that is missing or without a rule brings the other.
func (f *accountFiles) joins(name string) []string {
	if !slices.Contains(administrators, name) {
		return []string{name}
	}
	var all []string
	for _, g := range administrators {
		if f.group.row(g) != nil && (g == name || f.sudoers[g] && !f.sudoers[name] || f.group.row(name) == nil) {
			all = append(all, g)
		}
	}
	if all == nil {
		return []string{name}
	}
	return all
}

// sudoersRules are the groups that have a rule in /etc/sudoers.
func (c *changes) sudoersRules() (map[string]bool, error) {
	text, _, err := c.read("etc/sudoers")
	if err != nil {
		return nil, err
	}
	rules := map[string]bool{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[0], "%") {
			rules[fields[0][1:]] = true
		}
	}
	return rules, nil
}

// join makes a user a member of a group.
func (f *accountFiles) join(user, name string) error {
	row := f.group.row(name)
	if row == nil {
		return fmt.Errorf("the image has no group %q\nhint: add it as [[customizations.group]], or install the package that brings it", name)
	}
	row[3] = addMember(row[3], user)
	f.group.set(row)
	if f.gshadow == nil {
		return nil
	}
	shadow := f.gshadow.row(row[0])
	if shadow == nil {
		shadow = []string{row[0], "!", "", ""}
	}
	shadow[3] = row[3]
	f.gshadow.set(shadow)
	return nil
}

// subordinate gives a user ranges for rootless containers, as useradd does
// where the files exist.
func (f *accountFiles) subordinate(name string, uid int) {
	if uid < f.uids.low || f.subCount == 0 {
		return
	}
	for _, s := range []struct {
		db *database
		in idRange
	}{{f.subuid, f.subUIDs}, {f.subgid, f.subGIDs}} {
		if s.db == nil || s.db.row(name) != nil {
			continue
		}
		if start, ok := freeRange(s.db, s.in, f.subCount); ok {
			s.db.set([]string{name, strconv.Itoa(start), strconv.Itoa(f.subCount)})
		}
	}
}

// freeRange is the lowest start of count numbers that no line of db covers.
func freeRange(db *database, in idRange, count int) (int, bool) {
	type span struct{ start, end int }
	var used []span
	for fields := range db.all {
		start, err1 := strconv.Atoi(fields[1])
		n, err2 := strconv.Atoi(fields[2])
		if err1 == nil && err2 == nil && n > 0 {
			used = append(used, span{start, start + n})
		}
	}
	slices.SortFunc(used, func(a, b span) int { return a.start - b.start })
	start := in.low
	for _, s := range used {
		if s.start >= start+count {
			break
		}
		start = max(start, s.end)
	}
	return start, start+count-1 <= in.high
}
