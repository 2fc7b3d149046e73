package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/registry"
)

// formatVersion is part of every key: a change of how layers are made raises it.
const formatVersion = 1

// A workdir is the folder of caches: blobs in one OCI layout, a record for
// each stage that was made, snapshots of build contexts, and the container store.
type workdir struct {
	dir  string
	pool *registry.Layout
}

// openWorkdir opens the folder. The caller, or the caller's parent, has it locked.
func openWorkdir(dir string) (*workdir, error) {
	for _, sub := range []string{"records", "contexts", "tmp", "hooks"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	pool, err := registry.CreateLayout(filepath.Join(dir, "oci"))
	if err != nil {
		return nil, err
	}
	return &workdir{dir, pool}, nil
}

// sweep removes temporary files of killed builds; what RUN --mount=type=cache
// keeps stays. Files of other ids are left to the process in the namespace.
func (w *workdir) sweep() {
	ents, err := os.ReadDir(w.path("tmp"))
	if err != nil {
		return
	}
	for _, e := range ents {
		if !strings.HasPrefix(e.Name(), "buildah-cache-") {
			_ = os.RemoveAll(w.path("tmp", e.Name()))
		}
	}
}

func (w *workdir) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// A record says what a stage made. It is valid for the parent that it names.
type record struct {
	Version int       `json:"version"`
	Kind    stageKind `json:"kind"`
	Name    string    `json:"name"`
	Key     string    `json:"key"`
	// Parent is the ID of the record below, ParentKey its key; empty for a base.
	Parent    string  `json:"parent,omitempty"`
	ParentKey string  `json:"parentKey,omitempty"`
	Layers    []Layer `json:"layers"`
	// Image is the whole image configuration, layers and history included.
	Image json.RawMessage `json:"image"`
}

// id names the content of the image as it stands at this record.
func (r *record) id() string {
	d := digest.SHA256.Digester()
	for _, l := range r.Layers {
		fmt.Fprintln(d.Hash(), l.DiffID, l.Digest)
	}
	_, _ = d.Hash().Write(r.Image)
	return d.Digest().Encoded()
}

func (w *workdir) recordPath(key string) string { return w.path("records", key+".json") }

// load returns the record for a key, or nil when there is none that can be used.
func (w *workdir) load(key, parent string) *record {
	b, err := os.ReadFile(w.recordPath(key))
	if err != nil {
		return nil
	}
	var r record
	if json.Unmarshal(b, &r) != nil || r.Version != formatVersion || r.Key != key || r.Parent != parent {
		return nil
	}
	for _, l := range r.Layers {
		if !w.pool.Has(l.Descriptor) {
			return nil
		}
	}
	return &r
}

// mustLoad loads a record that is known to be there, whatever its parent.
func (w *workdir) mustLoad(key string) (*record, error) {
	b, err := os.ReadFile(w.recordPath(key))
	if err != nil {
		return nil, fmt.Errorf("reading the record of an earlier stage: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("reading the record of an earlier stage: %w", err)
	}
	return &r, nil
}

func (w *workdir) save(r *record) error {
	r.Version = formatVersion
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(w.recordPath(r.Key), b, 0o644)
}

// An index is the folders and symbolic links of an image, which is what an
// overlay must respect: see [treeIndex]. It is kept beside its record.
func (w *workdir) indexPath(id string) string { return w.path("records", id+".tree") }

func (w *workdir) saveIndex(id string, t *treeIndex) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(w.indexPath(id), b, 0o644)
}

// index returns the index of a record's image, reading its layers when it must.
func (w *workdir) index(r *record) (*treeIndex, error) {
	t := newTreeIndex()
	b, err := os.ReadFile(w.indexPath(r.id()))
	if err == nil && json.Unmarshal(b, t) == nil {
		return t, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	t = newTreeIndex()
	for _, l := range r.Layers {
		if err := w.indexLayer(t, l); err != nil {
			return nil, fmt.Errorf("reading layer %s: %w", l.Digest, err)
		}
	}
	return t, w.saveIndex(r.id(), t)
}

// baseRecord describes an image in the pool as the lowest record.
func (w *workdir) baseRecord(key, name string, m v1.Descriptor) (*record, error) {
	b, err := w.pool.Blob(m.Digest)
	if err != nil {
		return nil, err
	}
	var man v1.Manifest
	if err := json.Unmarshal(b, &man); err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", m.Digest, err)
	}
	conf, err := w.pool.Blob(man.Config.Digest)
	if err != nil {
		return nil, err
	}
	img, err := parseImage(conf)
	if err != nil {
		return nil, fmt.Errorf("reading image configuration %s: %w", man.Config.Digest, err)
	}
	ids, err := img.diffIDs()
	if err != nil {
		return nil, err
	}
	if len(ids) != len(man.Layers) {
		return nil, fmt.Errorf("image %s has %d layers but %d diff ids", name, len(man.Layers), len(ids))
	}
	r := &record{Kind: kindRef, Name: name, Key: key, Image: conf}
	for i, l := range man.Layers {
		if l.MediaType, err = ociLayerType(l.MediaType); err != nil {
			return nil, fmt.Errorf("image %s, layer %d: %w", name, i+1, err)
		}
		r.Layers = append(r.Layers, Layer{Descriptor: l, DiffID: ids[i], Base: true})
	}
	return r, nil
}

// ociLayerType translates Docker's names for the same layer formats.
func ociLayerType(t string) (string, error) {
	switch t {
	case v1.MediaTypeImageLayer, v1.MediaTypeImageLayerGzip, v1.MediaTypeImageLayerZstd:
		return t, nil
	case "application/vnd.docker.image.rootfs.diff.tar":
		return v1.MediaTypeImageLayer, nil
	case "application/vnd.docker.image.rootfs.diff.tar.gzip":
		return v1.MediaTypeImageLayerGzip, nil
	case "application/vnd.docker.image.rootfs.diff.tar.zstd":
		return v1.MediaTypeImageLayerZstd, nil
	}
	return "", fmt.Errorf("unknown layer media type %q", t)
}
