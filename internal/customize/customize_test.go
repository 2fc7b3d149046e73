package customize

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aitheros/aither-image/internal/tree"
)

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f core"

func TestNoOptionsChangeNothing(t *testing.T) {
	got, err := Apply(Options{}, debianView())
	if err != nil || len(got) != 0 {
		t.Fatalf("got %s, %v", lines(t, got), err)
	}
}

// TestUser is one user in full: every file, its mode and its owners.
func TestUser(t *testing.T) {
	got, err := Apply(Options{Day: 20100, Users: []User{{
		Name: "core", Description: "The core", Password: "$6$salt$hash", Keys: []string{key, key}, Groups: []string{"wheel", "adm"}, Shell: "/bin/bash",
	}}}, debianView())
	if err != nil {
		t.Fatal(err)
	}
	want := `-rw-r--r-- 0:0 etc/group "root:x:0:\ndaemon:x:1:\nadm:x:4:core\nsudo:x:27:core\nshadow:x:42:\nusers:x:100:\n_chrony:x:102:\nnogroup:x:65534:\ncore:x:1000:\n"
-rw-r----- 0:42 etc/gshadow "root:*::\ndaemon:*::\nadm:*::core\nsudo:*::core\nshadow:*::\nusers:*::\n_chrony:!::\nnogroup:*::\ncore:!::\n"
-rw-r--r-- 0:0 etc/passwd "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n_chrony:x:100:102:Chrony daemon,,,:/var/lib/chrony:/usr/sbin/nologin\ncore:x:1000:1000:The core:/home/core:/bin/bash\n"
-rw-r----- 0:42 etc/shadow "root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\n_chrony:!:20000::::::\ncore:$6$salt$hash:20100:0:99999:7:::\n"
-rw-r--r-- 0:0 etc/subgid "core:100000:65536\n"
-rw-r--r-- 0:0 etc/subuid "core:100000:65536\n"
drwxr-xr-x 0:0 var/home
drwxr-xr-x 1000:1000 var/home/core
drwxr-xr-x 1000:1000 var/home/core/.config
-rw-r--r-- 1000:1000 var/home/core/.config/x "1\n"
-rw-r--r-- 1000:1000 var/home/core/.profile "umask 022\n"
drwx------ 1000:1000 var/home/core/.ssh
-rw------- 1000:1000 var/home/core/.ssh/authorized_keys "` + key + `\n"
`
	if diff := cmp.Diff(want, lines(t, got)); diff != "" {
		t.Error(diff)
	}
}

// TestAccounts looks at the files that a case is about.
func TestAccounts(t *testing.T) {
	for _, c := range []struct {
		name string
		view fakeView
		o    Options
		want map[string]string // the last line of each file
	}{
		{"numbers go up", debianView(), Options{Users: []User{{Name: "a"}, {Name: "b"}}},
			map[string]string{"etc/passwd": "b:x:1001:1001::/home/b:/bin/sh", "etc/group": "b:x:1001:", "etc/shadow": "b:!::0:99999:7:::", "etc/subuid": "b:165536:65536"}},
		{"a number asked for later is left free", debianView(), Options{Users: []User{{Name: "a"}, {Name: "b", UID: ptr(1000)}}},
			map[string]string{"etc/passwd": "b:x:1000:1000::/home/b:/bin/sh"}},
		{"the number after the highest", debianView().file("etc/passwd", "root:x:0:0::/root:/bin/sh\nx:x:1005:1005::/:/bin/sh\n"), Options{Users: []User{{Name: "a"}}},
			map[string]string{"etc/passwd": "a:x:1006:1006::/home/a:/bin/sh"}},
		{"the lowest free number at the end", debianView().file("etc/passwd", "root:x:0:0::/root:/bin/sh\nx:x:60000:1005::/:/bin/sh\n"), Options{Users: []User{{Name: "a"}}},
			map[string]string{"etc/passwd": "a:x:1000:1000::/home/a:/bin/sh"}},
		{"a group's number is not the user's where that is taken", debianView().file("etc/group", "root:x:0:\nx:x:1000:\n"), Options{Users: []User{{Name: "a"}}},
			map[string]string{"etc/passwd": "a:x:1000:1001::/home/a:/bin/sh", "etc/group": "a:x:1001:"}},
		{"a primary group by number", debianView(), Options{Users: []User{{Name: "a", GID: ptr(100)}}},
			map[string]string{"etc/passwd": "a:x:1000:100::/home/a:/bin/sh", "etc/group": ""}},
		{"a group of this run", debianView(), Options{Groups: []Group{{"a", ptr(1234)}}, Users: []User{{Name: "a"}}},
			map[string]string{"etc/passwd": "a:x:1000:1234::/home/a:/bin/sh", "etc/group": "a:x:1234:"}},
		{"groups go around numbers asked for", debianView(), Options{Groups: []Group{{"a", nil}, {"b", ptr(1000)}}},
			map[string]string{"etc/group": "b:x:1000:", "etc/gshadow": "b:!::"}},
		{"an existing group is kept", debianView(), Options{Groups: []Group{{"adm", ptr(4)}, {"sudo", nil}}}, map[string]string{"etc/group": ""}},
		{"system users have no subordinate numbers", debianView(), Options{Users: []User{{Name: "a", UID: ptr(500)}}}, map[string]string{"etc/subuid": "", "etc/passwd": "a:x:500:500::/home/a:/bin/sh"}},
		{"a gap between subordinate numbers", debianView().file("etc/subuid", "x:100000:65536\ny:231072:65536\n"), Options{Users: []User{{Name: "a"}}}, map[string]string{"etc/subuid": "a:165536:65536"}},
		{"no gap is wide enough", debianView().file("etc/subuid", "x:100000:65536\ny:200000:65536\n"), Options{Users: []User{{Name: "a"}}}, map[string]string{"etc/subuid": "a:265536:65536"}},
		{"no file of subordinate numbers", debianView().without("etc/subuid"), Options{Users: []User{{Name: "a"}}}, map[string]string{"etc/subuid": "", "etc/subgid": "a:100000:65536"}},
		{"a password to be changed", debianView(), Options{Day: 20100, Users: []User{{Name: "a", Password: "$y$x", MustChangePassword: true, ExpireDate: ptr(30000)}}},
			map[string]string{"etc/shadow": "a:$y$x:0:0:99999:7::30000:"}},
		{"the root's password", debianView().file("etc/shadow", "root:*:20000:0:99999:7:::\n"), Options{Day: 20100, Users: []User{{Name: "root", Password: "$6$h"}}},
			map[string]string{"etc/shadow": "root:$6$h:20100:0:99999:7:::", "etc/passwd": "", "etc/subuid": ""}},
		{"a user of /usr/lib keeps its line there", fedoraView(), Options{Users: []User{{Name: "core", Password: "$6$h"}}},
			map[string]string{"etc/passwd": "core:x:1500:1500:Core:/var/home/core:/bin/bash", "etc/shadow": "core:$6$h::0:99999:7:::"}},
		{"a group of /usr/lib is copied for its member", fedoraView(), Options{Users: []User{{Name: "a", Groups: []string{"sudo"}}}},
			map[string]string{"etc/group": "wheel:x:10:a", "etc/gshadow": "wheel:!::a", "etc/passwd": "a:x:1501:1501::/home/a:/bin/bash"}},
		{"members are kept", debianView().file("etc/group", "root:x:0:\nadm:x:4:syslog,x\n"), Options{Users: []User{{Name: "a", GID: ptr(0), Groups: []string{"adm"}}}}, map[string]string{"etc/group": "adm:x:4:syslog,x,a"}},
		{"an expiry is no change of the password", debianView().file("etc/shadow", "root:*:20000:0:99999:7:::\n"), Options{Day: 20100, Users: []User{{Name: "root", ExpireDate: ptr(9)}}}, map[string]string{"etc/shadow": "root:*:20000:0:99999:7::9:"}},
		{"a password moves into shadow", debianView().file("etc/passwd", "root::0:0:root:/root:/bin/bash\n"), Options{Users: []User{{Name: "root", Password: "$6$x"}}}, map[string]string{"etc/passwd": "root:x:0:0:root:/root:/bin/bash"}},
		{"a line that is there comes before that of /usr/lib", fedoraView().file("etc/passwd", "root:x:0:0::/root:/bin/sh\ncore:x:1700:1500::/var/home/other:/bin/sh\n"), Options{Users: []User{{Name: "core", Description: "C"}}},
			map[string]string{"etc/passwd": "core:x:1700:1500:C:/var/home/other:/bin/sh"}},
		{"subordinate numbers are for new users", debianView().file("etc/passwd", "root:x:0:0::/root:/bin/sh\nx:x:1000:1000::/home/x:/bin/sh\n"), Options{Users: []User{{Name: "x", Description: "X"}}}, map[string]string{"etc/subuid": ""}},
		{"both administrators, a rule for the other", debianView().file("etc/group", "root:x:0:\nwheel:x:10:\nsudo:x:27:\n").file("etc/sudoers", "# %wheel ALL\nroot ALL=(ALL:ALL) ALL\n%sudo\tALL=(ALL:ALL) ALL\n"), Options{Users: []User{{Name: "a", GID: ptr(0), Groups: []string{"wheel"}}}},
			map[string]string{"etc/group": "sudo:x:27:a"}},
		{"both administrators, a rule for this one", debianView().file("etc/group", "root:x:0:\nwheel:x:10:\nsudo:x:27:\n").file("etc/sudoers", "%wheel ALL=(ALL) ALL\n"), Options{Users: []User{{Name: "a", GID: ptr(0), Groups: []string{"wheel"}}}},
			map[string]string{"etc/group": "sudo:x:27:"}},
		{"both administrators, no rule", debianView().file("etc/group", "root:x:0:\nsudo:x:27:\nwheel:x:10:\n"), Options{Users: []User{{Name: "a", GID: ptr(0), Groups: []string{"sudo"}}}},
			map[string]string{"etc/group": "wheel:x:10:"}},
		{"no user groups", debianView().file("etc/login.defs", "USERGROUPS_ENAB no\n"), Options{Users: []User{{Name: "a"}}}, map[string]string{"etc/passwd": "a:x:1000:100::/home/a:/bin/sh"}},
		{"NIS lines stay last words", debianView().file("etc/passwd", "root:x:0:0::/root:/bin/sh\n+::::::\n"), Options{Users: []User{{Name: "a"}}}, map[string]string{"etc/passwd": "a:x:1000:1000::/home/a:/bin/sh"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Apply(c.o, c.view)
			if err != nil {
				t.Fatal(err)
			}
			for p, want := range c.want {
				all := strings.TrimSuffix(text(t, got, p), "\n")
				if last := all[strings.LastIndexByte(all, '\n')+1:]; last != want {
					t.Errorf("%s ends in %q, not %q", p, last, want)
				}
			}
		})
	}
}

func TestHomes(t *testing.T) {
	for _, c := range []struct {
		name string
		view fakeView
		user User
		want string // lines below var
	}{
		{"of root", debianView(), User{Name: "root", Keys: []string{key}},
			"drwx------ 0:0 var/roothome\n-rw-r--r-- 0:0 var/roothome/.profile \"umask 022\\n\"\ndrwx------ 0:0 var/roothome/.ssh\n-rw------- 0:0 var/roothome/.ssh/authorized_keys \"" + key + "\\n\"\n"},
		{"with a mode of its own", fedoraView().without("etc/skel/.config").without("etc/skel/.config/x").without("etc/skel/.profile").without("etc/skel"), User{Name: "a"},
			"drwxr-xr-x 0:0 var/home\ndrwx------ 1501:1501 var/home/a\n"},
		{"elsewhere below /var", debianView().without("etc/skel"), User{Name: "a", Home: "/var/lib/a"},
			"drwxr-xr-x 0:0 var/lib\ndrwxr-xr-x 1000:1000 var/lib/a\n"},
		{"that is there keeps its keys", debianView().file("var/home/a/.ssh/authorized_keys", "ssh-rsa old\n"), User{Name: "a", Keys: []string{key}},
			"drwx------ 1000:1000 var/home/a/.ssh\n-rw------- 1000:1000 var/home/a/.ssh/authorized_keys \"ssh-rsa old\\n" + key + "\\n\"\n"},
		{"of an existing user without keys", debianView(), User{Name: "root", Password: "$6$x"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			view := c.view
			if strings.Contains(c.name, "of root") {
				delete(view, "etc/skel/.config")
				delete(view, "etc/skel/.config/x")
			}
			got, err := Apply(Options{Users: []User{c.user}}, view)
			if err != nil {
				t.Fatal(err)
			}
			var below []tree.Entry
			for _, e := range got {
				if strings.HasPrefix(e.Path, "var/") {
					below = append(below, e)
				}
			}
			if diff := cmp.Diff(c.want, lines(t, below)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSkeletonOfLinks copies links as links, and what is linked hard as files.
func TestSkeletonOfLinks(t *testing.T) {
	v := debianView().without("etc/skel/.config/x").without("etc/skel/.config").link("etc/skel/.link", ".profile")
	v.add(tree.Entry{Path: "etc/skel/.hard", Mode: 0o600, Link: "etc/skel/.profile", Content: tree.Text("umask 022\n")})
	got, err := Apply(Options{Users: []User{{Name: "a"}}}, v)
	if err != nil {
		t.Fatal(err)
	}
	want := `-rw------- 1000:1000 var/home/a/.hard "umask 022\n"
Lrwxrwxrwx 1000:1000 var/home/a/.link -> .profile
-rw-r--r-- 1000:1000 var/home/a/.profile "umask 022\n"
`
	var homes []tree.Entry
	for _, e := range got {
		if strings.HasPrefix(e.Path, "var/home/a/") {
			homes = append(homes, e)
			if e.Mode.IsRegular() && e.Link != "" {
				t.Errorf("%s is linked to %s", e.Path, e.Link)
			}
		}
	}
	if diff := cmp.Diff(want, lines(t, homes)); diff != "" {
		t.Error(diff)
	}
}

func TestSystem(t *testing.T) {
	for _, c := range []struct {
		name string
		view fakeView
		o    Options
		want string
	}{
		{"host name", debianView(), Options{Hostname: "box.example"}, "-rw-r--r-- 0:0 etc/hostname \"box.example\\n\"\n"},
		{"time zone", debianView(), Options{Timezone: "Europe/Berlin"},
			"Lrwxrwxrwx 0:0 etc/localtime -> ../usr/share/zoneinfo/Europe/Berlin\n-rw-r--r-- 0:0 etc/timezone \"Europe/Berlin\\n\"\n"},
		{"time zone without Debian's file", debianView().without("etc/timezone"), Options{Timezone: "Europe/Berlin"},
			"Lrwxrwxrwx 0:0 etc/localtime -> ../usr/share/zoneinfo/Europe/Berlin\n"},
		{"locale behind a link", debianView(), Options{Locale: "de_DE.UTF-8"}, "-rw-r--r-- 0:0 etc/locale.conf \"LC_TIME=C\\nLANG=de_DE.UTF-8\\n\"\n"},
		{"locale in two files", debianView().file("etc/default/locale", "LANG=C\n"), Options{Locale: "de_DE.UTF-8"},
			"-rw-r--r-- 0:0 etc/default/locale \"LANG=de_DE.UTF-8\\n\"\n-rw-r--r-- 0:0 etc/locale.conf \"LC_TIME=C\\nLANG=de_DE.UTF-8\\n\"\n"},
		{"locale the other way around", debianView().link("etc/locale.conf", "default/locale").file("etc/default/locale", "LANG=C\n"), Options{Locale: "de_DE.UTF-8"},
			"-rw-r--r-- 0:0 etc/default/locale \"LANG=de_DE.UTF-8\\n\"\n"},
		{"locale behind a link into the image", debianView().link("etc/locale.conf", "../usr/lib/locale.conf"), Options{Locale: "C.UTF-8"}, "-rw-r--r-- 0:0 etc/locale.conf \"LANG=C.UTF-8\\n\"\n"},
		{"locale of an empty image", fakeView{}, Options{Locale: "C.UTF-8"}, "drwxr-xr-x 0:0 etc\n-rw-r--r-- 0:0 etc/locale.conf \"LANG=C.UTF-8\\n\"\n"},
		{"keyboard of Debian", debianView(), Options{Keyboard: "de-nodeadkeys"},
			"-rw-r--r-- 0:0 etc/default/keyboard \"XKBMODEL=\\\"pc105\\\"\\nXKBLAYOUT=\\\"de\\\"\\nXKBVARIANT=\\\"nodeadkeys\\\"\\nKEYMAP=de-nodeadkeys\\n\"\n"},
		{"keyboard elsewhere", debianView().without("etc/default/keyboard").file("etc/vconsole.conf", "FONT=x\nKEYMAP=us\n"), Options{Keyboard: "de"},
			"-rw-r--r-- 0:0 etc/vconsole.conf \"FONT=x\\nKEYMAP=de\\n\"\n"},
		{"masked units", debianView().file("etc/systemd/system/x", ""), Options{Mask: []string{"a.service"}}, "Lrwxrwxrwx 0:0 etc/systemd/system/a.service -> /dev/null\n"},
		{"time servers for chrony", debianView(), Options{NTPServers: []string{"a.example", "b.example"}},
			"-rw-r--r-- 0:0 etc/chrony/chrony.conf \"# head\\nserver a.example iburst\\nserver b.example iburst\\nsourcedir /run/chrony-dhcp\\ndriftfile /var/lib/chrony/chrony.drift\\n\"\n"},
		{"time servers for timesyncd", debianView().without("etc/chrony/chrony.conf").file("usr/lib/systemd/systemd-timesyncd", ""), Options{NTPServers: []string{"a.example"}},
			"drwxr-xr-x 0:0 etc/systemd\ndrwxr-xr-x 0:0 etc/systemd/timesyncd.conf.d\n-rw-r--r-- 0:0 etc/systemd/timesyncd.conf.d/50-aither-image.conf \"[Time]\\nNTP=\\nNTP=a.example\\n\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Apply(c.o, c.view)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, lines(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		view fakeView
		o    Options
		want string
	}{
		{"a file", debianView(), Options{Files: []File{{Path: "/etc/motd", Data: []byte("hi\n")}}}, "-rw-r--r-- 0:0 etc/motd \"hi\\n\"\n"},
		{"a file with its parents", debianView(), Options{Files: []File{{Path: "/var/lib/a/b", Mode: ptr(fs.FileMode(0o600))}}},
			"drwxr-xr-x 0:0 var/lib\ndrwxr-xr-x 0:0 var/lib/a\n-rw------- 0:0 var/lib/a/b \"\"\n"},
		{"known parents have their modes", debianView(), Options{Files: []File{{Path: "/var/tmp/x"}, {Path: "/var/roothome/x"}}},
			"drwx------ 0:0 var/roothome\n-rw-r--r-- 0:0 var/roothome/x \"\"\ndtrwxrwxrwx 0:0 var/tmp\n-rw-r--r-- 0:0 var/tmp/x \"\"\n"},
		{"a file of root's", debianView(), Options{Files: []File{{Path: "/root/x"}}}, "drwx------ 0:0 var/roothome\n-rw-r--r-- 0:0 var/roothome/x \"\"\n"},
		{"a file of the owner's programs", debianView().link("usr/local", "../var/usrlocal"), Options{Files: []File{{Path: "/usr/local/bin/x", Mode: ptr(fs.FileMode(0o755))}}},
			"drwxr-xr-x 0:0 var/usrlocal\ndrwxr-xr-x 0:0 var/usrlocal/bin\n-rwxr-xr-x 0:0 var/usrlocal/bin/x \"\"\n"},
		{"a file replaces a link", debianView(), Options{Files: []File{{Path: "/etc/localtime", Data: []byte("x")}}}, "-rw-r--r-- 0:0 etc/localtime \"x\"\n"},
		{"a file behind a link", debianView().link("etc/app", "default"), Options{Files: []File{{Path: "/etc/app/x"}}}, "-rw-r--r-- 0:0 etc/default/x \"\"\n"},
		{"owners by name", debianView(), Options{Files: []File{{Path: "/etc/x", User: &Owner{Name: "_chrony"}, Group: &Owner{Name: "adm"}}}}, "-rw-r--r-- 100:4 etc/x \"\"\n"},
		{"owners by number", debianView(), Options{Files: []File{{Path: "/etc/x", User: &Owner{ID: 7}, Group: &Owner{ID: 8}}}}, "-rw-r--r-- 7:8 etc/x \"\"\n"},
		{"owners of /usr/lib", fedoraView(), Options{Files: []File{{Path: "/etc/x", User: &Owner{Name: "core"}}}}, "-rw-r--r-- 1500:0 etc/x \"\"\n"},
		{"a directory", debianView(), Options{Directories: []Directory{{Path: "/etc/new", Mode: ptr(fs.FileMode(0o700))}}}, "drwx------ 0:0 etc/new\n"},
		{"a directory keeps what is not asked for", debianView(), Options{Directories: []Directory{{Path: "/etc/default", Group: &Owner{Name: "adm"}}}}, "drwxr-xr-x 0:4 etc/default\n"},
		{"directories in a row", debianView(), Options{Directories: []Directory{{Path: "/etc/a/b", EnsureParents: true}, {Path: "/etc/a/b/c"}}},
			"drwxr-xr-x 0:0 etc/a\ndrwxr-xr-x 0:0 etc/a/b\ndrwxr-xr-x 0:0 etc/a/b/c\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Apply(c.o, c.view)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, lines(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		view fakeView
		o    Options
		want string
	}{
		{"unknown group", debianView(), Options{Users: []User{{Name: "a", Groups: []string{"docker"}}}}, `no group "docker"`},
		{"no administrators", debianView().file("etc/group", "root:x:0:\n"), Options{Users: []User{{Name: "a", Groups: []string{"wheel"}}}}, `no group "wheel"`},
		{"unknown shell", debianView(), Options{Users: []User{{Name: "a", Shell: "/bin/zsh"}}}, `no shell "/bin/zsh"`},
		{"uid taken", debianView(), Options{Users: []User{{Name: "a", UID: ptr(100)}}}, `the number 100 belongs to the user "_chrony"`},
		{"uid changed", debianView(), Options{Users: []User{{Name: "_chrony", UID: ptr(1000)}}}, "the image has it with the number 100"},
		{"gid unknown", debianView(), Options{Users: []User{{Name: "a", GID: ptr(4711)}}}, "no group with the number 4711"},
		{"group of the user's name", debianView(), Options{Users: []User{{Name: "adm"}}}, "gid = 4"},
		{"gid taken", debianView(), Options{Groups: []Group{{"a", ptr(27)}}}, `belongs to the group "sudo"`},
		{"gid changed", debianView(), Options{Groups: []Group{{"sudo", ptr(28)}}}, "with the number 27"},
		{"all numbers used", debianView().file("etc/login.defs", "UID_MIN 65534\nUID_MAX 65534\n"), Options{Users: []User{{Name: "a"}}}, "are in use"},
		{"no shadow", debianView().without("etc/shadow"), Options{Users: []User{{Name: "a"}}}, "no /etc/shadow"},
		{"broken passwd", debianView().file("etc/passwd", "root:x:0\n"), Options{Users: []User{{Name: "a"}}}, "too few fields"},
		{"home in the image", debianView().without("home").file("home/x", ""), Options{Users: []User{{Name: "a"}}}, "belongs to the image"},
		{"unknown time zone", debianView(), Options{Timezone: "Mars/Olympus"}, "tzdata"},
		{"a folder is no time zone", debianView(), Options{Timezone: "Europe"}, "does not have it"},
		{"no time service", debianView().without("etc/chrony/chrony.conf"), Options{NTPServers: []string{"a"}}, "neither chrony"},
		{"file in usr", debianView(), Options{Files: []File{{Path: "/usr/x"}}}, `"/usr/x" belongs to the image`},
		{"file in a usr/local of the image", debianView().file("usr/local/bin/y", ""), Options{Files: []File{{Path: "/usr/local/bin/x"}}}, "belongs to the image"},
		{"etc itself", debianView(), Options{Directories: []Directory{{Path: "/etc"}}}, "belongs to the image"},
		{"the root", debianView(), Options{Directories: []Directory{{Path: "/"}}}, "absolute path"},
		{"relative file", debianView(), Options{Files: []File{{Path: "etc/x"}}}, "absolute path"},
		{"file that climbs", debianView(), Options{Files: []File{{Path: "/etc/../usr/x"}}}, "absolute path"},
		{"link out of etc", debianView().link("etc/out", "../usr"), Options{Files: []File{{Path: "/etc/out/x"}}}, `leads to "/usr/x"`},
		{"absolute link out", debianView().link("etc/out", "/etc/../usr"), Options{Files: []File{{Path: "/etc/out/x"}}}, `leads to "/usr/x"`},
		{"link far out", debianView().link("etc/out", "../../../../usr"), Options{Files: []File{{Path: "/etc/out/x"}}}, `leads to "/usr/x"`},
		{"links in a circle", debianView().link("etc/a", "b").link("etc/b", "a"), Options{Files: []File{{Path: "/etc/a/x"}}}, "symbolic links"},
		{"file on a folder", debianView(), Options{Files: []File{{Path: "/etc/skel"}}}, "is a folder"},
		{"file below a file", debianView(), Options{Files: []File{{Path: "/etc/passwd/x"}}}, "is no folder"},
		{"folder on a file", debianView(), Options{Directories: []Directory{{Path: "/etc/passwd"}}}, "is a file"},
		{"folder without parent", debianView(), Options{Directories: []Directory{{Path: "/etc/a/b"}}}, "ensure_parents = true"},
		{"unknown owner", debianView(), Options{Files: []File{{Path: "/etc/x", User: &Owner{Name: "postgres"}}}}, `no user "postgres"`},
		{"unknown owning group", debianView(), Options{Directories: []Directory{{Path: "/etc/x", Group: &Owner{Name: "postgres"}}}}, `no group "postgres"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Apply(c.o, c.view)
			if err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
				t.Errorf("got %v and %d entries, want an error with %q", err, len(got), c.want)
			}
		})
	}
}

// brokenView fails as a damaged image does.
type brokenView struct{ fakeView }

func (brokenView) Lookup(string) (tree.Entry, error) { return tree.Entry{}, errors.New("bad block") }

func TestDamagedImage(t *testing.T) {
	for name, o := range map[string]Options{
		"user": {Users: []User{{Name: "a"}}}, "host name": {Hostname: "a"}, "zone": {Timezone: "UTC"}, "locale": {Locale: "C"},
		"keyboard": {Keyboard: "us"}, "servers": {NTPServers: []string{"a"}}, "file": {Files: []File{{Path: "/etc/a"}}}, "directory": {Directories: []Directory{{Path: "/etc/a"}}},
	} {
		if _, err := Apply(o, brokenView{debianView()}); err == nil || !strings.Contains(err.Error(), "bad block") {
			t.Errorf("%s: got %v, want the image's error", name, err)
		}
	}
}
