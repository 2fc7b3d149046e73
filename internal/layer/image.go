// Package layer reads container images from OCI layouts: the manifest, the
// configuration, and each layer as a verified stream of tar members. It refuses
// blobs whose digest or size is not the one that was promised, and archives
// that try to be more than a tree of files.
package layer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxJSON bounds manifests and configurations: 4 MiB is what registries accept,
// and configurations of chunked images stay far below it.
const maxJSON = 8 << 20

// A Descriptor names one blob: digest, size in bytes, media type.
type Descriptor = v1.Descriptor

// An Image is one image of an OCI layout. Its blobs are verified when they are read.
type Image struct {
	Dir            string
	Manifest       []byte // the bytes as stored, whose digest is ManifestDigest
	ManifestDigest digest.Digest
	Config         []byte
	ConfigDigest   digest.Digest
	Layers         []Descriptor
	DiffIDs        []digest.Digest // of the inflated layers, same order
	Labels         map[string]string
	Annotations    map[string]string // of the manifest
	Architecture   string            // in Go's words: amd64, arm64
	Created        time.Time         // zero when the image does not say
}

// Open reads the image that ref names in the layout at dir. An empty ref is
// the only image of the layout; several are an error.
func Open(dir, ref string) (*Image, error) {
	var idx v1.Index
	raw, err := readFile(filepath.Join(dir, v1.ImageIndexFile))
	if err != nil {
		return nil, fmt.Errorf("reading OCI layout %s: %w", dir, err)
	}
	if err := json.Unmarshal(raw, &idx); err != nil {
		return nil, fmt.Errorf("reading OCI layout %s: index.json: %w", dir, err)
	}
	d, err := pick(idx.Manifests, ref)
	if err != nil {
		return nil, fmt.Errorf("reading OCI layout %s: %w", dir, err)
	}
	return open(dir, d)
}

func pick(ms []Descriptor, ref string) (Descriptor, error) {
	var found []Descriptor
	for _, m := range ms {
		if ref == "" || m.Annotations[v1.AnnotationRefName] == ref || m.Digest.String() == ref {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 0 && ref == "":
		return Descriptor{}, errors.New("it holds no image")
	case len(found) == 0:
		return Descriptor{}, fmt.Errorf("it holds no image %q", ref)
	case len(found) > 1:
		return Descriptor{}, fmt.Errorf("it holds %d images\nhint: name one as DIR:TAG", len(found))
	}
	return found[0], nil
}

func open(dir string, d Descriptor) (*Image, error) {
	if d.MediaType == v1.MediaTypeImageIndex || d.MediaType == "application/vnd.docker.distribution.manifest.list.v2+json" {
		return nil, fmt.Errorf("%s is an index of several platforms\nhint: fetch the image of one platform first", d.Digest)
	}
	im := &Image{Dir: dir, ManifestDigest: d.Digest}
	var err error
	if im.Manifest, err = im.readBlob(d); err != nil {
		return nil, fmt.Errorf("reading image manifest: %w", err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(im.Manifest, &m); err != nil {
		return nil, fmt.Errorf("reading image manifest %s: %w", d.Digest, err)
	}
	im.ConfigDigest = m.Config.Digest
	if im.Config, err = im.readBlob(m.Config); err != nil {
		return nil, fmt.Errorf("reading image configuration: %w", err)
	}
	var c v1.Image
	if err := json.Unmarshal(im.Config, &c); err != nil {
		return nil, fmt.Errorf("reading image configuration %s: %w", m.Config.Digest, err)
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("image %s has %d layers and %d diff ids", d.Digest, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	im.Layers, im.DiffIDs = m.Layers, c.RootFS.DiffIDs
	im.Labels, im.Annotations, im.Architecture = c.Config.Labels, m.Annotations, c.Architecture
	im.Created = created(m.Annotations, c.Created)
	return im, nil
}

// created is what ostree-ext takes as the time of an image: the manifest's
// annotation, else the configuration's field.
func created(a map[string]string, c *time.Time) time.Time {
	if t, err := time.Parse(time.RFC3339, a[v1.AnnotationCreated]); err == nil {
		return t.UTC()
	}
	if c != nil {
		return c.UTC()
	}
	return time.Time{}
}

// BlobPath is where the layout keeps the blob of that digest.
func (im *Image) BlobPath(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("digest %q: only sha256 is supported", d)
	}
	return filepath.Join(im.Dir, v1.ImageBlobsDir, d.Algorithm().String(), d.Encoded()), nil
}

func (im *Image) readBlob(d Descriptor) ([]byte, error) {
	p, err := im.BlobPath(d.Digest)
	if err != nil {
		return nil, err
	}
	if d.Size > maxJSON {
		return nil, fmt.Errorf("%s is of %d bytes, over the limit of %d", d.Digest, d.Size, maxJSON)
	}
	b, err := readFile(p)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(b); got != d.Digest {
		return nil, altered("%s has the digest %s, want %s", p, got, d.Digest)
	}
	return b, nil
}

func readFile(path string) (b []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err = io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err == nil && len(b) > maxJSON {
		err = fmt.Errorf("%s is over the limit of %d bytes", path, maxJSON)
	}
	return b, err
}
