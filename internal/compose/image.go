package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// An imageConfig is an OCI image configuration ("config.md" of the image
// specification). Fields that this program does not know are kept.
type imageConfig map[string]any

func parseImage(b []byte) (imageConfig, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var c imageConfig
	if err := d.Decode(&c); err != nil {
		return nil, err
	}
	if c == nil {
		return nil, fmt.Errorf("it is no JSON object")
	}
	return c, nil
}

// newImage is the configuration of an image without layers.
func newImage(arch string, epoch time.Time) imageConfig {
	return imageConfig{
		"created": epoch.UTC().Format(time.RFC3339), "architecture": arch, "os": "linux",
		"config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": []any{}}, "history": []any{},
	}
}

// bytes is the canonical form: keys in order, no spaces.
func (c imageConfig) bytes() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(c); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func (c imageConfig) diffIDs() ([]digest.Digest, error) {
	root, _ := c["rootfs"].(map[string]any)
	list, _ := root["diff_ids"].([]any)
	var out []digest.Digest
	for _, v := range list {
		s, _ := v.(string)
		d := digest.Digest(s)
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("diff id %q: %w", s, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// addLayer appends a layer and its line of history.
func (c imageConfig) addLayer(l Layer, epoch time.Time) {
	root, ok := c["rootfs"].(map[string]any)
	if !ok {
		root = map[string]any{"type": "layers"}
		c["rootfs"] = root
	}
	ids, _ := root["diff_ids"].([]any)
	root["diff_ids"] = append(ids[:len(ids):len(ids)], string(l.DiffID))
	h, _ := c["history"].([]any)
	c["history"] = append(h[:len(h):len(h)], map[string]any{"created": epoch.UTC().Format(time.RFC3339), "created_by": l.History})
}

// label sets labels.
func (c imageConfig) label(labels map[string]string) {
	conf, ok := c["config"].(map[string]any)
	if !ok {
		conf = map[string]any{}
		c["config"] = conf
	}
	have, _ := conf["Labels"].(map[string]any)
	next := map[string]any{}
	maps.Copy(next, have)
	for k, v := range labels {
		next[k] = v
	}
	if len(next) > 0 {
		conf["Labels"] = next
	}
}

// on returns a new record above r with the given layers; image may be nil to
// keep r's configuration.
func (r *record) on(st *stage, layers []Layer, image imageConfig, epoch time.Time) (*record, error) {
	base, err := parseImage(r.Image)
	if err != nil {
		return nil, err
	}
	if image != nil {
		image["rootfs"], image["history"] = base["rootfs"], base["history"]
		base = image
	}
	base["created"] = epoch.UTC().Format(time.RFC3339)
	for _, l := range layers {
		base.addLayer(l, epoch)
	}
	b, err := base.bytes()
	if err != nil {
		return nil, err
	}
	next := &record{Kind: st.Kind, Name: st.Name, Key: st.Key, ParentKey: r.Key, Image: b}
	if r.Key != "" {
		next.Parent = r.id()
	}
	next.Layers = append(append(next.Layers, r.Layers...), layers...)
	return next, nil
}

// manifest is the OCI image manifest of a record.
func (r *record) manifest(config v1.Descriptor, annotations map[string]string) v1.Manifest {
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: config, Annotations: annotations}
	m.SchemaVersion = 2
	for _, l := range r.Layers {
		m.Layers = append(m.Layers, l.Descriptor)
	}
	return m
}
