package lint

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tree"
)

func TestSoundImageHasNoFindings(t *testing.T) {
	found, err := Run(context.Background(), sound(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Errorf("%+v", f)
	}
}

const pemKey = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n"

// faults are at least one bad and one good change of the sound image for every lint.
var faults = []struct {
	lint string
	bad  map[string]func(mem) // what it does: part of the finding's path and text in the key after "=>"
	good map[string]func(mem)
}{
	{"api-base-directories", map[string]func(mem){
		"missing => /proc: missing":    func(m mem) { m.remove("proc") },
		"link => /tmp: not a folder":   func(m mem) { m.remove("tmp").link("tmp", "var/tmp") },
		"no var => /var: missing":      func(m mem) { m.remove("var") },
		"file => /dev: not a folder":   func(m mem) { m.remove("dev").file("dev", "") },
		"several => /sys: this folder": func(m mem) { m.remove("sys", "run") },
	}, map[string]func(mem){"filled": func(m mem) { m.dir("dev/pts") }}},
	{"baseimage-composefs", map[string]func(mem){
		"missing => /usr/lib/ostree/prepare-root.conf: missing":  func(m mem) { m.remove(prepareRootPath) },
		"off => /usr/lib/ostree/prepare-root.conf: not enabled":  func(m mem) { m.file(prepareRootPath, "[composefs]\nenabled = no\n") },
		"etc wins => /etc/ostree/prepare-root.conf: not enabled": func(m mem) { m.file("etc/ostree/prepare-root.conf", "[sysroot]\nreadonly=true\n") },
		"reference => /usr/share/doc/bootc/baseimage/base":       func(m mem) { m.dir(baseReference) },
	}, map[string]func(mem){
		"maybe":     func(m mem) { m.file(prepareRootPath, "[composefs]\nenabled=maybe\n") },
		"transient": func(m mem) { m.file(prepareRootPath, "[root]\ntransient=true\n") },
	}},
	{"baseimage-root", map[string]func(mem){
		"sysroot => /sysroot: missing":        func(m mem) { m.remove("sysroot") },
		"no link => /ostree: not a link":      func(m mem) { m.remove("ostree") },
		"folder => /ostree: not a link":       func(m mem) { m.remove("ostree").dir("ostree") },
		"other target => /ostree: not a link": func(m mem) { m.link("ostree", "/sysroot/ostree") },
	}, map[string]func(mem){"filled": func(m mem) { m.dir("sysroot/ostree") }}},
	{"bootc-kargs", map[string]func(mem){
		"a file => /usr/lib/bootc/kargs.d: not a folder": func(m mem) { m.remove(kargsDir).file(kargsDir, "") },
		"syntax => 00.toml: ":                            func(m mem) { m.file(kargsDir+"/00.toml", "kargs = [") },
		"no kargs => kargs is missing":                   func(m mem) { m.file(kargsDir+"/00.toml", "") },
		"unknown => key append is not known":             func(m mem) { m.file(kargsDir+"/00.toml", "kargs=[]\nappend='x'") },
		"case => key Kargs is not known":                 func(m mem) { m.file(kargsDir+"/00.toml", "Kargs=[]") },
		"string => kargs is not a list":                  func(m mem) { m.file(kargsDir+"/00.toml", "kargs='quiet'") },
		"number => kargs[0] is not a string":             func(m mem) { m.file(kargsDir+"/00.toml", "kargs=[1]") },
		"break => kargs[0] holds a line break":           func(m mem) { m.file(kargsDir+"/00.toml", `kargs=["a\nb"]`) },
		"large => too many":                              func(m mem) { m.file(kargsDir+"/00.toml", strings.Repeat("#", configLimit+1)) },
		"ending => .toml only":                           func(m mem) { m.file(kargsDir+"/10.conf", "kargs=[]") },
	}, map[string]func(mem){"absent": func(m mem) { m.remove(kargsDir) }}},
	{"buildah-injected", map[string]func(mem){
		"hostname => /etc/hostname: empty":  func(m mem) { m.file("etc/hostname", "") },
		"resolv => /etc/resolv.conf: empty": func(m mem) { m.file("etc/resolv.conf", "") },
	}, map[string]func(mem){
		"named": func(m mem) { m.file("etc/hostname", "box\n") },
		"link":  func(m mem) { m.link("etc/resolv.conf", "/run/x") },
	}},
	{"etc-usretc", map[string]func(mem){"both => /usr/etc": func(m mem) { m.dir("usr/etc") }},
		map[string]func(mem){"usr/etc only": func(m mem) { m.remove("etc").dir("usr/etc") }}},
	{"kernel", map[string]func(mem){"two => 6.1.0, 6.2.0": func(m mem) { m.file("usr/lib/modules/6.2.0/vmlinuz", "MZ") }},
		map[string]func(mem){"none": func(m mem) { m.remove(modulesDir) }, "no vmlinuz": func(m mem) { m.dir("usr/lib/modules/6.2.0") }}},
	{"nonempty-boot", map[string]func(mem){
		"kernel => /boot/vmlinuz": func(m mem) { m.file("boot/vmlinuz", "MZ") },
		"missing => /boot: miss":  func(m mem) { m.remove("boot") },
	}, map[string]func(mem){"EFI": func(m mem) { m.file("boot/EFI/Linux/x.efi", "MZ") }}},
	{"nonempty-run-tmp", map[string]func(mem){
		"run => /run/leaked":     func(m mem) { m.file("run/leaked", "x") },
		"tmp => /tmp/a/b":        func(m mem) { m.file("tmp/a/b", "x") },
		"folder => /run/dnf":     func(m mem) { m.dir("run/dnf") },
		"beside => resolve/else": func(m mem) { m.file("run/systemd/resolve/else", "x") },
	}, map[string]func(mem){
		"podman's": func(m mem) { m.file(runtimeFile, "x") },
		"its dirs": func(m mem) { m.dir("run/systemd/resolve") },
	}},
	{"sysusers", map[string]func(mem){
		"user => user \"eve\"":  func(m mem) { m.file("etc/passwd", "root:x:0:0\neve:x:1:1::/:\n") },
		"group => \"adm\"":      func(m mem) { m.file("etc/group", "adm:x:4:\n") },
		"none => user \"root\"": func(m mem) { m.remove("usr/lib/sysusers.d") },
	}, map[string]func(mem){
		"no passwd": func(m mem) { m.remove("etc/passwd").file("etc/group", "adm:x:4:\n") },
		"locked":    func(m mem) { m.file("usr/lib/sysusers.d/e.conf", "u!\teve -\n").file("etc/group", "eve:x:1:\n") },
	}},
	{"utf8", map[string]func(mem){
		"name => not UTF-8":     func(m mem) { m.file("usr/bad\xffname", "") },
		"target => target is n": func(m mem) { m.link("usr/l", "\xff") },
	}, map[string]func(mem){"ünï": func(m mem) { m.file("usr/ünï", "").link("usr/self", "self") }}},
	{"var-log", map[string]func(mem){"log => /var/log/apt/term.log": func(m mem) { m.file("var/log/apt/term.log", "x") }},
		map[string]func(mem){"empty": func(m mem) { m.file("var/log/wtmp", "").link("var/log/README", "../x") }}},
	{"var-run", map[string]func(mem){"folder => /var/run": func(m mem) { m.dir("var/run/x") }},
		map[string]func(mem){"link": func(m mem) { m.link("var/run", "../run") }}},
	{"var-tmpfiles", map[string]func(mem){
		"folder => /var/cache: no entry":     func(m mem) { m.dir("var/cache") },
		"file => /var/lib/db: never again":   func(m mem) { m.file("var/lib/db", "x") },
		"link => /var/lock: no entry":        func(m mem) { m.link("var/lock", "../run/lock") },
		"comment => /var/cache: no entry":    func(m mem) { m.dir("var/cache").file("usr/lib/tmpfiles.d/c.conf", "#d /var/cache\n") },
		"not a conf => /var/cache: no entry": func(m mem) { m.dir("var/cache").file("usr/lib/tmpfiles.d/c", "d /var/cache\n") },
	}, map[string]func(mem){
		"declared": func(m mem) { m.dir("var/cache").file("etc/tmpfiles.d/c.conf", "d\t/var/cache 0755 - - -\n") },
		"quoted":   func(m mem) { m.dir("var/a b").file("usr/lib/tmpfiles.d/c.conf", `d "/var/a b"`) },
		"escaped":  func(m mem) { m.dir("var/a b").file("usr/lib/tmpfiles.d/c.conf", `d /var/a\x20b 0700`) },
		"over a link": func(m mem) {
			m.dir("var/roothome/.ssh").file("usr/lib/tmpfiles.d/c.conf", "d /root/.ssh\nd /var/roothome\n")
		},
	}},
	{"identity-ssh-host-keys", map[string]func(mem){
		"key => /etc/ssh/ssh_host_ed25519_key": func(m mem) { m.file("etc/ssh/ssh_host_ed25519_key", "x") },
		"pub => /etc/ssh/ssh_host_rsa_key.pub": func(m mem) { m.file("etc/ssh/ssh_host_rsa_key.pub", "x") },
	}, map[string]func(mem){"config": func(m mem) { m.file("etc/ssh/ssh_config", "x") }}},
	{"identity-machine-id", map[string]func(mem){
		"filled => /etc/machine-id":      func(m mem) { m.file("etc/machine-id", "0123456789abcdef0123456789abcdef\n") },
		"dbus => /var/lib/dbus/machine-": func(m mem) { m.file("var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n") },
	}, map[string]func(mem){
		"uninitialized": func(m mem) { m.file("etc/machine-id", "uninitialized\n") },
		"dbus link":     func(m mem) { m.link("var/lib/dbus/machine-id", "/etc/machine-id") },
		"absent":        func(m mem) { m.remove("etc/machine-id") },
	}},
	{"identity-random-seed", map[string]func(mem){
		"systemd => /var/lib/systemd/random-seed": func(m mem) { m.file("var/lib/systemd/random-seed", "x") },
		"loader => /boot/loader/random-seed":      func(m mem) { m.file("boot/loader/random-seed", "x") },
	}, map[string]func(mem){"program": func(m mem) { m.program("usr/lib/systemd/systemd-random-seed") }}},
	{"identity-credential-secret", map[string]func(mem){"key => /var/lib/systemd/credential.secret": func(m mem) { m.file("var/lib/systemd/credential.secret", "x") }},
		map[string]func(mem){"elsewhere": func(m mem) { m.file("usr/share/credential.secret", "x") }}},
	{"identity-dhcp-leases", map[string]func(mem){
		"dhclient => /var/lib/dhcp/dhclient.leases":      func(m mem) { m.file("var/lib/dhcp/dhclient.leases", "x") },
		"nm => internal-eth0.lease":                      func(m mem) { m.file("var/lib/NetworkManager/internal-eth0.lease", "x") },
		"networkd => /var/lib/systemd/network/ipv4-link": func(m mem) { m.file("var/lib/systemd/network/ipv4-link", "x") },
	}, map[string]func(mem){"empty": func(m mem) { m.file("var/lib/dhcp/dhclient.leases", "") }}},
	{"identity-podman-secrets", map[string]func(mem){
		"root => secretsdata.json":      func(m mem) { m.file("var/lib/containers/storage/secrets/filedriver/secretsdata.json", "{}") },
		"user => storage/secrets/secre": func(m mem) { m.file("var/home/a/.local/share/containers/storage/secrets/secrets.json", "{}") },
	}, map[string]func(mem){"other": func(m mem) { m.file("usr/share/secrets.json", "{}") }}},
	{"identity-networkmanager", map[string]func(mem){
		"key => secret_key": func(m mem) { m.file("var/lib/NetworkManager/secret_key", "x") },
		"wifi => home.nmconnect": func(m mem) {
			m.file("etc/NetworkManager/system-connections/home.nmconnection", "[wifi-security]\npsk = hunter22\n")
		},
	}, map[string]func(mem){"wired": func(m mem) {
		m.file("etc/NetworkManager/system-connections/lan.nmconnection", "[connection]\nid=lan\npassword=\n")
	}}},
	{"identity-caddy-ca", map[string]func(mem){
		"root => root.key": func(m mem) { m.file("var/lib/caddy/.local/share/caddy/pki/authorities/local/root.key", "x") },
		"site => site.key": func(m mem) { m.file("root/.local/share/caddy/certificates/acme/site.key", "x") },
	}, map[string]func(mem){"certificate": func(m mem) { m.file("usr/share/caddy/pki/authorities/local/root.crt", "x") }}},
	{"identity-storage-names", map[string]func(mem){
		"iscsi => initiatorname.iscsi": func(m mem) { m.file("etc/iscsi/initiatorname.iscsi", "## x\nInitiatorName=iqn.1994-05.com:1\n") },
		"nvme => /etc/nvme/hostid":     func(m mem) { m.file("etc/nvme/hostid", "2e9f4241\n") },
	}, map[string]func(mem){"generated later": func(m mem) { m.file("etc/iscsi/initiatorname.iscsi", "GenerateName=yes\n") }}},
	{"private-key", map[string]func(mem){
		"etc => /etc/app/tls.key":   func(m mem) { m.file("etc/app/tls.key", pemKey) },
		"any name => /etc/app/blob": func(m mem) { m.file("etc/app/blob", "text\n"+pemKey) },
		"usr => /usr/lib/x/ca.pem":  func(m mem) { m.file("usr/lib/x/ca.pem", pemKey) },
		"local => /usr/local/x":     func(m mem) { m.file("usr/local/x", pemKey) },
		"openssh => id":             func(m mem) { m.file("etc/id", strings.ReplaceAll(pemKey, "PRIVATE", "OPENSSH PRIVATE")) },
		"encrypted rsa => old": func(m mem) {
			m.file("etc/old", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n"+strings.Repeat("A", 64)+"\n")
		},
		"age => /etc/age": func(m mem) { m.file("etc/age", "AGE-SECRET-KEY-1"+strings.Repeat("Q", 58)+"\n") },
		"putty => k.ppk":  func(m mem) { m.file("usr/share/k.ppk", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n") },
	}, map[string]func(mem){
		"documentation": func(m mem) { m.file("usr/share/doc/openssl/key.pem", pemKey) },
		"test":          func(m mem) { m.file("usr/lib/python3/test/keycert.pem", pemKey) },
		"certificate":   func(m mem) { m.file("etc/ssl/ca.pem", strings.ReplaceAll(pemKey, "PRIVATE KEY", "CERTIFICATE")) },
		"public":        func(m mem) { m.file("etc/k.pub", strings.ReplaceAll(pemKey, "PRIVATE", "PUBLIC")) },
		"a mention": func(m mem) {
			m.file("etc/script", "grep -- '-----BEGIN PRIVATE KEY-----' file\n-----BEGIN PRIVATE KEY-----\n...\n")
		},
	}},
	{"two-kernels", map[string]func(mem){
		"two => 6.1.0, 6.2.0":          func(m mem) { m.file("usr/lib/modules/6.2.0/vmlinuz", "MZ") },
		"none => there is no kernel":   func(m mem) { m.remove(modulesDir) },
		"rest => 6.0.0: this is a re":  func(m mem) { m.file("usr/lib/modules/6.0.0/modules.dep", "") },
		"link => vmlinuz: this is not": func(m mem) { m.link(kver+"/vmlinuz", "/boot/vmlinuz") },
		"no initramfs => initramfs.im": func(m mem) { m.remove(kver + "/initramfs.img") },
		"empty => initramfs.img: this": func(m mem) { m.file(kver+"/initramfs.img", "") },
	}, map[string]func(mem){"add-ons": func(m mem) { m.file("usr/lib/modules/6.0.0/weak-updates/x.ko", "") }}},
	{"initramfs-parts", map[string]func(mem){
		"no ostree => ostree-prepare-root is not": initrd(func(m map[string]string) { delete(m, "usr/lib/ostree/ostree-prepare-root") }),
		"no unit => ostree-prepare-root is not": initrd(func(m map[string]string) {
			delete(m, "usr/lib/systemd/system/ostree-prepare-root.service")
		}),
		"no erofs => driver erofs":            initrd(func(m map[string]string) { delete(m, kver+"/kernel/erofs.ko.xz") }),
		"no overlay => driver overlay":        initrd(func(m map[string]string) { delete(m, kver+"/kernel/overlay.ko") }),
		"no ext4 => driver ext4":              func(m mem) { m.file(kver+"/modules.builtin", "") },
		"no conf => composefs is off":         initrd(func(m map[string]string) { delete(m, prepareRootPath) }),
		"off => composefs is off in":          initrd(func(m map[string]string) { m[prepareRootPath] = "[composefs]\nenabled=no\n" }),
		"etc wins => needs fs-verity":         initrd(func(m map[string]string) { m["etc/ostree/prepare-root.conf"] = "[composefs]\nenabled=signed\n" }),
		"bad conf => line 1":                  initrd(func(m map[string]string) { m[prepareRootPath] = "enabled=yes\n" }),
		"differs => prepare-root.conf diffe":  initrd(func(m map[string]string) { m[prepareRootPath] = "[composefs]\nenabled=maybe\n" }),
		"no nvme => not in the initramfs: nv": initrd(func(m map[string]string) { delete(m, kver+"/kernel/nvme.ko.zst") }),
		"junk => no known compression":        func(m mem) { m.file(kver+"/initramfs.img", "junkjunkjunk") },
		"cut => not an initramfs":             func(m mem) { s := dracut(nil); m.file(kver+"/initramfs.img", s[:len(s)-20]) },
	}, map[string]func(mem){
		"gzip": pressedInitrd("gzip"), "xz": pressedInitrd("xz"), "lz4": pressedInitrd("lz4"),
		"plain":    func(m mem) { m.file(kver+"/initramfs.img", dracutPlain()) },
		"old name": func(m mem) { m.file(kver+"/initramfs", dracut(nil)).remove(kver + "/initramfs.img") },
	}},
	{"prepare-root", map[string]func(mem){
		"verity => needs fs-verity":     func(m mem) { m.file(prepareRootPath, "[composefs]\nenabled=verity\n") },
		"signed => needs fs-verity":     func(m mem) { m.file("etc/ostree/prepare-root.conf", "[composefs]\nenabled = signed\n") },
		"word => \"on\" is no mode":     func(m mem) { m.file(prepareRootPath, "[composefs]\nenabled=on\n") },
		"empty => empty value":          func(m mem) { m.file(prepareRootPath, "[composefs]\nenabled=\n") },
		"no group => line 1":            func(m mem) { m.file(prepareRootPath, "enabled=yes\n") },
		"half => line 2":                func(m mem) { m.file(prepareRootPath, "[a]\n[composefs\n") },
		"writable => /sysroot is writa": func(m mem) { m.file(prepareRootPath, "[composefs]\nenabled=yes\n[sysroot]\nreadonly=false\n") },
	}, map[string]func(mem){"comments": func(m mem) { m.file(prepareRootPath, "# c\n\n[composefs]\nenabled = 1\n[sysroot]\nreadonly = true\n") }}},
	{"install-config", map[string]func(mem){
		"unknown => key install.rootfs is not known": installTOML("[install]\nrootfs='ext4'"),
		"top => key kargs is not known":              installTOML("kargs=[]"),
		"type => install.kargs is not a list":        installTOML("[install]\nkargs='a'"),
		"value => not one of xfs, ext4, btrfs":       installTOML("[install]\nroot-fs-type='zfs'"),
		"bool => skip-boot-uuid is not true":         installTOML("[install.bootupd]\nskip-boot-uuid='yes'"),
		"table => install.filesystem.root is not a":  installTOML("[install.filesystem]\nroot='ext4'"),
		"xfs => made with ext4":                      installTOML("[install.filesystem.root]\ntype='xfs'"),
		"syntax => 00.toml: ":                        installTOML("[install"),
		"etc => /etc/bootc/install/x.toml":           func(m mem) { m.file("etc/bootc/install/x.toml", "x=1") },
	}, map[string]func(mem){"all keys": installTOML("[install]\nblock=['direct']\nkarg-deletes=['a']\nmatch-architectures=['x86_64']\nstateroot='default'\nbootloader='grub'\ndiscoverable-partitions=false\nenforce-container-sigpolicy=true\n[install.ostree]\nbls-append-except-default='grub_users=\"\"'\n")}},
	{"gpt-auto", map[string]func(mem){
		"no remedy => mounts the ESP over": func(m mem) { m.remove(kargsDir) },
		"comment => mounts the ESP over":   func(m mem) { m.remove(kargsDir).file("etc/fstab", "#LABEL=x /boot/efi vfat\n") },
		"root only => mounts the ESP over": func(m mem) { m.remove(kargsDir).file("etc/fstab", "LABEL=root / ext4 ro 0 0\n") },
	}, map[string]func(mem){
		"fstab": func(m mem) { m.remove(kargsDir).file("etc/fstab", "UUID=1 /boot/efi vfat umask=0077 0 2\n") },
		"install": func(m mem) {
			m.remove(kargsDir).file("usr/lib/bootc/install/00.toml", "[install]\nkargs=['rw systemd.gpt_auto=0']\n")
		},
		"masked": func(m mem) {
			m.remove(kargsDir).link("etc/systemd/system-generators/systemd-gpt-auto-generator", "/dev/null")
		},
		"not there": func(m mem) { m.remove(kargsDir, "usr/lib/systemd") },
	}},
	{"special-files", map[string]func(mem){
		"device => /etc/null": func(m mem) { m.special("etc/null", fs.ModeDevice|fs.ModeCharDevice) },
		"pipe => /usr/pipe":   func(m mem) { m.special("usr/pipe", fs.ModeNamedPipe) },
		"socket => /usr/sock": func(m mem) { m.special("usr/sock", fs.ModeSocket) },
	}, map[string]func(mem){"in dev": func(m mem) { m.special("dev/null", fs.ModeDevice|fs.ModeCharDevice) }}},
	{"state-links", map[string]func(mem){"home => /home": func(m mem) { m.remove("home").dir("home") }},
		map[string]func(mem){"none": func(m mem) { m.remove("home") }}},
	{"unit-programs", map[string]func(mem){
		"no mode => /usr/libexec/x: /usr/lib/systemd/system/x.service starts this": func(m mem) {
			m.file("usr/libexec/x", "#!/bin/sh").file("usr/lib/systemd/system/x.service", "[Service]\nExecStart=-/usr/libexec/x --now\n")
		},
	}, map[string]func(mem){
		"executable": func(m mem) {
			m.program("usr/libexec/x").file("usr/lib/systemd/system/x.service", "[Service]\nExecStart=/usr/libexec/x\nExecStop=kill\n")
		},
		"not there": func(m mem) {
			m.file("etc/systemd/system/x.service", "[Service]\nExecStart=/usr/libexec/%i\nExecStart=\nExecReload=/gone\n")
		},
	}},
	{"upgrade-tools", map[string]func(mem){
		"bwrap => /usr/bin/bwrap":       func(m mem) { m.remove("usr/bin/bwrap") },
		"semodule => /usr/bin/semodule": func(m mem) { m.remove("usr/sbin/semodule") },
		"skopeo => /usr/bin/skopeo":     func(m mem) { m.remove("usr/bin/skopeo") },
		"podman => /usr/bin/podman":     func(m mem) { m.link("usr/bin/podman", "gone") },
		"ostree => /usr/bin/ostree":     func(m mem) { m.file("usr/bin/ostree", "not executable") },
		"bootc => /usr/bin/bootc":       func(m mem) { m.remove("usr/bin/bootc") },
		"a loop => /usr/bin/skopeo":     func(m mem) { m.link("usr/bin/skopeo", "skopeo") },
	}, map[string]func(mem){
		"no policy": func(m mem) { m.remove("etc/selinux", "usr/bin/bwrap", "usr/sbin/semodule") },
		"linked":    func(m mem) { m.program("usr/lib/skopeo").link("usr/bin/skopeo", "../lib/skopeo") },
	}},
	{"ostree-version", map[string]func(mem){
		"deb => ostree 2024.10 is older": func(m mem) {
			m.file("usr/lib/sysimage/dpkg/status", "Package: libostree-1-1\nVersion: 2024.10-1\n")
		},
		"pieces => ostree 2025.1 is older": func(m mem) {
			m.remove("usr/lib/sysimage").file("var/lib/dpkg/status.d/ostree", "Package: ostree\nVersion: 2025.1-2+b1\n")
		},
		"rpm => ostree 2024.9 is older": func(m mem) {
			m.remove("usr/lib/sysimage").file("usr/lib/sysimage/rpm/rpmdb.sqlite", strings.Repeat("x", 256<<10+64-8)+"C\x00ostree\x002024.9\x001.el9\x00"+strings.Repeat("y", 300<<10))
		},
	}, map[string]func(mem){
		"no database": func(m mem) { m.remove("usr/lib/sysimage") },
		"new rpm": func(m mem) {
			m.remove("usr/lib/sysimage").file("usr/share/rpm/rpmdb.sqlite", strings.Repeat("x", 256<<10-10)+"\x00ostree\x002025.2\x00")
		},
	}},
	{"bound-images", map[string]func(mem){"one => app.image": func(m mem) { m.link("usr/lib/bootc/bound-images.d/app.image", "/usr/share/app.image") }},
		map[string]func(mem){"none": func(m mem) { m.dir("usr/lib/bootc/bound-images.d") }}},
}

func initrd(change func(map[string]string)) func(mem) {
	return func(m mem) { m.file(kver+"/initramfs.img", dracut(change)) }
}

func dracutPlain() string {
	var plain string
	dracut(func(m map[string]string) { plain = cpioOf(m) })
	return plain
}

func pressedInitrd(how string) func(mem) {
	return func(m mem) { m.file(kver+"/initramfs.img", pressed(how, dracutPlain())) }
}

func installTOML(s string) func(mem) {
	return func(m mem) { m.file("usr/lib/bootc/install/00.toml", s) }
}

func TestEveryLint(t *testing.T) {
	tested := map[string]bool{}
	for _, c := range faults {
		tested[c.lint] = true
		if len(c.bad) == 0 || len(c.good) == 0 {
			t.Errorf("%s has no bad or no good example", c.lint)
		}
		for name, change := range c.bad {
			name, want, _ := strings.Cut(name, " => ")
			wantPath, wantText, two := strings.Cut(want, ": ")
			ok := slices.ContainsFunc(findings(t, c.lint, change), func(f Finding) bool {
				return strings.Contains(f.Path+": "+f.Text, want) || two && strings.Contains(f.Path, wantPath) && strings.Contains(f.Text, wantText)
			})
			if !ok {
				t.Errorf("%s: %s: no finding %q in %+v", c.lint, name, want, findings(t, c.lint, change))
			}
		}
		for name, change := range c.good {
			if f := findings(t, c.lint, change); len(f) > 0 {
				t.Errorf("%s: %s: %+v", c.lint, name, f)
			}
		}
	}
	for _, i := range Lints() {
		if !tested[i.Name] {
			t.Errorf("%s has no examples", i.Name)
		}
	}
}

// findings returns what one lint says about a changed image.
func findings(t *testing.T, name string, change func(mem)) []Finding {
	t.Helper()
	m := sound()
	change(m)
	all, err := Run(context.Background(), m, Options{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return slices.DeleteFunc(all, func(f Finding) bool { return f.Lint != name })
}

func TestSkip(t *testing.T) {
	m := sound().file("var/run", "").remove("tmp")
	found, err := Run(context.Background(), m, Options{Skip: []string{"var-run", "var-tmpfiles"}})
	if err != nil || len(found) != 1 || found[0].Lint != "api-base-directories" {
		t.Errorf("%+v, %v", found, err)
	}
	_, err = Run(context.Background(), m, Options{Skip: []string{"kernal", "var-run", "zzzzzzzzzzzz"}})
	if err == nil || !strings.Contains(err.Error(), `no lint "kernal" to skip`+"\nhint: did you mean kernel?") || !strings.Contains(err.Error(), `"zzzzzzzzzzzz"`) {
		t.Errorf("unknown names: %v", err)
	}
}

// TestBootcNames holds the names and severities of bootc 1.16's lints.
func TestBootcNames(t *testing.T) {
	want := "api-base-directories:fatal baseimage-composefs:warning baseimage-root:fatal bootc-kargs:fatal buildah-injected:warning " +
		"etc-usretc:fatal kernel:fatal nonempty-boot:warning nonempty-run-tmp:warning sysusers:warning utf8:fatal var-log:warning " +
		"var-run:fatal var-tmpfiles:warning"
	var got []string
	for _, i := range Lints() {
		if i.Bootc {
			got = append(got, i.Name+":"+string(i.Severity))
		}
		if i.Text == "" || i.Name == "" {
			t.Errorf("%+v has no text", i)
		}
	}
	if strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

func TestFindingsAreBounded(t *testing.T) {
	m := sound()
	for i := range 5000 {
		m.file("run/f"+strings.Repeat("x", i%50)+string(rune('a'+i%26))+strings.Repeat("y", i/50), "")
	}
	f := findings(t, "nonempty-run-tmp", func(s mem) {
		for k, v := range m {
			s[k] = v
		}
	})
	if len(f) != maxFindings+1 || !strings.HasPrefix(f[maxFindings].Text, "and ") {
		t.Errorf("%d findings: %+v", len(f), f)
	}
}

func TestUnreadableTreeIsAnError(t *testing.T) {
	broken := errors.New("disk is gone")
	m := sound()
	m["etc/fstab"] = tree.Entry{Path: "etc/fstab", Mode: 0o644, Content: failing{broken}}
	if _, err := Run(context.Background(), m, Options{}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "lint private-key: reading etc/fstab") {
		t.Errorf("%v", err)
	}
	m["etc/passwd"] = tree.Entry{Path: "etc/passwd", Mode: 0o644, Content: failing{broken}}
	_, err := Run(context.Background(), m, Options{})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "lint sysusers: reading etc/passwd") {
		t.Errorf("%v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := Run(ctx, sound(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
