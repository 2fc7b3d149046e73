package registry

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// pulled is a layout with the image of an evil registry that is good today.
func pulled(t *testing.T) (*evil, string, Result) {
	t.Helper()
	e := newEvil(t, plainHTTP)
	e.image()
	dst := filepath.Join(t.TempDir(), "image")
	res, err := Fetch(t.Context(), e.ref(), dst, e.quick())
	if err != nil {
		t.Fatal(err)
	}
	return e, dst, res
}

// Images of other places keep their digests too; skopeo makes and judges them.
func TestFetchFromLocalPlaces(t *testing.T) {
	tooltest.Need(t, "skopeo")
	e, dir, want := pulled(t)
	tmp := t.TempDir()
	for _, place := range []string{"oci:" + tmp + "/a:tag", "oci-archive:" + tmp + "/b.tar:tag", "dir:" + tmp + "/c"} {
		t.Run(place[:3], func(t *testing.T) {
			if _, err := tool.Run(t.Context(), "skopeo", "copy", "--preserve-digests", "oci:"+dir+":latest", place); err != nil {
				t.Fatal(err)
			}
			dst := filepath.Join(t.TempDir(), "image")
			res, err := Fetch(t.Context(), place, dst, Options{Arch: "amd64"})
			if err != nil {
				t.Fatal(err)
			}
			if res.Manifest.Digest != want.Manifest.Digest {
				t.Errorf("got %s, want %s", res.Manifest.Digest, want.Manifest.Digest)
			}
			whole(t, e, dst, res)
			out, err := tool.Run(t.Context(), "skopeo", "inspect", "--raw", "oci:"+dst+":latest")
			if err != nil || digest.FromBytes(out) != want.Manifest.Digest {
				t.Errorf("skopeo reads %s, %v", digest.FromBytes(out), err)
			}
			if d, err := Resolve(t.Context(), place, Options{}); err != nil || d != want.Manifest.Digest {
				t.Errorf("resolved to %s, %v", d, err)
			}
		})
	}
}

// A layout that was changed on disk is found out.
func TestFetchFromATamperedLayout(t *testing.T) {
	_, dir, res := pulled(t)
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]v1.Descriptor{"layer": res.Layers[1], "manifest": res.Manifest, "configuration": res.Config} {
		t.Run(name, func(t *testing.T) {
			p, err := l.BlobPath(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			bad := bytes.Clone(b)
			bad[len(bad)/2] ^= 1
			if err := os.WriteFile(p, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.WriteFile(p, b, 0o644) }()
			dst := filepath.Join(t.TempDir(), "image")
			if _, err := Fetch(t.Context(), "oci:"+dir+":latest", dst, Options{Arch: "amd64"}); err == nil || errors.Is(err, ErrNetwork) {
				t.Errorf("got %v", err)
			}
			absent(t, dst)
		})
	}
}

func TestPush(t *testing.T) {
	_, dir, want := pulled(t)
	e := newEvil(t, plainHTTP)
	accept(e)
	d, err := Push(t.Context(), dir, "latest", "docker://"+e.host()+"/img:v1", e.quick())
	if err != nil {
		t.Fatal(err)
	}
	m := e.manifests["v1"]
	if d.Digest != want.Manifest.Digest || digest.FromBytes(m.b) != want.Manifest.Digest {
		t.Errorf("pushed %s, the registry has %s, want %s", d.Digest, digest.FromBytes(m.b), want.Manifest.Digest)
	}
	for _, l := range append(want.Layers, want.Config) {
		if b := e.blobs[l.Digest.String()]; digest.FromBytes(b) != l.Digest {
			t.Errorf("blob %s did not arrive as it was", l.Digest)
		}
	}
	// What is there is not sent again.
	before := e.count("upload")
	if _, err := Push(t.Context(), dir, "latest", "docker://"+e.host()+"/img:v2", e.quick()); err != nil {
		t.Fatal(err)
	}
	if n := e.count("upload") - before; n != 0 {
		t.Errorf("%d blobs were sent again", n)
	}
	// And what was pushed can be fetched.
	dst := filepath.Join(t.TempDir(), "image")
	res, err := Fetch(t.Context(), "docker://"+e.host()+"/img:v2", dst, e.quick())
	if err != nil || res.Manifest.Digest != want.Manifest.Digest {
		t.Errorf("fetched %s, %v", res.Manifest.Digest, err)
	}
}

func TestPushRefused(t *testing.T) {
	_, dir, _ := pulled(t)
	e := newEvil(t, plainHTTP)
	e.hook("*", func(w http.ResponseWriter, r *http.Request, n int) bool {
		if r.Method == http.MethodGet && r.URL.Path == "/v2/" {
			return false
		}
		http.Error(w, "no", http.StatusForbidden)
		return true
	})
	if _, err := Push(t.Context(), dir, "latest", "docker://"+e.host()+"/img:v1", e.quick()); !errors.Is(err, ErrNetwork) {
		t.Errorf("got %v", err)
	}
	if _, err := Push(t.Context(), dir, "other", "docker://"+e.host()+"/img:v1", e.quick()); err == nil || !strings.Contains(err.Error(), "hint: it has \"latest\"") {
		t.Errorf("unknown tag: %v", err)
	}
	if _, err := Push(t.Context(), dir, "latest", "oci:/tmp/x", e.quick()); err == nil {
		t.Error("a layout was taken for a registry")
	}
}

// accept makes the registry take uploads.
func accept(e *evil) {
	e.hook("*", func(w http.ResponseWriter, r *http.Request, n int) bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		switch {
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/blobs/uploads/"):
			w.Header().Set("Location", "/v2/img/blobs/uploads/1")
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPatch:
			b, _ := io.ReadAll(r.Body)

			e.blobs[digest.FromBytes(b).String()] = b
			e.hits["upload"]++
			w.Header().Set("Location", r.URL.Path)
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/"):
			w.WriteHeader(http.StatusCreated)
		case r.Method == http.MethodPut:
			b, _ := io.ReadAll(r.Body)
			s := served{r.Header.Get("Content-Type"), b}
			e.manifests[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]] = s
			e.manifests[digest.FromBytes(b).String()] = s
			w.WriteHeader(http.StatusCreated)
		default:
			return false
		}
		return true
	})
}

func TestLayoutRefuses(t *testing.T) {
	l, err := CreateLayout(filepath.Join(t.TempDir(), "l"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []digest.Digest{"", "sha256:../x", "sha256:" + digest.Digest(strings.Repeat("a", 63)), "md5:aa", "sha512:" + digest.Digest(strings.Repeat("a", 128))} {
		if p, err := l.BlobPath(d); err == nil {
			t.Errorf("%q names %s", d, p)
		}
	}
	good := v1.Descriptor{Digest: digest.FromString("abc"), Size: 3}
	for name, r := range map[string]string{"short": "ab", "long": "abcd", "other": "abd"} {
		if err := l.PutBlob(good, strings.NewReader(r)); err == nil || l.Has(good) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := l.PutBlob(good, strings.NewReader("abc")); err != nil || !l.Has(good) {
		t.Errorf("the right one: %v", err)
	}
}

// In an existing layout other tags stay, and blobs that no tag needs go.
func TestAssembleInPlace(t *testing.T) {
	dst := filepath.Join(t.TempDir(), "l")
	put := func(tag, text string) v1.Descriptor {
		var d v1.Descriptor
		err := Assemble(dst, func(l *Layout) error {
			conf, err := l.PutBytes(v1.MediaTypeImageConfig, []byte(text))
			if err != nil {
				return err
			}
			m := v1.Manifest{Config: conf, MediaType: v1.MediaTypeImageManifest}
			m.SchemaVersion = 2
			if d, err = l.PutJSON(v1.MediaTypeImageManifest, m); err != nil {
				return err
			}
			return l.Tag(d, tag)
		})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	old, other, next := put("a", "one"), put("b", "two"), put("a", "three")
	l, err := OpenLayout(dst)
	if err != nil {
		t.Fatal(err)
	}
	if l.Has(old) || !l.Has(other) || !l.Has(next) {
		t.Errorf("old %v, other %v, next %v", l.Has(old), l.Has(other), l.Has(next))
	}
	if d, err := l.Find("b"); err != nil || d.Digest != other.Digest {
		t.Errorf("b is %s, %v", d.Digest, err)
	}
	// A failure leaves the layout as it was, and a file in the way is not touched.
	if err := Assemble(dst, func(*Layout) error { return errors.New("no") }); err == nil || !l.Has(next) {
		t.Errorf("after a failure: %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	full := filepath.Dir(file)
	for _, p := range []string{file, full} {
		if err := Assemble(p, func(*Layout) error { return nil }); err == nil {
			t.Errorf("%s was overwritten", p)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("the file is %q, %v", b, err)
	}
}
