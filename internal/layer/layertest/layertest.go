// Package layertest writes small container images as OCI layouts for tests.
package layertest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Layer is a layer's inflated bytes and how they are compressed.
type Layer struct {
	Tar         []byte
	Compression string // "gzip", "zstd" or "" for none
}

// An Image is what Write writes.
type Image struct {
	Layers  []Layer
	Labels  map[string]string
	Created time.Time
	Arch    string // default amd64
}

// An Entry is one member of an archive.
type Entry struct {
	tar.Header
	Body string
}

// Dir is a folder of root.
func Dir(name string, mode int64) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}}
}

// File is a regular file of root.
func File(name string, mode int64, body string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, Body: body}
}

// Link is a symbolic link of root.
func Link(name, target string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

// Hard is a hard link.
func Hard(name, target string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}

// Own gives an entry another owner.
func (e Entry) Own(uid, gid int) Entry {
	e.Uid, e.Gid = uid, gid
	return e
}

// Xattr gives an entry an extended attribute.
func (e Entry) Xattr(name, value string) Entry {
	m := map[string]string{"SCHILY.xattr." + name: value}
	for k, v := range e.PAXRecords {
		m[k] = v
	}
	e.PAXRecords = m
	return e
}

// Tar makes an archive of entries.
func Tar(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		h.Format = tar.FormatPAX
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.Body))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		if _, err := io.WriteString(w, e.Body); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Write writes the image into dir, which must be empty, and returns the digest
// of its manifest.
func Write(t testing.TB, dir string, im Image) digest.Digest {
	t.Helper()
	l := layout{t, dir}
	cfg := v1.Image{Platform: v1.Platform{Architecture: im.Arch, OS: "linux"}}
	if im.Arch == "" {
		cfg.Architecture = "amd64"
	}
	if !im.Created.IsZero() {
		cfg.Created = &im.Created
	}
	cfg.Config.Labels = im.Labels
	cfg.RootFS.Type = "layers"
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, ly := range im.Layers {
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, digest.FromBytes(ly.Tar))
		b, mt := Compress(t, ly.Tar, ly.Compression)
		m.Layers = append(m.Layers, l.blob(b, mt))
	}
	m.Config = l.blob(l.json(cfg), v1.MediaTypeImageConfig)
	d := l.blob(l.json(m), v1.MediaTypeImageManifest)
	idx := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{d}}
	l.file(v1.ImageIndexFile, l.json(idx))
	l.file(v1.ImageLayoutFile, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return d.Digest
}

// Compress compresses a layer and names its media type.
func Compress(t testing.TB, b []byte, how string) ([]byte, string) {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	mt := v1.MediaTypeImageLayer
	switch how {
	case "":
		return b, mt
	case "gzip":
		w, mt = gzip.NewWriter(&out), v1.MediaTypeImageLayerGzip
	case "zstd":
		z, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w, mt = z, v1.MediaTypeImageLayerZstd
	default:
		t.Fatalf("unknown compression %q", how)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), mt
}

type layout struct {
	t   testing.TB
	dir string
}

func (l layout) json(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func (l layout) blob(b []byte, mediaType string) v1.Descriptor {
	d := digest.FromBytes(b)
	l.file(filepath.Join("blobs", "sha256", d.Encoded()), b)
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func (l layout) file(name string, b []byte) {
	p := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(p, b, 0o644); err != nil {
		l.t.Fatal(err)
	}
}
