package registry

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A token is asked for with the credentials of the registry, and sent to the
// registry alone.
func TestBearerToken(t *testing.T) {
	e := newEvil(t, plainHTTP)
	_, m := e.image()
	other := newEvil(t, plainHTTP)
	other.blobs = e.blobs
	tokens := 0
	e.hook("/token", func(w http.ResponseWriter, r *http.Request, n int) bool {
		if u, p, _ := r.BasicAuth(); u != "me" || p != "pw" {
			http.Error(w, "no", http.StatusUnauthorized)
			return true
		}
		tokens++
		_, _ = w.Write([]byte(`{"token":"let-me-in","expires_in":300}`))
		return true
	})
	e.hook("*", func(w http.ResponseWriter, r *http.Request, n int) bool {
		if r.Header.Get("Authorization") == "Bearer let-me-in" {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="evil",scope="repository:img:pull"`, e.URL))
		http.Error(w, "no", http.StatusUnauthorized)
		return true
	})
	away := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	e.hook(blobPath(m.Layers[0]), func(w http.ResponseWriter, r *http.Request, n int) bool {
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
	if tokens == 0 {
		t.Error("nobody asked for a token")
	}
	for _, h := range other.headers {
		if h.Get("Authorization") != "" {
			t.Errorf("the other host was sent %v", h)
		}
	}
	// A registry that gives no token is the network's failure, and no text of
	// it shows the password.
	e.hook("/token", func(w http.ResponseWriter, r *http.Request, n int) bool {
		http.Error(w, "pw is wrong", http.StatusForbidden)
		return true
	})
	_, err = Fetch(t.Context(), e.ref(), dst+"2", o)
	if err == nil || strings.Contains(err.Error(), "bWU6cHc=") {
		t.Errorf("got %v", err)
	}
	absent(t, dst+"2")
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		`Get "https://u:p@h/x?sig=secret": EOF`: `Get "https://h/x": EOF`,
		"no address here":                       "no address here",
		"see http://h/x":                        "see http://h/x",
	} {
		if got := redact(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// A redirect out of TLS is not followed, also when it stays on the same host,
// for which a client would send the credentials along.
func TestNoWayOutOfTLS(t *testing.T) {
	e := newEvil(t, httptest.NewTLSServer)
	_, m := e.image()
	other := newEvil(t, plainHTTP)
	other.blobs, other.manifests = e.blobs, e.manifests
	dir := t.TempDir()
	certs, auth := filepath.Join(dir, e.host()), filepath.Join(dir, "auth.json")
	if err := os.Mkdir(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(auth, []byte(fmt.Sprintf(`{"auths":{%q:{"auth":"bWU6cHc="}}}`, e.host())), 0o600); err != nil {
		t.Fatal(err)
	}
	e.hook("*", func(w http.ResponseWriter, r *http.Request, n int) bool {
		if u, _, ok := r.BasicAuth(); ok && u == "me" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="evil"`)
		http.Error(w, "no", http.StatusUnauthorized)
		return true
	})
	o := Options{CertDir: dir, AuthFile: auth, Arch: "amd64", Backoff: 1}
	if _, err := Fetch(t.Context(), e.ref(), filepath.Join(dir, "good"), o); err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{blobPath(m.Layers[0]), "/v2/img/manifests/latest"} {
		e.hook(path, func(w http.ResponseWriter, r *http.Request, n int) bool {
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		})
		dst := filepath.Join(dir, fmt.Sprint("image", i))
		if _, err := Fetch(t.Context(), e.ref(), dst, o); !errors.Is(err, errPlain) || !errors.Is(err, ErrNetwork) {
			t.Errorf("%s: got %v", path, err)
		}
		absent(t, dst)
	}
	if len(other.headers) != 0 {
		t.Errorf("plain http was sent %v", other.headers)
	}
}
