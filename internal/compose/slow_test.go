package compose

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"
)

// TestRealDistribution installs packages in a real root file system, given as
// AITHER_SLOW_TAR (made by "mmdebstrap --variant=minbase bookworm root.tar", say).
func TestRealDistribution(t *testing.T) {
	tarball := os.Getenv("AITHER_SLOW_TAR")
	if tarball == "" {
		t.Skip("AITHER_SLOW_TAR names no root file system")
	}
	o := testOptions(t)
	if d := os.Getenv("AITHER_SLOW_DIR"); d != "" {
		o.Work, o.Dst = filepath.Join(d, "work"), filepath.Join(d, "image")
	}
	o.Base = Base{Tar: &RootTar{Name: "debian", Key: tarball, Open: func(context.Context) (io.ReadCloser, error) { return os.Open(tarball) }}}
	o.Steps = []Step{
		&Containerfile{Name: "packages", FS: fstest.MapFS{"Containerfile": {Data: []byte(`ARG BASE
FROM ${BASE}
RUN apt-get update
RUN DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 git file
RUN rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig /var/log/* /var/cache/debconf/*-old
`)}}},
		&Overlay{Name: "files", FS: overlayFS()},
	}
	start := time.Now()
	r := build(t, o)
	t.Log("first", time.Since(start))
	for _, l := range r.Layers {
		t.Log(l.Size, l.Digest, l.History)
	}
	start = time.Now()
	if again := build(t, o); !again.Cached || again.ManifestDigest != r.ManifestDigest {
		t.Error("the second build is another one")
	}
	t.Log("second", time.Since(start))
}
