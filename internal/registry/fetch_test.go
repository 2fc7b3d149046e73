package registry

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestFetchKeepsDigests(t *testing.T) {
	e := newEvil(t, plainHTTP)
	d, _ := e.image()
	dst := filepath.Join(t.TempDir(), "image")
	res, err := Fetch(t.Context(), e.ref(), dst, e.quick())
	if err != nil {
		t.Fatal(err)
	}
	if res.Manifest.Digest != d.Digest || res.Bytes == 0 {
		t.Errorf("got %+v, want manifest %s", res, d.Digest)
	}
	whole(t, e, dst, res)
	// Once more: nothing is fetched twice.
	again, err := Fetch(t.Context(), e.ref(), dst, e.quick())
	if err != nil || again.Bytes != 0 {
		t.Errorf("second fetch: %d bytes, %v", again.Bytes, err)
	}
	whole(t, e, dst, again)
}

func TestFetchRefuses(t *testing.T) {
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			e := newEvil(t, plainHTTP)
			_, m := e.image()
			path := blobPath(m.Layers[1])
			ref := f.evil(e, m)
			dst := filepath.Join(t.TempDir(), "image")
			_, err := Fetch(t.Context(), ref, dst, e.quick())
			if err == nil {
				t.Fatal("it was accepted")
			}
			if !errors.Is(err, ErrNetwork) {
				t.Errorf("the error is not the network's: %v", err)
			}
			if !strings.Contains(err.Error(), f.want) {
				t.Errorf("the error lacks %q: %v", f.want, err)
			}
			// What may be transient is tried three times here, and the client
			// library under it may ask some more times for each.
			if n := e.count(path); f.tries >= 0 && f.tries < 3 && n != f.tries || f.tries == 3 && (n < 3 || n > 12) {
				t.Errorf("the blob was asked for %d times, not %d: %v", n, f.tries, err)
			}
			absent(t, dst)
			e.mu.Lock()
			for p := range e.hits {
				if strings.Contains(p, "..") || strings.Contains(p, "passwd") {
					t.Errorf("request for %s", p)
				}
			}
			e.mu.Unlock()
		})
	}
}

// What fails at first and works then is tried again.
func TestFetchRetries(t *testing.T) {
	short := func(w http.ResponseWriter, b []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2])
		panic(http.ErrAbortHandler)
	}
	for name, bad := range map[string]func(w http.ResponseWriter, b []byte){
		"truncated":         short,
		"500":               func(w http.ResponseWriter, _ []byte) { http.Error(w, "no", 500) },
		"502":               func(w http.ResponseWriter, _ []byte) { http.Error(w, "no", 502) },
		"too many requests": func(w http.ResponseWriter, _ []byte) { w.Header().Set("Retry-After", "1"); w.WriteHeader(429) },
		"connection closed": func(http.ResponseWriter, []byte) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEvil(t, plainHTTP)
			_, m := e.image()
			for _, path := range []string{blobPath(m.Layers[1]), "/v2/img/manifests/latest"} {
				e.hook(path, func(w http.ResponseWriter, r *http.Request, n int) bool {
					if n == 1 {
						bad(w, e.blobs[m.Layers[1].Digest.String()])
					}
					return n == 1
				})
			}
			dst := filepath.Join(t.TempDir(), "image")
			res, err := Fetch(t.Context(), e.ref(), dst, e.quick())
			if err != nil {
				t.Fatal(err)
			}
			whole(t, e, dst, res)
			if n := e.count(blobPath(m.Layers[0])); n != 1 {
				t.Errorf("the good layer was fetched %d times", n)
			}
		})
	}
}

func TestFetchStalls(t *testing.T) {
	for _, what := range []string{"blob", "manifest"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			e := newEvil(t, plainHTTP)
			_, m := e.image()
			path := blobPath(m.Layers[1])
			if what == "manifest" {
				path = "/v2/img/manifests/latest"
			}
			e.hook(path, func(w http.ResponseWriter, r *http.Request, n int) bool {
				_, _ = w.Write([]byte("la"))
				w.(http.Flusher).Flush()
				select {
				case <-e.stop:
				case <-r.Context().Done():
				}
				return true
			})
			o := e.quick()
			o.Stall, o.Retries = 200*time.Millisecond, 1
			dst := filepath.Join(t.TempDir(), "image")
			start := time.Now()
			_, err := Fetch(t.Context(), e.ref(), dst, o)
			if !errors.Is(err, errStalled) || !errors.Is(err, ErrNetwork) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("it took %v", d)
			}
			if n := e.count(path); n != 2 {
				t.Errorf("asked %d times, not 2", n)
			}
			absent(t, dst)
		})
	}
}

func TestFetchIsCancelled(t *testing.T) {
	e := newEvil(t, plainHTTP)
	_, m := e.image()
	ctx, cancel := context.WithCancel(t.Context())
	e.hook(blobPath(m.Layers[1]), func(w http.ResponseWriter, r *http.Request, n int) bool {
		cancel()
		<-r.Context().Done()
		return true
	})
	dst := filepath.Join(t.TempDir(), "image")
	if _, err := Fetch(ctx, e.ref(), dst, e.quick()); !errors.Is(err, context.Canceled) || errors.Is(err, ErrNetwork) {
		t.Errorf("got %v", err)
	}
	absent(t, dst)
}

// A failed run's whole blobs are not fetched again.
func TestFetchResumes(t *testing.T) {
	e := newEvil(t, plainHTTP)
	_, m := e.image()
	broken := true
	e.hook(blobPath(m.Layers[1]), func(w http.ResponseWriter, r *http.Request, n int) bool {
		if broken {
			http.Error(w, "no", 404)
		}
		return broken
	})
	o := e.quick()
	o.Parallel = 1
	dst := filepath.Join(t.TempDir(), "image")
	if _, err := Fetch(t.Context(), e.ref(), dst, o); err == nil {
		t.Fatal("it worked at once")
	}
	absent(t, dst)
	broken = false
	res, err := Fetch(t.Context(), e.ref(), dst, o)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, e, dst, res)
	if n := e.count(blobPath(m.Layers[0])); n != 1 {
		t.Errorf("layer 1 was fetched %d times", n)
	}
	if res.Bytes != m.Layers[1].Size {
		t.Errorf("%d bytes were fetched, not %d", res.Bytes, m.Layers[1].Size)
	}
}

func TestFetchTakesTheArchitectureOfAnIndex(t *testing.T) {
	e := newEvil(t, plainHTTP)
	want, _ := e.image()
	other := e.manifest(v1.MediaTypeImageManifest, []byte(`{"schemaVersion":2}`))
	want.Platform, other.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}, &v1.Platform{OS: "linux", Architecture: "arm64"}
	top := e.manifest(v1.MediaTypeImageIndex, index(other, want), "latest")
	for _, ref := range []string{e.ref(), e.pinned(top.Digest)} {
		dst := filepath.Join(t.TempDir(), "image")
		res, err := Fetch(t.Context(), ref, dst, e.quick())
		if err != nil {
			t.Fatal(err)
		}
		if res.Manifest.Digest != want.Digest || res.Index != top.Digest {
			t.Errorf("got %s of %s, want %s of %s", res.Manifest.Digest, res.Index, want.Digest, top.Digest)
		}
		whole(t, e, dst, res)
	}
	if d, err := Resolve(t.Context(), e.ref(), e.quick()); err != nil || d != top.Digest {
		t.Errorf("resolved to %s, %v", d, err)
	}
}

// A tag that moves between the look and the fetch does not change what comes.
func TestFetchKeepsToThePin(t *testing.T) {
	e := newEvil(t, plainHTTP)
	want, m := e.image()
	d, err := Resolve(t.Context(), e.ref(), e.quick())
	if err != nil || d != want.Digest {
		t.Fatalf("resolved to %s, %v", d, err)
	}
	m.Layers = m.Layers[:1]
	e.manifest(v1.MediaTypeImageManifest, m, "latest")
	l, err := CreateLayout(filepath.Join(t.TempDir(), "pool"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := FetchInto(t.Context(), e.ref(), d, l, e.quick())
	if err != nil || res.Manifest.Digest != want.Digest {
		t.Errorf("got %s, %v", res.Manifest.Digest, err)
	}
	// A local layout has no way to ask for a digest: there the change is an error.
	if _, err := FetchInto(t.Context(), e.ref(), digest.FromString("x"), l, e.quick()); err == nil {
		t.Error("another digest was accepted")
	}
}

// Credentials go to the registry that they are for, and nowhere else.
func TestCredentialsStayAtHome(t *testing.T) {
	e := newEvil(t, plainHTTP)
	_, m := e.image()
	other := newEvil(t, plainHTTP)
	other.blobs = e.blobs
	e.hook("*", func(w http.ResponseWriter, r *http.Request, n int) bool {
		if u, p, ok := r.BasicAuth(); ok && u == "me" && p == "pw" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="evil"`)
		http.Error(w, "no", http.StatusUnauthorized)
		return true
	})
	// By another name, so that it is another host for the client too.
	away := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	e.hook(blobPath(m.Layers[1]), func(w http.ResponseWriter, r *http.Request, n int) bool {
		http.Redirect(w, r, away+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	})
	auth := filepath.Join(t.TempDir(), "auth.json")
	if err := os.WriteFile(auth, []byte(fmt.Sprintf(`{"auths":{%q:{"auth":"bWU6cHc="}}}`, e.host())), 0o600); err != nil {
		t.Fatal(err)
	}
	o := e.quick()
	o.AuthFile = auth
	dst := filepath.Join(t.TempDir(), "image")
	res, err := Fetch(t.Context(), e.ref(), dst, o)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, e, dst, res)
	if len(other.headers) == 0 {
		t.Error("the redirect was not followed")
	}
	for _, h := range other.headers {
		if h.Get("Authorization") != "" || h.Get("Cookie") != "" {
			t.Errorf("the other host was sent %v", h)
		}
	}
	// Without the file nobody logs in, whatever the user's own files say.
	t.Setenv("REGISTRY_AUTH_FILE", auth)
	o.AuthFile = ""
	if _, err := Fetch(t.Context(), e.ref(), dst+"2", o); !errors.Is(err, ErrNetwork) {
		t.Errorf("without a login file: %v", err)
	}
}

// Plain http and unknown certificates are for hosts that the caller names.
func TestTLSIsTheRule(t *testing.T) {
	plain := newEvil(t, plainHTTP)
	plain.image()
	o := plain.quick()
	o.Insecure, o.Retries = nil, -1
	dst := filepath.Join(t.TempDir(), "image")
	if _, err := Fetch(t.Context(), plain.ref(), dst, o); !errors.Is(err, ErrNetwork) {
		t.Errorf("plain http: %v", err)
	}
	if len(plain.headers) != 0 {
		t.Errorf("%d requests went over plain http", len(plain.headers))
	}
	absent(t, dst)

	e := newEvil(t, httptest.NewTLSServer)
	e.image()
	if _, err := Fetch(t.Context(), e.ref(), dst, o); !errors.Is(err, ErrNetwork) {
		t.Errorf("unknown certificate: %v", err)
	}
	absent(t, dst)
	certs := t.TempDir()
	if err := os.Mkdir(filepath.Join(certs, e.host()), 0o755); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(certs, e.host(), "ca.crt"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	o.CertDir = certs
	res, err := Fetch(t.Context(), e.ref(), dst, o)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, e, dst, res)
}

func TestNobodyListens(t *testing.T) {
	s := httptest.NewServer(nil)
	host := strings.TrimPrefix(s.URL, "http://")
	s.Close()
	dst := filepath.Join(t.TempDir(), "image")
	_, err := Fetch(t.Context(), "docker://"+host+"/img:latest", dst, Options{Insecure: []string{host}, Retries: 1, Backoff: time.Millisecond})
	if !errors.Is(err, ErrNetwork) {
		t.Errorf("got %v", err)
	}
	absent(t, dst)
}

func TestBadReferences(t *testing.T) {
	for _, ref := range []string{"", "img", "docker:img", "docker://", "docker://UPPER/x", "ftp://x", "docker-daemon:x:y", "docker://h/x@sha256:12", "oci:/nowhere:x", "dir:/nowhere", "oci-archive:/nowhere"} {
		dst := filepath.Join(t.TempDir(), "image")
		_, err := Fetch(t.Context(), ref, dst, Options{Retries: -1, Stall: time.Second})
		if err == nil || errors.Is(err, ErrNetwork) {
			t.Errorf("%q: %v", ref, err)
		}
		absent(t, dst)
	}
}
