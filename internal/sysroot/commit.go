package sysroot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/aitheros/aither-image/internal/ostree"
)

// importerVersion is what commits say about their maker: the version of
// ostree-ext whose layout this package writes (on-disk specification 2.6).
const importerVersion = "0.15.3"

const keyVersion = "ostree.importer.version"

// commits fills the repository with the commits of all layers and the merge
// commit, which it returns.
func (r *repository) commits(ctx context.Context) (ostree.Checksum, error) {
	t := r.t
	trees := []*dir{t.root}
	for i, l := range t.layers {
		if t.kinds[i] == derived {
			trees = append(trees, l.root)
		}
	}
	if err := r.hash(ctx, trees...); err != nil {
		return ostree.Checksum{}, err
	}
	if t.base != nil {
		if err := r.addEncap(); err != nil {
			return ostree.Checksum{}, err
		}
	}
	for i, l := range t.layers {
		if t.kinds[i] != derived {
			continue
		}
		ref, err := ostree.BlobRef(t.Image.Layers[i].Digest.String())
		if err != nil {
			return ostree.Checksum{}, err
		}
		root, meta := r.addTree(l.root, "")
		r.refs[ref] = r.addCommit(ostree.Commit{
			Metadata:  map[string]ostree.Value{keyVersion: ostree.StringValue(importerVersion)},
			Timestamp: t.timestamp(), Root: root, RootMeta: meta})
	}
	return r.mergeCommit()
}

func (t *Tree) timestamp() uint64 { return uint64(max(0, t.Image.Created.Unix())) }

func (r *repository) mergeCommit() (ostree.Checksum, error) {
	t := r.t
	manifest, err := canonicalJSON(t.Image.Manifest)
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("reading image manifest: %w", err)
	}
	config, err := canonicalJSON(t.Image.Config)
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("reading image configuration: %w", err)
	}
	c := ostree.Commit{Timestamp: t.timestamp(), Metadata: map[string]ostree.Value{
		keyVersion:                      ostree.StringValue(importerVersion),
		"ostree.manifest":               ostree.StringValue(manifest),
		"ostree.manifest-digest":        ostree.StringValue(t.Image.ManifestDigest.String()),
		"ostree.container.image-config": ostree.StringValue(config),
	}}
	if t.base != nil {
		c.Parent = &t.base.sum
	}
	c.Root, c.RootMeta = r.addTree(t.root, "")
	return r.addCommit(c), nil
}

// canonicalJSON is the form in which the importer stores manifest and
// configuration: keys sorted, no blanks, numbers as they were.
func canonicalJSON(b []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return string(bytes.TrimRight(out.Bytes(), "\n")), nil
}
