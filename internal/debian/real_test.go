package debian

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"testing"
	"time"
)

// TestRealArchive bootstraps from a real mirror. It needs the network and
// hundreds of megabytes, so it runs only where AITHER_DEBIAN_MIRROR names one;
// AITHER_DEBIAN_CACHE keeps the downloads and AITHER_DEBIAN_OUT the archive.
func TestRealArchive(t *testing.T) {
	mirror := os.Getenv("AITHER_DEBIAN_MIRROR")
	if mirror == "" {
		t.Skip("AITHER_DEBIAN_MIRROR is not set")
	}
	cache := os.Getenv("AITHER_DEBIAN_CACHE")
	if cache == "" {
		cache = t.TempDir()
	}
	out := io.Discard
	if name := os.Getenv("AITHER_DEBIAN_OUT"); name != "" {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		out = f
	}
	start := time.Now()
	h := sha256.New()
	res, err := Bootstrap(context.Background(), Options{Mirror: mirror, Cache: cache, AllowExpired: true}, io.MultiWriter(out, h))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Packages) < 50 || res.Date.IsZero() {
		t.Errorf("bootstrap of %d packages dated %s", len(res.Packages), res.Date)
	}
	t.Logf("%d packages of %s in %s, sha256 %x", len(res.Packages), res.Date, time.Since(start), h.Sum(nil))
}
