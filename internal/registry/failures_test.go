package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A failure is one way in which a registry or an image is bad for good.
type failure struct {
	name string
	evil func(e *evil, m *v1.Manifest) (ref string)
	// want is in the error; tries is how often the blob of layer 2 was asked for, -1: does not matter.
	want  string
	tries int
}

// bend serves the manifest after f has changed it, or what f returns instead.
func bend(f func(m *v1.Manifest) any) func(*evil, *v1.Manifest) string {
	return func(e *evil, m *v1.Manifest) string {
		e.manifest(v1.MediaTypeImageManifest, f(m), "latest")
		return e.ref()
	}
}

// cut serves only part of layer 2, in percent, always.
func cut(percent int) func(*evil, *v1.Manifest) string {
	return func(e *evil, m *v1.Manifest) string {
		d := m.Layers[1]
		b := e.blobs[d.Digest.String()]
		e.hook(blobPath(d), func(w http.ResponseWriter, r *http.Request, n int) bool {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			_, _ = w.Write(b[:len(b)*percent/100])
			panic(http.ErrAbortHandler)
		})
		return e.ref()
	}
}

// layer2 serves layer 2 by f.
func layer2(f func(e *evil, w http.ResponseWriter, good []byte)) func(*evil, *v1.Manifest) string {
	return func(e *evil, m *v1.Manifest) string {
		d := m.Layers[1]
		b := e.blobs[d.Digest.String()]
		e.hook(blobPath(d), func(w http.ResponseWriter, r *http.Request, n int) bool { f(e, w, b); return true })
		return e.ref()
	}
}

func withDigest(d string) func(m *v1.Manifest) any {
	return func(m *v1.Manifest) any { m.Layers[1].Digest = digest.Digest(d); return m }
}

var failures = []failure{
	{"truncated at 0 %", cut(0), "", 3},
	{"truncated at 1 %", cut(1), "", 3},
	{"truncated at 50 %", cut(50), "", 3},
	{"truncated at 99 %", cut(99), "", 3},
	{"short body without length", layer2(func(_ *evil, w http.ResponseWriter, b []byte) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(b[:len(b)/2])
	}), "ends after", 3},
	{"wrong content", layer2(func(_ *evil, w http.ResponseWriter, b []byte) {
		_, _ = w.Write([]byte(strings.Repeat("x", len(b))))
	}), "wrong content", 1},
	{"longer by one byte", layer2(func(_ *evil, w http.ResponseWriter, b []byte) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(append(append([]byte{}, b...), 0))
	}), "longer than", 1},
	{"other length", layer2(func(_ *evil, w http.ResponseWriter, b []byte) {
		_, _ = w.Write(append(append([]byte{}, b...), 0))
	}), "", 1},
	{"endless body", layer2(func(e *evil, w http.ResponseWriter, b []byte) {
		w.(http.Flusher).Flush()
		if n := endless(w, e.stop); n > 64<<20 {
			panic("the reader took more than 64 MiB")
		}
	}), "longer than", 1},
	{"always 500", layer2(func(_ *evil, w http.ResponseWriter, _ []byte) { http.Error(w, "no", 500) }), "", 3},
	{"always 503 with a registry's error", layer2(func(_ *evil, w http.ResponseWriter, _ []byte) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(503)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAVAILABLE","message":"later"}]}`))
	}), "", 3},
	{"blob not there", layer2(func(_ *evil, w http.ResponseWriter, _ []byte) { http.Error(w, "no", 404) }), "", 1},
	{"blob forbidden", layer2(func(_ *evil, w http.ResponseWriter, _ []byte) { http.Error(w, "no", 403) }), "", 1},
	{"redirect in a circle", func(e *evil, m *v1.Manifest) string {
		e.hook(blobPath(m.Layers[1]), func(w http.ResponseWriter, r *http.Request, n int) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			return true
		})
		return e.ref()
	}, "redirect", -1},
	{"digest climbs", bend(withDigest("sha256:../../../../etc/passwd")), "digest", 0},
	{"digest too short", bend(withDigest("sha256:abcd")), "digest", 0},
	{"digest in capitals", bend(withDigest("sha256:" + strings.Repeat("A", 64))), "digest", 0},
	{"digest of another kind", bend(withDigest("sha512:" + strings.Repeat("a", 128))), "only sha256", 0},
	{"no digest", bend(withDigest("")), "digest", 0},
	{"negative size", bend(func(m *v1.Manifest) any { m.Layers[1].Size = -1; return m }), "size", 0},
	{"huge configuration", bend(func(m *v1.Manifest) any { m.Config.Size = 1 << 40; return m }), "configuration is larger", 0},
	{"too many layers", bend(func(m *v1.Manifest) any {
		for len(m.Layers) <= maxLayers {
			m.Layers = append(m.Layers, m.Layers[0])
		}
		return m
	}), "layers", 0},
	{"key twice", bend(func(m *v1.Manifest) any {
		b, _ := json.Marshal(m)
		return []byte(strings.Replace(string(b), `"layers":`, `"layers":[],"layers":`, 1))
	}), "twice", 0},
	{"key twice in other case", bend(func(m *v1.Manifest) any {
		b, _ := json.Marshal(m)
		return []byte(strings.Replace(string(b), `"layers":`, `"Layers":[],"layers":`, 1))
	}), "twice", 0},
	{"manifest is no JSON", bend(func(*v1.Manifest) any { return []byte("<html>log in</html>") }), "", 0},
	{"manifest is nested deeply", bend(func(*v1.Manifest) any {
		return []byte(strings.Repeat("[", 100000) + strings.Repeat("]", 100000))
	}), "", 0},
	{"manifest says that it is something else", bend(func(m *v1.Manifest) any { m.MediaType = v1.MediaTypeImageIndex; return m }), "", 0},
	{"schema version 1", bend(func(m *v1.Manifest) any { m.SchemaVersion = 1; return m }), "schema version", 0},
	{"Docker's first manifests", func(e *evil, m *v1.Manifest) string {
		e.manifest("application/vnd.docker.distribution.manifest.v1+json", []byte(`{"schemaVersion":1,"name":"img","tag":"latest","fsLayers":[],"history":[]}`), "latest")
		return e.ref()
	}, "not supported", 0},
	{"endless manifest", func(e *evil, m *v1.Manifest) string {
		e.hook("/v2/img/manifests/latest", func(w http.ResponseWriter, r *http.Request, n int) bool {
			w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
			endless(w, e.stop)
			return true
		})
		return e.ref()
	}, "", 0},
	{"other manifest than pinned", func(e *evil, m *v1.Manifest) string {
		d := digest.FromString("what was asked for")
		e.manifests[d.String()] = e.manifests["latest"]
		return e.pinned(d)
	}, "", 0},
	{"index without our architecture", func(e *evil, m *v1.Manifest) string {
		d := e.manifests["latest"]
		e.manifest(v1.MediaTypeImageIndex, index(v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(d.b), Size: int64(len(d.b)), Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}), "latest")
		return e.ref()
	}, "hint: the image may not exist for amd64", 0},
	{"index that leads to an index", func(e *evil, m *v1.Manifest) string {
		inner := e.manifest(v1.MediaTypeImageIndex, index(), "inner")
		inner.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
		e.manifest(v1.MediaTypeImageIndex, index(inner), "latest")
		return e.ref()
	}, "another index", 0},
	{"index whose manifest is another", func(e *evil, m *v1.Manifest) string {
		d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("other"), Size: 5, Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}
		e.manifests[d.Digest.String()] = e.manifests["latest"]
		e.manifest(v1.MediaTypeImageIndex, index(d), "latest")
		return e.ref()
	}, "", 0},
	{"log in needed", func(e *evil, m *v1.Manifest) string {
		e.hook("*", func(w http.ResponseWriter, r *http.Request, n int) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="evil"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return true
		})
		return e.ref()
	}, "", 0},
	{"image not there", func(e *evil, m *v1.Manifest) string { delete(e.manifests, "latest"); return e.ref() }, "", 0},
}

func index(d ...v1.Descriptor) v1.Index {
	i := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: d}
	i.SchemaVersion = 2
	return i
}
