package compose

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// noSpace reports whether err says that a file system is full. Programs below
// buildah hand their errors on as text only.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || strings.Contains(err.Error(), unix.ENOSPC.Error())
}

// withSpace adds to an error about a full file system how full it is: the
// paths that are written and the bytes that are free there.
func withSpace(err error, paths ...string) error {
	if err == nil || !noSpace(err) {
		return err
	}
	var free []string
	for _, p := range paths {
		var s unix.Statfs_t
		for unix.Statfs(p, &s) != nil && p != filepath.Dir(p) {
			p = filepath.Dir(p)
		}
		free = append(free, fmt.Sprintf("%s has %d MiB free", p, s.Bavail*uint64(s.Bsize)>>20))
	}
	if !errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("%w: %w", err, unix.ENOSPC)
	}
	return fmt.Errorf("%w\nhint: %s; a build needs about four times the size of its unpacked layers", err, strings.Join(free, ", "))
}
