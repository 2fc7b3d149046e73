package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/sysroot"
)

// View reads the image that name means, a layout's folder or FOLDER:TAG with or
// without "oci:" before it, and hands it to use with its merged tree. The tree
// is gone when View returns. Content passes through temporary files in tmp.
func View(ctx context.Context, name, tmp string, use func(*layer.Image, *sysroot.Tree) error) error {
	dir, tag := strings.TrimPrefix(name, "oci:"), ""
	if _, err := os.Stat(dir); err != nil {
		if i := strings.LastIndexByte(dir, ':'); i > 0 {
			dir, tag = dir[:i], dir[i+1:]
		}
	}
	im, err := layer.Open(dir, tag)
	if err != nil {
		return err
	}
	s := &spool{dir: tmp}
	t, err := sysroot.Read(ctx, im, s, sysroot.ReadOptions{})
	if err == nil {
		err = use(im, t)
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("looking at the image %s: %w", name, err)
	}
	return nil
}
