// Package doctor looks at the host and tells what of building and running images
// works there, why it matters, and which line repairs it. It changes nothing,
// and it refuses to guess: what cannot be told is reported as a warning.
package doctor

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/tool"
)

// Status is how a check came out.
type Status string

// The values of Status, from good to bad.
const (
	OK   Status = "ok"
	Warn Status = "warn" // something is slower or cannot be done; images can be built
	Fail Status = "fail" // no image can be built
)

// A Result is one check and its outcome.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Found is what is there, for people.
	Found string `json:"found"`
	// Why is what needs it.
	Why string `json:"why"`
	// Fix is a command or a setting that repairs it; empty when all is well.
	Fix string `json:"fix,omitempty"`
}

// A Host is the machine as the checks see it. The zero value is this machine.
type Host struct {
	// Root is put before every absolute path; empty is "/".
	Root string
	// Output is the folder where images are to be written; empty is ".".
	Output string
	// Cache and Temp are the folders for layers and for scratch files; empty
	// leaves their checks out.
	Cache, Temp string
	// EUID and User are who builds; User is looked up in subuid(5).
	EUID int
	User string
	// Look finds programs; nil is tool.Look.
	Look func(name string) (string, error)
	// Free returns the free bytes of the file system that holds a folder; nil asks the kernel.
	Free func(dir string) (int64, error)
	// KVM tells whether a virtual machine can be made; nil is TryKVM.
	KVM func() error
	// Kernel is the kernel's release; empty asks uname.
	Kernel string
}

// A check is a question to the host: what it found, how bad that is, and the repair.
type check struct {
	name string
	why  string
	ask  func(*host) (Status, string, string)
}

var checks = []check{
	{"kernel", "overlay mounts inside a user namespace need Linux 5.13; as root older ones do", (*host).kernel},
	{"user namespaces", "an ordinary user composes images inside a user namespace", (*host).userns},
	{"subordinate ids", "the files of an image belong to many users, which an ordinary user maps to a range of his own", (*host).subids},
	{"newuidmap", "it sets up the mapping of subordinate ids", (*host).newuidmap},
	{"output space", "a raw disk takes as much as its content, a compressed qcow2 about half", (*host).output},
	{"cache space", "layers and base images are kept there between builds", (*host).cache},
	{"scratch space", "large blobs pass through TMPDIR while they are fetched", (*host).temp},
	{"sparse files", "a raw disk is mostly holes; without them it takes its full size", (*host).sparse},
	{"shared memory", "programs that run while an image is composed expect /dev/shm", (*host).shm},
	{"certificates", "registries and package mirrors are reached over TLS", (*host).certificates},
	{"QEMU", "`vm run` and `vm test` boot images; building needs none", (*host).qemu},
	{"UEFI firmware", "`vm run` boots as UEFI unless --firmware bios is given", (*host).ovmf},
	{"KVM", "without it virtual machines run, ten to thirty times slower", (*host).kvm},
}

// Run asks every check, in order.
func Run(ctx context.Context, h Host) ([]Result, error) {
	x := newHost(h)
	results := make([]Result, 0, len(checks))
	for _, c := range checks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		status, found, fix := c.ask(x)
		results = append(results, Result{Name: c.name, Status: status, Found: found, Why: c.why, Fix: fix})
	}
	return results, nil
}

// Worst is the worst status among rs.
func Worst(rs []Result) Status {
	worst := OK
	for _, r := range rs {
		if r.Status == Fail || r.Status == Warn && worst == OK {
			worst = r.Status
		}
	}
	return worst
}

// host is a Host with every default filled in and the system's family known.
type host struct {
	Host
	dnf bool
}

func newHost(h Host) *host {
	if h.Output == "" {
		h.Output = "."
	}
	if h.Look == nil {
		h.Look = tool.Look
	}
	if h.Free == nil {
		h.Free = free
	}
	if h.KVM == nil {
		h.KVM = TryKVM
	}
	if h.Kernel == "" {
		var u unix.Utsname
		if unix.Uname(&u) == nil {
			h.Kernel = unix.ByteSliceToString(u.Release[:])
		}
	}
	x := &host{Host: h}
	x.dnf = x.family()
	return x
}

// family reports whether packages come by dnf, from os-release(5).
func (h *host) family() (dnf bool) {
	for _, l := range h.lines("/etc/os-release") {
		k, v, _ := strings.Cut(l, "=")
		if k != "ID" && k != "ID_LIKE" {
			continue
		}
		for _, id := range strings.Fields(strings.Trim(v, `"'`)) {
			if id == "rhel" || id == "fedora" || id == "centos" {
				return true
			}
		}
	}
	return false
}

// install is the line that installs a package, by its names in both families.
func (h *host) install(apt, dnf string) string {
	if h.dnf {
		return "dnf install " + dnf
	}
	return "apt-get install " + apt
}

func (h *host) path(p string) string { return filepath.Join("/", h.Root, p) }

func (h *host) exists(p string) bool {
	_, err := os.Stat(h.path(p))
	return err == nil
}

// lines returns the lines of a small file, none where it is missing.
func (h *host) lines(p string) (ls []string) {
	f, err := os.Open(h.path(p))
	if err != nil {
		return nil
	}
	s := bufio.NewScanner(f)
	for s.Scan() {
		ls = append(ls, strings.TrimSpace(s.Text()))
	}
	if errors.Join(s.Err(), f.Close()) != nil {
		return nil
	}
	return ls
}

// value is the first line of a file under /proc/sys, and whether there is one.
func (h *host) value(p string) (string, bool) {
	ls := h.lines(p)
	if len(ls) == 0 {
		return "", false
	}
	return ls[0], true
}

// free returns the bytes that an ordinary user may still write below dir, or
// below its nearest parent that exists.
func free(dir string) (int64, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			return int64(st.Bavail) * st.Bsize, nil
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
		}
		dir = parent
	}
}
