// Package lab builds the lab base as a user would and looks at the result. It
// refuses to run without a folder of its own: it needs the network and minutes.
package lab

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aitheros/aither-image/containerfiles"
	"github.com/aitheros/aither-image/internal/compose"
	"github.com/aitheros/aither-image/internal/debian"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/overlays"
)

func TestMain(m *testing.M) {
	if compose.Init() {
		return
	}
	os.Exit(m.Run())
}

// TestLabBase builds the lab base from a real mirror with the overlays that the
// boot tests use. It needs the network and minutes, so it runs only where
// AITHER_LAB names a folder for the result and the caches.
func TestLabBase(t *testing.T) {
	dir := os.Getenv("AITHER_LAB")
	if dir == "" {
		t.Skip("AITHER_LAB is not set")
	}
	ctx := progress.With(context.Background(), progress.Func(func(e progress.Event) {
		if e.Kind == progress.Log || e.Kind == progress.Warn {
			t.Log(e.Text)
		}
	}))
	plan, err := debian.Resolve(ctx, debian.Options{Mirror: os.Getenv("AITHER_DEBIAN_MIRROR"), Cache: filepath.Join(dir, "debian"), AllowExpired: true})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	res, err := compose.Build(ctx, compose.Options{
		Work:  filepath.Join(dir, "compose"),
		Dst:   filepath.Join(dir, "oci"),
		Epoch: plan.Date,
		Base: compose.Base{Tar: &compose.RootTar{
			Name: "debian stage 0", Key: plan.Date.String(),
			Open: func(ctx context.Context) (io.ReadCloser, error) {
				r, w := io.Pipe()
				go func() { w.CloseWithError(plan.WriteTo(ctx, w)) }()
				return r, nil
			}}},
		Steps: []compose.Step{
			&compose.Containerfile{Name: "base/debian", FS: sub(t, containerfiles.FS, "base/debian")},
			&compose.Overlay{Name: "base", FS: sub(t, overlays.FS, "base")},
			&compose.Overlay{Name: "selfcheck", FS: sub(t, overlays.FS, "selfcheck")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s in %s", res.ManifestDigest, time.Since(start))
	for _, l := range res.Layers {
		t.Logf("%s %d bytes: %s", l.Digest, l.Size, l.History)
	}
}

func sub(t *testing.T, f fs.FS, dir string) fs.FS {
	t.Helper()
	s, err := fs.Sub(f, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
