package main

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/registry"
)

// A packing is a way to compress layers.
type packing struct {
	mediaType string
	writer    func(io.Writer) (io.WriteCloser, error)
}

var packings = map[string]packing{
	"gzip": {v1.MediaTypeImageLayerGzip, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }},
	"zstd": {v1.MediaTypeImageLayerZstd, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }},
}

// inflatedName is a file beside a recompressed layout that says how many bytes
// its layers inflate to.
const inflatedName = "inflated"

// packLayout is the work of the child that recompresses the image. It is one of
// its own because a program's peak memory counts that of its parent.
func packLayout(ctx context.Context, c config) error {
	p, ok := packings[c.packing]
	if !ok {
		return fmt.Errorf("unknown packing %q", c.packing)
	}
	im, err := layer.Open(c.layout, c.tag)
	if err != nil {
		return err
	}
	n, err := recompress(ctx, im, c.pack, p)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(c.pack, inflatedName), strconv.AppendInt(nil, n, 10), 0o644)
}

// recompress writes im into a new layout with its layers packed differently,
// and returns how many bytes they inflate to.
func recompress(ctx context.Context, im *layer.Image, dir string, p packing) (inflated int64, err error) {
	dst, err := registry.CreateLayout(dir)
	if err != nil {
		return 0, err
	}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Annotations: im.Annotations, Layers: make([]v1.Descriptor, len(im.Layers))}
	sizes := make([]int64, len(im.Layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range im.Layers {
		g.Go(func() (err error) {
			m.Layers[i], sizes[i], err = repack(ctx, im, i, dst, p)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, fmt.Errorf("recompressing the image for the benchmark: %w", err)
	}
	for _, n := range sizes {
		inflated += n
	}
	if m.Config, err = dst.PutBytes(v1.MediaTypeImageConfig, im.Config); err != nil {
		return 0, err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	d, err := dst.PutBytes(v1.MediaTypeImageManifest, text)
	if err != nil {
		return 0, err
	}
	return inflated, dst.Tag(d, "bench")
}

// repack writes layer i of im, packed by p.
func repack(ctx context.Context, im *layer.Image, i int, dst *registry.Layout, p packing) (d v1.Descriptor, n int64, err error) {
	b, err := im.OpenLayer(ctx, i, 0)
	if err != nil {
		return d, 0, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	f, err := os.CreateTemp(dst.Dir(), "repack-")
	if err != nil {
		return d, 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	sum := sha256.New()
	w, err := p.writer(io.MultiWriter(f, sum))
	if err != nil {
		return d, 0, err
	}
	if n, err = io.Copy(w, b); err != nil {
		return d, 0, err
	}
	if err := w.Close(); err != nil {
		return d, 0, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return d, 0, err
	}
	d = v1.Descriptor{MediaType: p.mediaType, Size: size, Digest: digest.NewDigest(digest.SHA256, sum)}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return d, 0, err
	}
	return d, n, dst.PutBlob(d, f)
}

// inflateAll is the bound for every disk writer: read, inflate, hash, no more.
func inflateAll(ctx context.Context, dir string, cores int) error {
	im, err := layer.Open(dir, "")
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cores)
	for i := range im.Layers {
		g.Go(func() error {
			b, err := im.OpenLayer(ctx, i, 0)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, b)
			return errors.Join(err, b.Close())
		})
	}
	return g.Wait()
}
