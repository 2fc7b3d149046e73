package compose

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/internal/registry"
)

// Fetch brings an existing image into the OCI layout dst as it is, under the
// tag "latest": see [registry.Fetch]. Besides the references that it takes,
// containers-storage: is understood, by way of a child process inside the user's
// namespace and of the work folder; the storage keeps no compressed layers, so
// such an image has uncompressed ones and another digest than its registry gave it.
func Fetch(ctx context.Context, work, ref, dst string, o registry.Options) (registry.Result, error) {
	if !strings.HasPrefix(ref, "containers-storage:") {
		return registry.Fetch(ctx, ref, dst, o)
	}
	w, unlock, err := lockWorkdir(ctx, work)
	if err != nil {
		return registry.Result{}, fmt.Errorf("opening the work folder: %w", err)
	}
	defer unlock()
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	p := &preparer{ctx: ctx, opts: &Options{Arch: o.Arch}, work: w}
	d, err := p.runFetch(ref)
	if err != nil {
		return registry.Result{}, err
	}
	m, err := w.pool.Manifest(d)
	if err != nil {
		return registry.Result{}, err
	}
	res := registry.Result{Manifest: d, Config: m.Config, Layers: m.Layers}
	err = registry.Assemble(dst, func(l *registry.Layout) error {
		for _, b := range append([]v1.Descriptor{d, m.Config}, m.Layers...) {
			if err := l.LinkBlob(w.pool, b); err != nil {
				return err
			}
		}
		return l.Tag(d, "latest")
	})
	return res, err
}
