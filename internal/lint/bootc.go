package lint

import (
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/aitheros/aither-image/internal/tree"
)

// bootcLints are the lints of bootc 1.16, same names, severities and conditions
// (bootc container lint --list; crates/lib/src/lints.rs). Where bootc stops at
// the first fault of a tree, these go on.
func bootcLints() []lint {
	fatal := func(name, text string, f func(*pass)) lint {
		return lint{Info: Info{Name: name, Severity: Fatal, Text: text}, root: f}
	}
	warning := func(name, text string, f func(*pass)) lint {
		return lint{Info: Info{Name: name, Severity: Warning, Text: text}, root: f}
	}
	return []lint{
		fatal("api-base-directories", "/dev, /proc, /sys, /run, /tmp and /var are folders", apiDirs),
		warning("baseimage-composefs", "composefs is enabled in prepare-root.conf", composefsEnabled),
		fatal("baseimage-root", "/sysroot is a folder and /ostree leads to sysroot/ostree", baseRoot),
		fatal("bootc-kargs", "the files of /usr/lib/bootc/kargs.d are right to the letter", kargsFiles),
		warning("buildah-injected", "/etc/hostname and /etc/resolv.conf are not empty leftovers of a container build", buildahInjected),
		fatal("etc-usretc", "there is /etc or /usr/etc, not both", etcAndUsrEtc),
		fatal("kernel", "there is at most one kernel in /usr/lib/modules", oneKernel),
		warning("nonempty-boot", "/boot exists and is empty", emptyBoot),
		warning("nonempty-run-tmp", "/run and /tmp are empty", emptyRunTmp),
		warning("sysusers", "every user and group has an entry in sysusers.d", sysusers),
		{Info: Info{Name: "utf8", Severity: Fatal, Text: "names and link targets are UTF-8"}, each: namesAreUTF8},
		warning("var-log", "there is no log in /var/log", emptyLogs),
		fatal("var-run", "/var/run is a link", varRun),
		varTmpfiles(),
	}
}

func apiDirs(p *pass) {
	for _, d := range []string{"dev", "proc", "sys", "run", "tmp", "var"} {
		e, ok := p.lookup(d)
		switch {
		case !ok:
			p.report(d, "this folder is missing", "create it empty in the image")
		case !e.Mode.IsDir():
			p.report(d, "this is not a folder", "")
		}
	}
}

// baseReference is where bootc's own base images document their root.
const baseReference = "usr/share/doc/bootc/baseimage/base"

func composefsEnabled(p *pass) {
	for _, root := range []string{"", baseReference} {
		if root != "" {
			if e, ok := p.lookup(root); !ok || !e.Mode.IsDir() {
				continue
			}
		}
		at, conf, ok := p.prepareRoot(root)
		switch {
		case !ok && p.err == nil:
			p.report(path.Join(root, prepareRootPath), "the file that enables composefs is missing or not a key file", "write it with [composefs] enabled = yes")
		case ok && !conf.overlay():
			p.report(at, "composefs is not enabled", "set [composefs] enabled = yes and rebuild the initramfs")
		}
	}
}

func baseRoot(p *pass) {
	for _, root := range []string{"", baseReference} {
		if root != "" {
			if e, ok := p.lookup(root); !ok || !e.Mode.IsDir() {
				continue
			}
		}
		at := path.Join(root, "sysroot")
		if e, ok := p.lookup(at); !ok || !e.Mode.IsDir() {
			p.report(at, "this folder is missing", "create it empty in the image")
		}
		at = path.Join(root, "ostree")
		e, ok := p.lookup(at)
		if !ok || e.Mode.Type() != fs.ModeSymlink || e.Link != "sysroot/ostree" {
			p.report(at, "this is not a link to sysroot/ostree", "ln -s sysroot/ostree /ostree")
		}
	}
}

func buildahInjected(p *pass) {
	for _, at := range []string{"etc/hostname", "etc/resolv.conf"} {
		if e, ok := p.lookup(at); ok && e.Mode.IsRegular() && size(e) == 0 {
			p.report(at, "this empty file was probably left by a container build", "remove it in the image's last layer")
		}
	}
}

func etcAndUsrEtc(p *pass) {
	_, etc := p.lookup("etc")
	if _, usr := p.lookup("usr/etc"); etc && usr {
		p.report("usr/etc", "an image with /etc must not have /usr/etc", "put configuration into /etc only")
	}
}

func oneKernel(p *pass) {
	var kernels []string
	for _, e := range p.dir(modulesDir) {
		if !e.Mode.IsDir() {
			continue
		}
		if _, ok := p.follow(e.Path + "/vmlinuz"); ok {
			kernels = append(kernels, path.Base(e.Path))
		}
	}
	if len(kernels) > 1 {
		p.report(modulesDir, "there are several kernels: "+strings.Join(kernels, ", "), "remove all but one")
	}
}

func emptyBoot(p *pass) {
	if e, ok := p.lookup("boot"); !ok || !e.Mode.IsDir() {
		p.report("boot", "this folder is missing", "create it empty in the image")
		return
	}
	for _, e := range p.dir("boot") {
		if path.Base(e.Path) != "EFI" { // as bootc: composefs-rs#131
			p.report(e.Path, "what is in /boot is hidden on the machine", "kernels belong into /usr/lib/modules/<version>, nothing else into /boot")
		}
	}
}

// runtimeFile is what podman leaves while it builds (bootc#2050).
const runtimeFile = "run/systemd/resolve/stub-resolv.conf"

func emptyRunTmp(p *pass) {
	var check func(dir string) (kept bool)
	check = func(dir string) (kept bool) {
		for _, e := range p.dir(dir) {
			known := e.Path == runtimeFile || under(runtimeFile, e.Path) && e.Mode.IsDir()
			inner := e.Mode.IsDir() && e.Mode.Type() != fs.ModeSymlink && check(e.Path)
			if known && !inner {
				continue
			}
			kept = true
			if !inner {
				p.report(e.Path, "/run and /tmp are empty at every boot: this is lost", "remove it in the step that makes it")
			}
		}
		return kept
	}
	for _, dir := range []string{"run", "tmp"} {
		if e, ok := p.lookup(dir); ok && e.Mode.IsDir() {
			check(dir)
		}
	}
}

func namesAreUTF8(p *pass, e tree.Entry) {
	if !utf8.ValidString(path.Base(e.Path)) {
		p.report(strings.ToValidUTF8(e.Path, "?"), "this name is not UTF-8", "ostree keeps UTF-8 names only: rename it")
		return
	}
	if e.Mode.Type() == fs.ModeSymlink && !utf8.ValidString(e.Link) {
		p.report(strings.ToValidUTF8(e.Path, "?"), "this link's target is not UTF-8", "ostree keeps UTF-8 names only")
	}
}

func emptyLogs(p *pass) {
	var check func(dir string)
	check = func(dir string) {
		for _, e := range p.dir(dir) {
			switch {
			case e.Mode.IsDir():
				check(e.Path)
			case e.Mode.IsRegular() && size(e) > 0:
				p.report(e.Path, "this log tells about the build, not about the machine", "remove it in the step that writes it")
			}
		}
	}
	if e, ok := p.lookup("var/log"); ok && e.Mode.IsDir() {
		check("var/log")
	}
}

func varRun(p *pass) {
	if e, ok := p.lookup("var/run"); ok && e.Mode.Type() != fs.ModeSymlink {
		p.report("var/run", "this is not a link", "ln -s ../run /var/run, or remove it")
	}
}
