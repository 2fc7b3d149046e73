package lint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// upgradeLints find what makes later upgrades fail on the machine.
func upgradeLints() []lint {
	return []lint{
		{
			Info: Info{Name: "upgrade-tools", Severity: Fatal, Text: "the programs that an upgrade runs are there"},
			root: upgradeTools,
		},
		{
			Info: Info{Name: "ostree-version", Severity: Warning, Text: "ostree is 2025.2 or newer"},
			root: ostreeVersion,
		},
		{
			Info: Info{Name: "bound-images", Severity: Warning, Text: "there are no logically bound images"},
			root: boundImages,
		},
	}
}

// upgradeTools looks for what bootc and libostree start while they upgrade:
// ostree commits layers, skopeo fetches them, podman keeps bound images, and
// with an SELinux policy libostree runs semodule inside bubblewrap when it
// finalizes, where a missing program loses the upgrade without a word.
func upgradeTools(p *pass) {
	need := func(name, why string) {
		for _, dir := range []string{"usr/bin/", "usr/sbin/"} {
			if p.isProgram(dir + name) {
				return
			}
		}
		p.report("usr/bin/"+name, "this program is missing: "+why, "install it in the image")
	}
	need("ostree", "it commits the layers of an upgrade")
	need("skopeo", "it fetches the layers of an upgrade")
	need("podman", "bootc asks it for its image store at every upgrade")
	if _, ok := p.follow("etc/selinux/config"); ok {
		need("bwrap", "an upgrade is dropped at shutdown without it (Debian and EL package bubblewrap)")
		need("semodule", "an upgrade is dropped at shutdown without it (Debian and EL package policycoreutils)")
	}
	if !p.isProgram("usr/bin/bootc") {
		p.warn("usr/bin/bootc", "this program is missing: the machine cannot be upgraded with bootc", "install it in the image, or upgrade by other means")
	}
}

// ostreeVersion looks into the package database for libostree 2025.2, which
// freezes /boot after it has swapped the boot entries: GRUB replays no journal
// (ostree#3392).
func ostreeVersion(p *pass) {
	version, at := p.debVersion()
	if version == "" {
		version, at = p.rpmVersion()
	}
	if version == "" {
		return // bootc's image without a package database: nothing to say
	}
	year, n, ok := parseVersion(version)
	if ok && (year < 2025 || year == 2025 && n < 2) {
		p.report(at, "ostree "+version+" is older than 2025.2: a power cut during an upgrade can leave GRUB without a boot entry", "take a newer ostree")
	}
}

func parseVersion(v string) (year, n int, ok bool) {
	y, rest, found := strings.Cut(v, ".")
	rest, _, _ = strings.Cut(rest, ".")
	year, err1 := strconv.Atoi(y)
	n, err2 := strconv.Atoi(strings.TrimRight(rest, "~+-"))
	return year, n, found && err1 == nil && err2 == nil
}

// debVersion reads dpkg's database (deb-control(5)), in whole or in pieces.
func (p *pass) debVersion() (version, at string) {
	for _, root := range []string{"usr/lib/sysimage/dpkg", "var/lib/dpkg", "usr/lib/dpkg", "usr/share/dpkg"} {
		files := []string{root + "/status"}
		for _, e := range p.dir(root + "/status.d") {
			files = append(files, e.Path)
		}
		for _, at := range files {
			e, ok := p.follow(at)
			if !ok || !e.Mode.IsRegular() || e.Content == nil {
				continue
			}
			if v := p.scan(at, e.Content, scanDeb); v != "" {
				return v, at
			}
		}
	}
	return "", ""
}

func scanDeb(r io.Reader) (string, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	ours := false
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "Package: "); ok {
			ours = name == "libostree-1-1" || name == "ostree"
		}
		if v, ok := strings.CutPrefix(line, "Version: "); ok && ours {
			v, _, _ = strings.Cut(v, "-")
			return v, nil
		}
	}
	return "", lines.Err()
}

// rpmVersion looks for the header of package ostree in rpm's database. The
// strings of a header stand in the order of their tags: name, version (rpm,
// "Package header"), so the pair can be found without the database's own form.
func (p *pass) rpmVersion() (version, at string) {
	for _, at := range []string{"usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/share/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite", "usr/share/rpm/Packages", "var/lib/rpm/Packages"} {
		e, ok := p.follow(at)
		if !ok || !e.Mode.IsRegular() || e.Content == nil {
			continue
		}
		if v := p.scan(at, e.Content, scanRPM); v != "" {
			return v, at
		}
	}
	return "", ""
}

var rpmName = regexp.MustCompile(`\x00ostree(?:-libs)?\x00(20[0-9][0-9]\.[0-9]{1,3})\x00`)

func scanRPM(r io.Reader) (string, error) {
	const step, overlap = 256 << 10, 64
	buf := make([]byte, overlap+step)
	kept := 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		if m := rpmName.FindSubmatch(buf[:kept+n]); m != nil {
			return string(m[1]), nil
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return "", nil
		case err != nil:
			return "", err
		}
		kept = copy(buf, buf[kept+n-overlap:kept+n])
	}
}

func (p *pass) scan(at string, c tree.Content, find func(io.Reader) (string, error)) string {
	r, err := c.Open()
	if err != nil {
		p.fail(at, err)
		return ""
	}
	v, err := find(r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		p.fail(at, err)
	}
	return v
}

func boundImages(p *pass) {
	for _, e := range p.dir("usr/lib/bootc/bound-images.d") {
		p.report(e.Path, fmt.Sprintf("the disk will not carry the image that %s binds: bootc fetches it at the first upgrade", path.Base(e.Path)), "")
	}
}
