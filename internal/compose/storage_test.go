package compose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aitheros/aither-image/internal/registry"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// Images of the storage that podman uses can be a base, and be fetched.
func TestContainersStorage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skopeo writes the test's storage only as root")
	}
	tooltest.Need(t, "skopeo")
	dir, base := baseImage(t)
	tmp := t.TempDir()
	conf := filepath.Join(tmp, "storage.conf")
	must(t, os.WriteFile(conf, []byte(fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", tmp+"/graph", tmp+"/run")), 0o644))
	t.Setenv("CONTAINERS_STORAGE_CONF", conf)
	if _, err := tool.Run(t.Context(), "skopeo", "copy", "oci:"+dir+":latest", "containers-storage:localhost/mine:1"); err != nil {
		t.Skipf("skopeo cannot write a storage here: %v", err)
	}
	t.Cleanup(func() { _, _ = tool.Run(context.Background(), "umount", tmp+"/graph/overlay") })
	o := testOptions(t)
	dst := filepath.Join(tmp, "fetched")
	res, err := Fetch(t.Context(), o.Work, "containers-storage:localhost/mine:1", dst, registry.Options{})
	must(t, err)
	for i, l := range res.Layers {
		if l.Digest != base.Layers[i].DiffID {
			t.Errorf("layer %d is %s, not the uncompressed %s", i, l.Digest, base.Layers[i].DiffID)
		}
	}
	if d := cmp.Diff(lines(t, dir), lines(t, dst)); d != "" {
		t.Error(d)
	}
	o.Base, o.Steps = Base{Ref: "containers-storage:localhost/mine:1"}, o.Steps[2:]
	r := build(t, o)
	if r.Layers[0].Digest != res.Layers[0].Digest || len(r.Layers) != len(res.Layers)+1 {
		t.Errorf("the layers are %v", r.Layers)
	}
	o.Base.Ref = "containers-storage:localhost/other:1"
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "localhost/other:1") {
		t.Errorf("an image that is not there: %v", err)
	}
}

// Fetch of other places is the registry package's.
func TestFetchFromALayout(t *testing.T) {
	dir, base := baseImage(t)
	dst := filepath.Join(t.TempDir(), "fetched")
	res, err := Fetch(t.Context(), t.TempDir(), "oci:"+dir+":latest", dst, registry.Options{})
	if err != nil || res.Manifest.Digest != base.ManifestDigest {
		t.Errorf("got %s, %v", res.Manifest.Digest, err)
	}
	if _, err := os.Stat(filepath.Join(dst, "index.json")); err != nil {
		t.Error(err)
	}
}
