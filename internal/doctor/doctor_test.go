package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tool"
)

// healthy is a host where an ordinary user can do everything.
func healthy(t *testing.T) Host {
	t.Helper()
	root := t.TempDir()
	put(t, root, "etc/os-release", "ID=debian\n")
	put(t, root, "proc/sys/user/max_user_namespaces", "95000\n")
	put(t, root, "proc/self/ns/user", "")
	put(t, root, "etc/subuid", "jo:100000:65536\n")
	put(t, root, "etc/subgid", "1000:100000:65536\n")
	put(t, root, "etc/ssl/certs/ca-certificates.crt", "")
	put(t, root, "usr/share/OVMF/OVMF_CODE_4M.fd", "")
	put(t, root, "usr/bin/newuidmap", "")
	shm := filepath.Join(root, "dev/shm")
	must(t, os.MkdirAll(shm, 0o755))
	must(t, os.Chmod(shm, 0o777|fs.ModeSticky))
	mapper := filepath.Join(root, "usr/bin/newuidmap")
	must(t, os.Chmod(mapper, 0o755|fs.ModeSetuid))
	return Host{
		Root: root, Output: t.TempDir(), Cache: "/cache", Temp: "/tmp", EUID: 1000, User: "jo", Kernel: "6.1.0-56-amd64",
		Look: func(string) (string, error) { return mapper, nil },
		Free: func(string) (int64, error) { return 100 * gib, nil },
		KVM:  func() error { return nil },
	}
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	p := filepath.Join(root, name)
	must(t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(t, os.WriteFile(p, []byte(text), 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHealthyHost(t *testing.T) {
	rs, err := Run(context.Background(), healthy(t))
	must(t, err)
	if len(rs) != len(checks) || Worst(rs) != OK {
		t.Errorf("worst of %d results is %s: %+v", len(rs), Worst(rs), rs)
	}
}

func TestWhatIsWrongIsFoundAndRepaired(t *testing.T) {
	missing := func(names ...string) func(string) (string, error) {
		return func(n string) (string, error) {
			for _, m := range names {
				if m == n {
					return "", fmt.Errorf("%s: %w", n, tool.ErrMissing)
				}
			}
			return "/nonexistent/" + n, nil
		}
	}
	for _, c := range []struct {
		check  string
		spoil  func(*Host)
		status Status
		found  string
		fix    string
	}{
		{"kernel", func(h *Host) { h.Kernel = "5.10.0-1" }, Warn, "5.10.0-1", "build as root"},
		{"kernel", func(h *Host) { h.Kernel = "odd" }, Warn, "cannot be read", ""},
		{"user namespaces", func(h *Host) { put(t, h.Root, "proc/sys/user/max_user_namespaces", "0\n") }, Fail, "is 0", "sysctl -w user.max_user_namespaces=15000"},
		{"user namespaces", func(h *Host) { put(t, h.Root, "proc/sys/kernel/unprivileged_userns_clone", "0\n") }, Fail, "is 0", "unprivileged_userns_clone=1"},
		{"user namespaces", func(h *Host) { put(t, h.Root, "proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n") }, Fail, "AppArmor", "=0"},
		{"user namespaces", func(h *Host) { h.EUID = 0; put(t, h.Root, "proc/sys/user/max_user_namespaces", "0\n") }, OK, "not needed", ""},
		{"subordinate ids", func(h *Host) { put(t, h.Root, "etc/subgid", "jo:100000:1000\n") }, Fail, "/etc/subgid gives jo 1000", "usermod --add-subuids"},
		{"newuidmap", func(h *Host) { h.Look = missing("newgidmap") }, Fail, "newgidmap is not installed", "apt-get install uidmap"},
		{"newuidmap", func(h *Host) {
			h.Look = missing("newuidmap")
			put(t, h.Root, "etc/os-release", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n")
		}, Fail, "not installed", "dnf install shadow-utils"},
		{"newuidmap", func(h *Host) { must(t, os.Chmod(filepath.Join(h.Root, "usr/bin/newuidmap"), 0o755)) }, Fail, "lost its privilege", "chmod u+s"},
		{"output space", func(h *Host) { h.Free = func(string) (int64, error) { return gib, nil } }, Fail, "1.0 GiB free", "--output"},
		{"cache space", func(h *Host) { h.Free = func(string) (int64, error) { return 8 * gib, nil } }, Warn, "8.0 GiB free in /cache", "XDG_CACHE_HOME"},
		{"scratch space", func(h *Host) { h.Free = func(string) (int64, error) { return 2 * gib, nil } }, Warn, "2.0 GiB free in /tmp", "TMPDIR"},
		{"sparse files", func(h *Host) { h.Output = "/proc/self" }, Fail, "/proc", "--output"},
		{"shared memory", func(h *Host) { must(t, os.Remove(filepath.Join(h.Root, "dev/shm"))) }, Warn, "missing", "mount -t tmpfs"},
		{"certificates", func(h *Host) { must(t, os.Remove(filepath.Join(h.Root, "etc/ssl/certs/ca-certificates.crt"))) }, Warn, "no bundle", "apt-get install ca-certificates"},
		{"QEMU", func(h *Host) { h.Look = missing("qemu-system-x86_64") }, Warn, "not installed", "apt-get install qemu-system-x86"},
		{"QEMU", func(h *Host) {
			h.Look = missing("qemu-system-x86_64")
			put(t, h.Root, "usr/libexec/qemu-kvm", "")
		}, OK, "/usr/libexec/qemu-kvm", ""},
		{"UEFI firmware", func(h *Host) { must(t, os.Remove(filepath.Join(h.Root, "usr/share/OVMF/OVMF_CODE_4M.fd"))) }, Warn, "not installed", "apt-get install ovmf"},
		{"KVM", func(h *Host) { h.KVM = func() error { return fs.ErrPermission } }, Warn, "may not be opened", "groups kvm jo"},
		{"KVM", func(h *Host) { h.KVM = func() error { return fmt.Errorf("a guest does not run") } }, Warn, "a guest does not run", ""},
		{"KVM", func(h *Host) { h.KVM = func() error { return fs.ErrNotExist } }, Warn, "missing", "firmware"},
	} {
		h := healthy(t)
		c.spoil(&h)
		rs, err := Run(context.Background(), h)
		must(t, err)
		for _, r := range rs {
			if r.Name != c.check {
				continue
			}
			if r.Status != c.status || !strings.Contains(r.Found, c.found) || !strings.Contains(r.Fix, c.fix) || (r.Fix == "") != (c.fix == "") {
				t.Errorf("%s: got %s, %q, fix %q; want %s, %q, fix %q", c.check, r.Status, r.Found, r.Fix, c.status, c.found, c.fix)
			}
		}
	}
}

func TestWorst(t *testing.T) {
	if w := Worst([]Result{{Status: Warn}, {Status: Fail}, {Status: Warn}}); w != Fail {
		t.Errorf("got %s", w)
	}
	if w := Worst([]Result{{Status: OK}, {Status: Warn}}); w != Warn {
		t.Errorf("got %s", w)
	}
}

func TestFreeOfAFolderThatIsNotThereYet(t *testing.T) {
	n, err := free(filepath.Join(t.TempDir(), "not", "yet"))
	if err != nil || n <= 0 {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestThisMachineIsExaminedWithoutTrace(t *testing.T) {
	dir := t.TempDir()
	if _, err := Run(context.Background(), Host{Output: dir}); err != nil {
		t.Fatal(err)
	}
	if ents, err := os.ReadDir(dir); err != nil || len(ents) != 0 {
		t.Errorf("left behind: %v, %v", ents, err)
	}
}
