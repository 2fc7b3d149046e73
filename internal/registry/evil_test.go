package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// An evil is a registry on the loopback that behaves as a test tells it to.
type evil struct {
	*httptest.Server
	mu        sync.Mutex
	blobs     map[string][]byte
	manifests map[string]served
	hooks     map[string]func(w http.ResponseWriter, r *http.Request, n int) bool
	hits      map[string]int
	headers   []http.Header
	stop      chan struct{}
}

type served struct {
	mediaType string
	b         []byte
}

func newEvil(t *testing.T, start func(http.Handler) *httptest.Server) *evil {
	t.Helper()
	e := &evil{blobs: map[string][]byte{}, manifests: map[string]served{}, hits: map[string]int{},
		hooks: map[string]func(http.ResponseWriter, *http.Request, int) bool{}, stop: make(chan struct{})}
	e.Server = start(e)
	t.Cleanup(func() {
		close(e.stop)
		e.CloseClientConnections()
		e.Close()
	})
	return e
}

// host is the registry's address without a scheme.
func (e *evil) host() string { return strings.SplitN(e.URL, "//", 2)[1] }

// ref names the image of most tests.
func (e *evil) ref() string { return "docker://" + e.host() + "/img:latest" }

func (e *evil) pinned(d digest.Digest) string { return "docker://" + e.host() + "/img@" + d.String() }

func (e *evil) count(path string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hits[path]
}

// hook answers requests to a path; n counts them from 1. False means: answer normally.
func (e *evil) hook(path string, f func(w http.ResponseWriter, r *http.Request, n int) bool) {
	e.hooks[path] = f
}

func (e *evil) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.hits[r.URL.Path]++
	n := e.hits[r.URL.Path]
	e.headers = append(e.headers, r.Header.Clone())
	hook := e.hooks[r.URL.Path]
	if all := e.hooks["*"]; all != nil && hook == nil {
		hook = all
	}
	e.mu.Unlock()
	if hook != nil && hook(w, r, n) {
		return
	}
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case r.URL.Path == "/v2/":
	case strings.Contains(r.URL.Path, "/manifests/"):
		m, ok := e.manifests[name]
		if !ok {
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(m.b).String())
		_, _ = w.Write(m.b)
	default:
		b, ok := e.blobs[name]
		if !ok {
			http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}`, http.StatusNotFound)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

func (e *evil) blob(mediaType string, b []byte) v1.Descriptor {
	d := digest.FromBytes(b)
	e.blobs[d.String()] = b
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func (e *evil) manifest(mediaType string, v any, names ...string) v1.Descriptor {
	b, ok := v.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(v); err != nil {
			panic(err)
		}
	}
	d := digest.FromBytes(b)
	for _, n := range append(names, d.String()) {
		e.manifests[n] = served{mediaType, b}
	}
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

// image serves an image of two layers as "latest".
func (e *evil) image() (v1.Descriptor, *v1.Manifest) {
	m := &v1.Manifest{MediaType: v1.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = e.blob(v1.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`))
	for i := range 2 {
		m.Layers = append(m.Layers, e.blob(v1.MediaTypeImageLayerGzip, bytes.Repeat([]byte(fmt.Sprintf("layer %d ", i)), 20000)))
	}
	return e.manifest(v1.MediaTypeImageManifest, m, "latest"), m
}

func blobPath(d v1.Descriptor) string { return "/v2/img/blobs/" + d.Digest.String() }

// quick are options under which failures end soon.
func (e *evil) quick() Options {
	return Options{Insecure: []string{e.host()}, Retries: 2, Backoff: time.Millisecond, Stall: 5 * time.Second, Arch: "amd64"}
}

// absent checks that a failed fetch left nothing under the final name.
func absent(t *testing.T, dst string) {
	t.Helper()
	if _, err := os.Lstat(dst); !os.IsNotExist(err) {
		t.Errorf("%s exists after a failure (%v)", dst, err)
	}
}

// whole checks that a layout holds exactly what was served.
func whole(t *testing.T, e *evil, dst string, res Result) {
	t.Helper()
	l, err := OpenLayout(dst)
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Find("latest")
	if err != nil {
		t.Fatal(err)
	}
	if d.Digest != res.Manifest.Digest {
		t.Errorf("index.json names %s, the result is %s", d.Digest, res.Manifest.Digest)
	}
	for _, b := range append([]v1.Descriptor{res.Config}, res.Layers...) {
		p, err := l.BlobPath(b.Digest)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(p)
		if err != nil || !bytes.Equal(got, e.blobs[b.Digest.String()]) {
			t.Errorf("blob %s differs from what was served (%v)", b.Digest, err)
		}
	}
	ents, err := os.ReadDir(filepath.Dir(dst))
	if err != nil {
		t.Fatal(err)
	}
	for _, ent := range ents {
		if strings.HasPrefix(ent.Name(), ".") {
			t.Errorf("left over: %s", ent.Name())
		}
	}
}

func plainHTTP(h http.Handler) *httptest.Server { return httptest.NewServer(h) }

// endless writes zeros until the other side goes away, and counts them.
func endless(w io.Writer, stop <-chan struct{}) int64 {
	var sum int64
	b := make([]byte, 64<<10)
	for {
		select {
		case <-stop:
			return sum
		default:
		}
		n, err := w.Write(b)
		sum += int64(n)
		if err != nil {
			return sum
		}
	}
}
