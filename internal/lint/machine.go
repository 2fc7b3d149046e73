package lint

import (
	"io/fs"
	"path"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// modulesDir holds a folder for each kernel.
const modulesDir = "usr/lib/modules"

// machineLints find what keeps the machine from booting as it should.
func machineLints() []lint {
	return []lint{
		{
			Info: Info{Name: "two-kernels", Severity: Fatal, Text: "there is exactly one kernel, with its initramfs, and no rest of another one"},
			root: twoKernels,
		},
		{
			Info: Info{Name: "initramfs-parts", Severity: Fatal, Text: "the initramfs can find and mount the deployment"},
			root: initramfsParts,
		},
		{
			Info: Info{Name: "prepare-root", Severity: Fatal, Text: "prepare-root.conf asks only for what the disk has"},
			root: prepareRootConf,
		},
		{
			Info: Info{Name: "install-config", Severity: Fatal, Text: "the files of bootc/install are right to the letter"},
			root: installFiles,
		},
		{
			Info: Info{Name: "gpt-auto", Severity: Warning, Text: "systemd-gpt-auto-generator cannot mount the ESP over /boot"},
			root: gptAuto,
		},
		{
			Info: Info{Name: "special-files", Severity: Fatal, Text: "there are no devices, pipes or sockets"},
			each: specialFiles,
		},
		{
			Info: Info{Name: "state-links", Severity: Warning, Text: "/home and /root lead to /var, where they can be written"},
			root: stateLinks,
		},
		{
			Info: Info{Name: "unit-programs", Severity: Warning, Text: "the programs that units start can be executed"},
			each: unitPrograms,
		},
		privateKey(),
	}
}

// kernels returns the versions that have a kernel and those that have modules only.
func (p *pass) kernels() (whole, rest []string) {
	for _, e := range p.dir(modulesDir) {
		if !e.Mode.IsDir() {
			continue
		}
		version := path.Base(e.Path)
		if _, ok := p.lookup(e.Path + "/vmlinuz"); ok {
			whole = append(whole, version)
			continue
		}
		// Folders of add-on modules alone (weak-updates, extra) are no kernel.
		_, dep := p.lookup(e.Path + "/modules.dep")
		_, tree := p.lookup(e.Path + "/kernel")
		if dep || tree {
			rest = append(rest, version)
		}
	}
	return whole, rest
}

func twoKernels(p *pass) {
	whole, rest := p.kernels()
	switch len(whole) {
	case 0:
		p.report(modulesDir, "there is no kernel: no folder has a vmlinuz", "install a kernel and copy it to /usr/lib/modules/<version>/vmlinuz")
	case 1:
		for _, name := range []string{"vmlinuz", "initramfs.img"} {
			at := path.Join(modulesDir, whole[0], name)
			e, ok := p.lookup(at)
			if name == "initramfs.img" && !ok {
				e, ok = p.lookup(strings.TrimSuffix(at, ".img"))
			}
			switch {
			case !ok:
				p.report(at, "this file is missing", "make it with dracut, with the ostree module")
			case !e.Mode.IsRegular() || size(e) == 0:
				p.report(at, "this is not a regular file with content", "copy the file itself to this place, not a link to it")
			}
		}
	default:
		p.report(modulesDir, "there are several kernels: "+strings.Join(whole, ", "), "remove all but one: ostree takes whichever it meets first")
	}
	for _, version := range rest {
		p.warn(path.Join(modulesDir, version), "this is a rest of another kernel: modules without vmlinuz", "remove the kernel's packages as a whole")
	}
}

func prepareRootConf(p *pass) {
	for _, at := range []string{"etc/ostree/prepare-root.conf", prepareRootPath} {
		data, ok := p.read(at)
		if !ok {
			continue
		}
		kf, err := parseKeyFile(data)
		if err != nil {
			p.report(at, err.Error(), "write groups in brackets and key = value below them")
			continue
		}
		if problem := composefsProblem(kf); problem != "" {
			p.report(at, problem, "set [composefs] enabled = yes")
		}
		if ro := kf["sysroot"]["readonly"]; ro == "false" || ro == "no" || ro == "0" {
			p.warn(at, "/sysroot is writable: a program can damage every deployment", "remove readonly from [sysroot]")
		}
	}
}

// gptAuto looks for one of the remedies against the automount of the ESP over
// /boot, which loses staged upgrades at shutdown (bootc#2402).
func gptAuto(p *pass) {
	const generator = "systemd/system-generators/systemd-gpt-auto-generator"
	if _, ok := p.follow("usr/lib/" + generator); !ok {
		return
	}
	if e, ok := p.lookup("etc/" + generator); ok && (e.Link == "/dev/null" || e.Mode.IsRegular() && size(e) == 0) {
		return
	}
	for _, karg := range append(p.kargs(), p.installKargs()...) {
		switch karg {
		case "systemd.gpt_auto=0", "systemd.gpt_auto=no", "systemd.gpt_auto=false", "systemd.gpt_auto=off":
			return
		}
	}
	fstab, _ := p.read("etc/fstab")
	for line := range strings.Lines(string(fstab)) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0][0] != '#' && (f[1] == "/boot" || f[1] == "/boot/efi" || f[1] == "/efi") {
			return
		}
	}
	p.report("usr/lib/"+generator, "it mounts the ESP over /boot, and upgrades are lost at shutdown without a word",
		"add the kernel argument systemd.gpt_auto=0 in /usr/lib/bootc/kargs.d, or a line for the ESP in /etc/fstab")
}

func specialFiles(p *pass, e tree.Entry) {
	if under(e.Path, "dev") {
		return // never taken over
	}
	if t := e.Mode.Type(); t&(fs.ModeDevice|fs.ModeCharDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeIrregular) != 0 {
		p.report(e.Path, "ostree cannot keep a file of this kind", "let tmpfiles.d or the program make it on the machine")
	}
}

// unitPrograms finds files that lost their mode on the way into the image. A
// program that is not there at all is left alone: units have conditions.
func unitPrograms(p *pass, e tree.Entry) {
	dir := path.Dir(e.Path)
	if !e.Mode.IsRegular() || path.Ext(e.Path) != ".service" || dir != "usr/lib/systemd/system" && dir != "etc/systemd/system" {
		return
	}
	data, _ := p.content(e.Path, e)
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		f := strings.Fields(strings.TrimLeft(value, "-@:+!| "))
		if !strings.HasPrefix(key, "Exec") || len(f) == 0 || f[0][0] != '/' || strings.ContainsAny(f[0], "%$\"'\\") {
			continue
		}
		at := strings.TrimPrefix(path.Clean(f[0]), "/")
		if to, ok := p.follow(at); ok && to.Mode.IsRegular() && to.Mode.Perm()&0o111 == 0 {
			p.report(at, "/"+e.Path+" starts this file, which cannot be executed", "make it executable (chmod 755)")
		}
	}
}

func stateLinks(p *pass) {
	for _, at := range []string{"home", "root"} {
		e, ok := p.lookup(at)
		if ok && e.Mode.IsDir() {
			p.report(at, "this folder cannot be written on the machine", "make it a link into /var, with an entry in tmpfiles.d for the target")
		}
	}
}
