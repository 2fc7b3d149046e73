package compose

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/containers/storage/pkg/idtools"
	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/aitheros/aither-image/internal/tool"
)

// minIDs is how many subordinate ids an image needs: its users go up to nobody, 65534.
const minIDs = 65535

// hasSysAdmin reports whether this process may mount.
func hasSysAdmin() bool {
	c, err := capability.NewPid2(0)
	if err != nil || c.Load() != nil {
		return false
	}
	return c.Get(capability.EFFECTIVE, capability.CAP_SYS_ADMIN)
}

// idMappings are the ids of the user namespace: the user himself as root, and
// then his subordinate ids.
func idMappings() (uids, gids []specs.LinuxIDMapping, err error) {
	if os.Geteuid() == 0 {
		// Root without CAP_SYS_ADMIN, in a container: all ids that there are.
		all := []specs.LinuxIDMapping{{Size: 65536}}
		return all, all, nil
	}
	for _, helper := range []string{"newuidmap", "newgidmap"} {
		if _, err := tool.Look(helper); err != nil {
			return nil, nil, fmt.Errorf("entering a user namespace: %w: %w\nhint: install the package uidmap (Debian) or shadow-utils-subid (EL)", err, ErrPrivilege)
		}
	}
	me, err := user.Current()
	if err != nil {
		return nil, nil, fmt.Errorf("finding out who runs the build: %w", err)
	}
	m, err := idtools.NewIDMappings(me.Username, me.Username)
	if err != nil {
		return nil, nil, fmt.Errorf("reading /etc/subuid and /etc/subgid: %w: %w\n%s", err, ErrPrivilege, subidHint(me.Username))
	}
	uids, n := mapping(os.Getuid(), m.UIDs())
	gids, k := mapping(os.Getgid(), m.GIDs())
	if n < minIDs || k < minIDs {
		return nil, nil, fmt.Errorf("the user %s has %d subordinate user ids and %d group ids, an image needs %d: %w\n%s", me.Username, n, k, minIDs, ErrPrivilege, subidHint(me.Username))
	}
	return uids, gids, nil
}

func subidHint(name string) string {
	return "hint: run as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + name
}

// mapping puts the user's own id first and the others after it, and counts the others.
func mapping(own int, ids []idtools.IDMap) ([]specs.LinuxIDMapping, int) {
	out := []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(own), Size: 1}}
	next, n := uint32(1), 0
	for _, r := range ids {
		out = append(out, specs.LinuxIDMapping{ContainerID: next, HostID: uint32(r.HostID), Size: uint32(r.Size)})
		next += uint32(r.Size)
		n += r.Size
	}
	return out, n
}

// children lists the processes whose parent is pid.
func children(pid int) []int {
	var out []int
	ents, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range ents {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// The name may hold anything; the fields after its last bracket do not.
		s := string(b)
		f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
		if len(f) > 1 && f[1] == strconv.Itoa(pid) {
			out = append(out, p)
		}
	}
	return out
}

// reapAll ends the processes that instructions left running. The process is a
// subreaper, so they have become its children.
func reapAll() {
	for range 100 {
		kids := children(os.Getpid())
		if len(kids) == 0 {
			return
		}
		for _, p := range kids {
			_ = syscall.Kill(p, syscall.SIGKILL)
			_, err := syscall.Wait4(p, nil, 0, nil)
			if errors.Is(err, syscall.ECHILD) {
				continue
			}
		}
	}
}

// killAll ends this process with everything below it; the mounts go with their namespace.
func killAll() {
	var kill func(pid, depth int)
	kill = func(pid, depth int) {
		if depth > 64 {
			return
		}
		for _, p := range children(pid) {
			kill(p, depth+1)
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
	}
	kill(os.Getpid(), 0)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// unprivileged reports whether root here is only root of a user namespace.
func unprivileged() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(b))
	return err == nil && !(len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295")
}

// runtimeName finds an OCI runtime.
func runtimeName() (string, error) {
	for _, n := range []string{"crun", "runc"} {
		if p, err := tool.Look(n); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("the isolation oci needs an OCI runtime: %w\nhint: install crun or runc, or use the isolation chroot", ErrPrivilege)
}
