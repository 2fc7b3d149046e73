package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// storagePrefix names images of the user's own container storage.
const storagePrefix = "containers-storage:"

// FetchStorage copies an image out of the container storage that podman uses
// for this user. The storage keeps no compressed blobs, so the layers come
// uncompressed and the manifest is a new one. It works only where the storage
// can be read: as root, or inside the user's namespace.
func FetchStorage(ctx context.Context, ref string, l *Layout, o Options) (Result, error) {
	name, ok := strings.CutPrefix(ref, storagePrefix)
	if !ok {
		return Result{}, fmt.Errorf("%q is no %s reference", ref, storagePrefix)
	}
	opts, err := storage.DefaultStoreOptions()
	if err != nil {
		return Result{}, fmt.Errorf("reading the settings of the container storage: %w", err)
	}
	store, err := storage.GetStore(opts)
	if err != nil {
		return Result{}, fmt.Errorf("opening the container storage: %w", err)
	}
	return fetchStore(ctx, store, name, l, o)
}

func fetchStore(ctx context.Context, store storage.Store, name string, l *Layout, o Options) (Result, error) {
	src, err := istorage.Transport.ParseStoreReference(store, name)
	if err != nil {
		return Result{}, fmt.Errorf("image reference %s%s: %w", storagePrefix, name, err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(l.dir), ".storage"+partialMark)
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(tmp)
	dst, err := layout.NewReference(tmp, "image")
	if err != nil {
		return Result{}, err
	}
	sys := SystemContext(o)
	out := *sys
	out.OCIAcceptUncompressedLayers = true
	if err := copyImage(ctx, dst, src, &copy.Options{SourceCtx: sys, DestinationCtx: &out, ForceManifestMIMEType: v1.MediaTypeImageManifest}); err != nil {
		return Result{}, fmt.Errorf("copying %s%s: %w", storagePrefix, name, err)
	}
	from, err := OpenLayout(tmp)
	if err != nil {
		return Result{}, err
	}
	return adopt(l, from, "image")
}

// adopt takes a whole image of another layout.
func adopt(l, from *Layout, tag string) (Result, error) {
	d, err := from.Find(tag)
	if err != nil {
		return Result{}, err
	}
	b, err := from.Blob(d.Digest)
	if err != nil {
		return Result{}, err
	}
	m, err := parseManifest(b, d.MediaType)
	if err != nil {
		return Result{}, err
	}
	d = v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	res := Result{Manifest: d, Config: m.Config, Layers: m.Layers}
	for _, blob := range append([]v1.Descriptor{m.Config, d}, m.Layers...) {
		if err := l.LinkBlob(from, blob); err != nil {
			return res, err
		}
		res.Bytes += blob.Size
	}
	return res, nil
}

// copyImage copies between transports of the container libraries. Images are
// trusted by digest, not by the machine's signature policy, which is not read.
func copyImage(ctx context.Context, dst, src types.ImageReference, o *copy.Options) error {
	pc, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		return err
	}
	_, err = copy.Image(ctx, pc, dst, src, o)
	return errors.Join(err, pc.Destroy())
}

// Push sends the image with the tag in the OCI layout dir to a registry
// (docker://name:tag), blobs and manifest as they are. It returns what was
// pushed. Blobs that the registry has already are not sent again.
func Push(ctx context.Context, dir, tag, ref string, o Options) (v1.Descriptor, error) {
	o = o.withDefaults()
	l, err := OpenLayout(dir)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d, err := l.Find(tag)
	if err != nil {
		return d, err
	}
	s, err := parse(ref, o)
	if err != nil {
		return d, err
	}
	if s.named == nil {
		return d, fmt.Errorf("pushing to %s: it is no registry\nhint: docker://host/name:tag", ref)
	}
	src, err := layout.NewReference(dir, d.Annotations[v1.AnnotationRefName])
	if err != nil {
		return d, err
	}
	ctx, end := s.guard(ctx)
	defer end()
	err = o.retry(ctx, true, func(ctx context.Context) error {
		return copyImage(ctx, s.ref, src, &copy.Options{SourceCtx: SystemContext(o), DestinationCtx: s.sys, PreserveDigests: true, RemoveSignatures: true})
	})
	if err != nil {
		return d, fmt.Errorf("pushing to %s: %w", ref, err)
	}
	return d, nil
}

// Manifest reads the manifest that a descriptor of the layout names.
func (l *Layout) Manifest(d v1.Descriptor) (*v1.Manifest, error) {
	b, err := l.Blob(d.Digest)
	if err != nil {
		return nil, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", d.Digest, err)
	}
	return &m, nil
}
