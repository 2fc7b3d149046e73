// Package lab builds the lab base as a user would and looks at the result. It
// refuses to run without a folder of its own: it needs the network and minutes.
package lab

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/aitheros/aither-image/containerfiles"
	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/compose"
	"github.com/aitheros/aither-image/internal/debian"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/overlays"
)

func TestMain(m *testing.M) {
	if compose.Init() {
		return
	}
	os.Exit(m.Run())
}

// folder is where results and caches go.
func folder(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("AITHER_LAB")
	if dir == "" {
		t.Skip("AITHER_LAB names no folder for a build from a real mirror")
	}
	return dir
}

// logged shows what the programs of a build say in the test's log.
func logged(t *testing.T) context.Context {
	return progress.With(t.Context(), progress.Func(func(e progress.Event) {
		if e.Kind == progress.Log || e.Kind == progress.Warn {
			t.Log(e.Text)
		}
	}))
}

// TestBase builds the lab base with the overlays that the boot tests use, and a
// layer of further packages on it.
func TestBase(t *testing.T) {
	dir := folder(t)
	ctx := logged(t)
	plan, err := debian.Resolve(ctx, debian.Options{Mirror: os.Getenv("AITHER_DEBIAN_MIRROR"), Cache: filepath.Join(dir, "debian"), AllowExpired: true})
	if err != nil {
		t.Fatal(err)
	}
	o := compose.Options{
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
	}
	built(t, ctx, o)

	o.Dst = filepath.Join(dir, "oci-packages")
	o.Steps = append(o.Steps, &compose.Containerfile{
		Name: "packages", FS: sub(t, containerfiles.FS, "layers/packages-debian"), Args: map[string]string{"PACKAGES": "chrony jq"},
	})
	names := entries(t, o.Dst, built(t, ctx, o))
	for _, want := range []string{"usr/sbin/chronyd", "usr/bin/jq", "usr/lib/aither/package-state/dpkg/status", "usr/lib/tmpfiles.d/30-aither-package-folders.conf"} {
		if !slices.Contains(names, want) {
			t.Errorf("the packages' layer lacks %s", want)
		}
	}
	for _, n := range names {
		if n != "var/" && strings.HasPrefix(n, "var/") || n != "boot/" && strings.HasPrefix(n, "boot/") || strings.HasSuffix(n, ".deb") {
			t.Errorf("the packages' layer has %s", n)
		}
	}
}

// TestEncapsulated makes the lab image of TestBase one ostree commit with chunk
// layers. Its compiler needs the network; AITHER_CA names certificates where
// that takes some of its own.
func TestEncapsulated(t *testing.T) {
	dir := folder(t)
	ctx := logged(t)
	base, err := layer.Open(filepath.Join(dir, "oci"), "latest")
	if err != nil {
		t.Skipf("no image of TestBase: %v", err)
	}
	o := compose.Options{
		Work: filepath.Join(dir, "compose"), Dst: filepath.Join(dir, "encapsulation"), Epoch: base.Created,
		Base: compose.Base{Containerfile: &compose.Containerfile{
			Name: "base/debian-encapsulated", FS: sub(t, containerfiles.FS, "base/debian-encapsulated"),
			Args: map[string]string{"TREE": "oci:" + filepath.Join(dir, "oci") + ":latest"},
		}},
	}
	if ca := os.Getenv("AITHER_CA"); ca != "" {
		o.Secrets = []compose.Secret{{ID: "ca", Path: ca}}
	}
	res := built(t, ctx, o)
	out := filepath.Join(dir, "oci-encapsulated")
	if err := os.RemoveAll(out); err != nil {
		t.Fatal(err)
	}
	unpack(t, o.Dst, res, out)
	im, err := layer.Open(out, "latest")
	if err != nil {
		t.Fatal(err)
	}
	if im.Labels["ostree.final-diffid"] == "" || len(im.Layers) < 8 {
		t.Errorf("no encapsulated image: labels %v, %d layers", im.Labels, len(im.Layers))
	}
}

// built builds and tells what came of it.
func built(t *testing.T, ctx context.Context, o compose.Options) *compose.Result {
	t.Helper()
	start := time.Now()
	res, err := compose.Build(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s in %s", res.ManifestDigest, time.Since(start))
	for _, l := range res.Layers {
		t.Logf("%s %d bytes: %s", l.Digest, l.Size, l.History)
	}
	return res
}

// members calls f for each member of the highest layer.
func members(t *testing.T, dst string, res *compose.Result, f func(h *tar.Header, r io.Reader)) {
	t.Helper()
	top := res.Layers[len(res.Layers)-1]
	blob, err := os.Open(filepath.Join(dst, "blobs", "sha256", top.Digest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	z, err := zstd.NewReader(blob)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f(h, tr)
	}
}

func entries(t *testing.T, dst string, res *compose.Result) (names []string) {
	t.Helper()
	members(t, dst, res, func(h *tar.Header, _ io.Reader) { names = append(names, h.Name) })
	return names
}

// unpack writes the folders and files of the highest layer below dir.
func unpack(t *testing.T, dst string, res *compose.Result, dir string) {
	t.Helper()
	members(t, dst, res, func(h *tar.Header, r io.Reader) {
		name := filepath.Join(dir, filepath.FromSlash(path.Clean("/"+h.Name)))
		switch h.Typeflag {
		case tar.TypeDir:
			if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
		case tar.TypeReg:
			err := atomicfile.Write(name, 0o644, func(w io.Writer) error {
				_, err := io.Copy(w, r)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func sub(t *testing.T, f fs.FS, dir string) fs.FS {
	t.Helper()
	s, err := fs.Sub(f, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
