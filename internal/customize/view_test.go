package customize

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tree"
)

// A fakeView is an image in memory, by path. Parents are implied.
type fakeView map[string]tree.Entry

func (v fakeView) Lookup(p string) (tree.Entry, error) { return v.walk(p, 0) }

func (v fakeView) walk(p string, links int) (tree.Entry, error) {
	parts := strings.Split(p, "/")
	for i := range parts {
		at := strings.Join(parts[:i+1], "/")
		e, ok := v[at]
		if !ok || links > 40 {
			return tree.Entry{}, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
		}
		if i < len(parts)-1 && e.Mode&fs.ModeSymlink != 0 {
			to := path.Join("/", path.Dir(at), e.Link)
			if path.IsAbs(e.Link) {
				to = e.Link
			}
			return v.walk(path.Join(to, strings.Join(parts[i+1:], "/"))[1:], links+1)
		}
	}
	return v[p], nil
}

func (v fakeView) ReadFile(p string) ([]byte, error) {
	e, err := v.Lookup(p)
	if err != nil {
		return nil, err
	}
	if !e.Mode.IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", p)
	}
	return tree.ReadAll(e.Content, 1<<20)
}

func (v fakeView) ReadDir(p string) ([]tree.Entry, error) {
	var out []tree.Entry
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if path.Dir(name) == p {
			out = append(out, v[name])
		}
	}
	return out, nil
}

func (v fakeView) add(e tree.Entry) {
	for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
		if _, ok := v[dir]; !ok {
			v[dir] = tree.Entry{Path: dir, Mode: fs.ModeDir | 0o755}
		}
	}
	v[e.Path] = e
}

// file adds or replaces a text file.
func (v fakeView) file(p, text string) fakeView {
	v.add(tree.Entry{Path: p, Mode: 0o644, Content: tree.Text(text)})
	return v
}

func (v fakeView) link(p, to string) fakeView {
	v.add(tree.Entry{Path: p, Mode: fs.ModeSymlink | 0o777, Link: to})
	return v
}

func (v fakeView) without(p string) fakeView {
	delete(v, p)
	return v
}

// debianView is the parts of a Debian image that the changes look at.
func debianView() fakeView {
	v := fakeView{}
	v.file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n_chrony:x:100:102:Chrony daemon,,,:/var/lib/chrony:/usr/sbin/nologin\n")
	v.file("etc/group", "root:x:0:\ndaemon:x:1:\nadm:x:4:\nsudo:x:27:\nshadow:x:42:\nusers:x:100:\n_chrony:x:102:\nnogroup:x:65534:\n")
	v.add(tree.Entry{Path: "etc/shadow", Mode: 0o640, GID: 42, Content: tree.Text("root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\n_chrony:!:20000::::::\n")})
	v.add(tree.Entry{Path: "etc/gshadow", Mode: 0o640, GID: 42, Content: tree.Text("root:*::\ndaemon:*::\nadm:*::\nsudo:*::\nshadow:*::\nusers:*::\n_chrony:!::\nnogroup:*::\n")})
	v.file("etc/subuid", "").file("etc/subgid", "")
	v.file("etc/login.defs", "# comment\nUID_MIN\t\t\t 1000\nUID_MAX\t\t\t60000\nGID_MIN 1000\nGID_MAX 60000\nUMASK\t022\nUSERGROUPS_ENAB yes\nPASS_MAX_DAYS\t99999\nPASS_MIN_DAYS\t0\nPASS_WARN_AGE\t7\nSUB_UID_MIN 100000\nSUB_UID_MAX 600100000\nSUB_UID_COUNT 65536\n")
	v.file("etc/default/useradd", "SHELL=/bin/sh\n# HOME=/srv\n")
	v.file("etc/skel/.profile", "umask 022\n").file("etc/skel/.config/x", "1\n")
	v.file("etc/hostname", "localhost\n").file("etc/timezone", "Etc/UTC\n")
	v.link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC").link("etc/default/locale", "../locale.conf")
	v.file("etc/locale.conf", "LC_TIME=C\nLANG=C.UTF-8\n")
	v.file("etc/default/keyboard", "XKBMODEL=\"pc105\"\nXKBLAYOUT=\"us\"\nXKBVARIANT=\"\"\n").link("etc/vconsole.conf", "default/keyboard")
	v.file("etc/chrony/chrony.conf", "# head\npool 2.debian.pool.ntp.org iburst\nsourcedir /run/chrony-dhcp\ndriftfile /var/lib/chrony/chrony.drift\n")
	v.file("usr/bin/bash", "").file("usr/bin/sh", "").link("bin", "usr/bin")
	v.file("usr/share/zoneinfo/Europe/Berlin", "TZif")
	v.link("home", "var/home").link("root", "var/roothome")
	v.add(tree.Entry{Path: "var", Mode: fs.ModeDir | 0o755})
	return v
}

// fedoraView is an image whose accounts stand in /usr/lib, as rpm-ostree makes them.
func fedoraView() fakeView {
	v := debianView()
	v.file("usr/lib/passwd", "bin:x:1:1:bin:/bin:/usr/sbin/nologin\ncore:x:1500:1500:Core:/var/home/core:/bin/bash\n")
	v.file("usr/lib/group", "bin:x:1:\nwheel:x:10:\ncore:x:1500:\n")
	v.file("etc/passwd", "root:x:0:0:Super User:/root:/bin/bash\n").file("etc/group", "root:x:0:\n")
	v.add(tree.Entry{Path: "etc/shadow", Mode: 0, Content: tree.Text("root:!locked::0:99999:7:::\n")})
	v.add(tree.Entry{Path: "etc/gshadow", Mode: 0, Content: tree.Text("root:::\n")})
	v.file("etc/login.defs", "UMASK 022\nHOME_MODE 0700\nPASS_MIN_DAYS 0\nPASS_MAX_DAYS 99999\nPASS_WARN_AGE 7\n").file("etc/default/useradd", "HOME=/home\nSHELL=/bin/bash\nSKEL=/etc/skel\n")
	return v
}

// lines is entries as short lines: mode, owners, path, and target or content.
func lines(t *testing.T, entries []tree.Entry) string {
	t.Helper()
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %d:%d %s", e.Mode, e.UID, e.GID, e.Path)
		if e.Mode&fs.ModeSymlink != 0 {
			fmt.Fprintf(&b, " -> %s", e.Link)
		}
		if e.Mode.IsRegular() {
			text, err := tree.ReadAll(e.Content, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %q", text)
		}
		if !e.ModTime.IsZero() {
			b.WriteString(" HAS A TIME")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// text is the content of one entry, or "" if it is not changed.
func text(t *testing.T, entries []tree.Entry, p string) string {
	t.Helper()
	for _, e := range entries {
		if e.Path == p {
			b, err := tree.ReadAll(e.Content, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
	return ""
}

func ptr[T any](v T) *T { return &v }
