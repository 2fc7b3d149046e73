package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const gib = 1 << 30

// Space below which a build of the lab image ends with a full disk, and below
// which a second one may.
const (
	leastOutput, goodOutput = 4 * gib, 12 * gib
	leastCache, goodCache   = 6 * gib, 15 * gib
	leastTemp, goodTemp     = 1 * gib, 4 * gib
)

func (h *host) kernel() (Status, string, string) {
	major, minor, ok := version(h.Kernel)
	switch {
	case !ok:
		return Warn, fmt.Sprintf("release %q cannot be read", h.Kernel), ""
	case h.EUID != 0 && (major < 5 || major == 5 && minor < 13) && !h.dnf:
		return Warn, h.Kernel, "build as root, or boot a newer kernel"
	}
	return OK, h.Kernel, ""
}

// version reads "6.1.0-56-amd64" as 6, 1.
func version(s string) (major, minor int, ok bool) {
	a, rest, _ := strings.Cut(s, ".")
	b, _, _ := strings.Cut(rest, ".")
	b, _, _ = strings.Cut(b, "-")
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, err1 == nil && err2 == nil
}

// userns looks at the three switches that turn user namespaces off.
func (h *host) userns() (Status, string, string) {
	if h.EUID == 0 {
		return OK, "not needed by root", ""
	}
	if v, ok := h.value("/proc/sys/user/max_user_namespaces"); ok && v == "0" {
		return Fail, "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=15000"
	}
	if v, ok := h.value("/proc/sys/kernel/unprivileged_userns_clone"); ok && v == "0" {
		return Fail, "kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"
	}
	if v, ok := h.value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"); ok && v != "0" {
		return Fail, "AppArmor refuses them to programs without a profile", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	}
	if !h.exists("/proc/self/ns/user") {
		return Fail, "the kernel has none", "boot a kernel with CONFIG_USER_NS"
	}
	return OK, "allowed", ""
}

// subids wants 65536 ids in both files: images use ids up to 65534 (nobody).
func (h *host) subids() (Status, string, string) {
	if h.EUID == 0 {
		return OK, "not needed by root", ""
	}
	var short []string
	for _, f := range []string{"/etc/subuid", "/etc/subgid"} {
		if n := h.idRange(f); n < 65536 {
			short = append(short, fmt.Sprintf("%s gives %s %d", f, h.User, n))
		}
	}
	if len(short) > 0 {
		return Fail, strings.Join(short, "; ") + "; 65536 are needed", "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + h.User
	}
	return OK, "65536 or more", ""
}

// idRange sums what a subuid(5) file gives the user, by name or number.
func (h *host) idRange(file string) (n int) {
	for _, l := range h.lines(file) {
		f := strings.Split(l, ":")
		if len(f) != 3 || f[0] != h.User && f[0] != strconv.Itoa(h.EUID) {
			continue
		}
		if c, err := strconv.Atoi(f[2]); err == nil && c > 0 {
			n += c
		}
	}
	return n
}

func (h *host) newuidmap() (Status, string, string) {
	if h.EUID == 0 {
		return OK, "not needed by root", ""
	}
	for _, p := range []string{"newuidmap", "newgidmap"} {
		path, err := h.Look(p)
		if err != nil {
			return Fail, p + " is not installed", h.install("uidmap", "shadow-utils")
		}
		// Without its privilege the mapping is refused; containers often lose it.
		if fi, err := os.Stat(path); err == nil && fi.Mode()&fs.ModeSetuid == 0 && !fileCaps(path) {
			return Fail, path + " has lost its privilege", "chmod u+s " + path
		}
	}
	return OK, "installed", ""
}

func fileCaps(path string) bool {
	n, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil && n > 0
}

func (h *host) output() (Status, string, string) {
	return h.space(h.Output, leastOutput, goodOutput, "free some, or choose another folder with --output")
}

func (h *host) cache() (Status, string, string) {
	return h.space(h.Cache, leastCache, goodCache, "free some, or point XDG_CACHE_HOME elsewhere")
}

func (h *host) temp() (Status, string, string) {
	return h.space(h.Temp, leastTemp, goodTemp, "free some, or point TMPDIR elsewhere")
}

func (h *host) space(dir string, least, good int64, fix string) (Status, string, string) {
	if dir == "" {
		return OK, "not asked for", ""
	}
	n, err := h.Free(dir)
	found := fmt.Sprintf("%.1f GiB free in %s", float64(n)/gib, dir)
	switch {
	case err != nil:
		return Warn, err.Error(), ""
	case n < least:
		return Fail, fmt.Sprintf("%s, at least %d GiB are needed", found, least/gib), fix
	case n < good:
		return Warn, fmt.Sprintf("%s, %d GiB are comfortable", found, good/gib), fix
	}
	return OK, found, ""
}

// sparse makes an unnamed file with a hole where images are to be written.
func (h *host) sparse() (Status, string, string) {
	dir := h.Output
	for !isDir(dir) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, ".aither-doctor-")
	if err != nil {
		return Fail, err.Error(), "choose a folder that you may write to with --output"
	}
	defer func() { _ = f.Close() }()
	if err := os.Remove(f.Name()); err != nil {
		return Warn, err.Error(), ""
	}
	const size = 64 << 20
	if err := f.Truncate(size); err != nil {
		return Fail, err.Error(), "choose another file system with --output"
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Warn, err.Error(), ""
	}
	if st.Blocks*512 >= size {
		return Warn, "the file system of " + dir + " fills holes", "choose another file system with --output"
	}
	found := "the file system of " + dir + " keeps holes"
	if hole, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
		return Warn, fmt.Sprintf("%s, but does not tell where they are (%d, %v)", found, hole, err), "choose another file system with --output"
	}
	return OK, found, ""
}

func isDir(p string) bool {
	fi, err := os.Stat(p)
	return err == nil && fi.IsDir()
}

func (h *host) shm() (Status, string, string) {
	fi, err := os.Stat(h.path("/dev/shm"))
	if err != nil || !fi.IsDir() {
		return Warn, "/dev/shm is missing", "mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
	}
	if fi.Mode().Perm()&0o002 == 0 {
		return Warn, "/dev/shm is not writable by all", "chmod 1777 /dev/shm"
	}
	return OK, "there", ""
}

func (h *host) certificates() (Status, string, string) {
	for _, p := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		if h.exists(p) {
			return OK, p, ""
		}
	}
	return Warn, "no bundle of certificate authorities", h.install("ca-certificates", "ca-certificates")
}

func (h *host) qemu() (Status, string, string) {
	if p, err := h.Look("qemu-system-x86_64"); err == nil {
		return OK, p, ""
	}
	if h.exists("/usr/libexec/qemu-kvm") {
		return OK, "/usr/libexec/qemu-kvm", ""
	}
	return Warn, "not installed", h.install("qemu-system-x86", "qemu-kvm")
}

// ovmf knows where Debian and EL put the firmware for x86_64.
func (h *host) ovmf() (Status, string, string) {
	for _, p := range []string{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_CODE.cc.fd"} {
		if h.exists(p) {
			return OK, p, ""
		}
	}
	return Warn, "not installed", h.install("ovmf", "edk2-ovmf")
}

func (h *host) kvm() (Status, string, string) {
	err := h.KVM()
	switch {
	case err == nil:
		return OK, "works", ""
	case errors.Is(err, fs.ErrNotExist):
		return Warn, "/dev/kvm is missing", "turn virtualization on in the firmware, or nested virtualization in the host"
	case errors.Is(err, fs.ErrPermission):
		return Warn, "/dev/kvm may not be opened", "usermod --append --groups kvm " + h.User
	}
	return Warn, err.Error(), ""
}

// KVM ioctls, from the kernel's Documentation/virt/kvm/api.rst, sections 4.1 and 4.2.
const (
	kvmGetAPIVersion = 0xae00
	kvmCreateVM      = 0xae01
)

// TryKVM makes a virtual machine and throws it away: a device node alone proves
// nothing. Whether a guest runs in it takes an emulator to tell.
func TryKVM() error {
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: "/dev/kvm", Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	v, err := unix.IoctlRetInt(fd, kvmGetAPIVersion)
	if err != nil {
		return fmt.Errorf("asking /dev/kvm for its version: %w", err)
	}
	if v != 12 {
		return fmt.Errorf("/dev/kvm speaks version %d, not 12", v)
	}
	vm, err := unix.IoctlRetInt(fd, kvmCreateVM)
	if err != nil {
		return fmt.Errorf("making a virtual machine: %w", err)
	}
	return unix.Close(vm)
}
