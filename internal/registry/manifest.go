package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxLayers bounds a manifest: chunked images have some hundreds of layers at most.
const maxLayers = 4096

// parseManifest reads an OCI manifest or Docker's of version 2, schema 2, which
// has the same shape. Older ones name no sizes and are refused.
func parseManifest(b []byte, mediaType string) (*v1.Manifest, error) {
	if mediaType != v1.MediaTypeImageManifest && mediaType != manifest.DockerV2Schema2MediaType {
		return nil, fmt.Errorf("its media type %q is not supported", mediaType)
	}
	var m v1.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if m.SchemaVersion != 2 {
		return nil, fmt.Errorf("its schema version is %d, not 2", m.SchemaVersion)
	}
	if m.MediaType != "" && m.MediaType != mediaType {
		return nil, fmt.Errorf("it was served as %s but says that it is %s", mediaType, m.MediaType)
	}
	if len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("it has %d layers, more than %d", len(m.Layers), maxLayers)
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if err := checkDigest(d.Digest); err != nil {
			return nil, err
		}
		if d.Size < 0 {
			return nil, fmt.Errorf("blob %s has the size %d", d.Digest, d.Size)
		}
	}
	if m.Config.Size > maxMetadata {
		return nil, fmt.Errorf("its configuration is larger than %d bytes", maxMetadata)
	}
	return &m, nil
}

// checkKeys refuses JSON objects that have a key twice: readers differ in which
// of the two they take, so that a digest alone would not say what is meant.
// Case does not count, as it does not for many readers.
func checkKeys(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	return checkValue(d, 0)
}

// maxDepth bounds the nesting of a manifest.
const maxDepth = 64

func checkValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("it is nested too deeply")
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	keys := map[string]bool{}
	for d.More() {
		if open == '{' {
			k, err := d.Token()
			if err != nil {
				return err
			}
			name := strings.ToLower(fmt.Sprint(k))
			// Annotations and labels are free text, whose case does count.
			if depth > 1 {
				name = fmt.Sprint(k)
			}
			if keys[name] {
				return fmt.Errorf("the key %q is there twice", k)
			}
			keys[name] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// pinned is the digest that the reference itself names.
func (s *source) pinned() digest.Digest {
	if c, ok := s.named.(reference.Canonical); ok {
		return c.Digest()
	}
	return s.local
}

// pinTo makes the reference name the digest, so that a tag that moves
// meanwhile does not matter.
func (s *source) pinTo(pin digest.Digest) error {
	if pin == "" || s.named == nil || s.pinned() == pin {
		return nil
	}
	c, err := reference.WithDigest(reference.TrimNamed(s.named), pin)
	if err != nil {
		return err
	}
	s.ref, err = docker.NewReference(c)
	return err
}
