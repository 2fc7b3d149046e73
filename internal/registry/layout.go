package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/atomicfile"
)

// maxMetadata bounds manifests, indexes and configs that are held in memory, in bytes.
const maxMetadata = 8 << 20

// A Layout is an OCI image layout folder (OCI image specification 1.1,
// "image-layout"). Blobs are written whole under their digest or not at all,
// and index.json is replaced last, so that a reader never meets a name whose
// bytes are missing.
type Layout struct{ dir string }

// OpenLayout opens an existing layout.
func OpenLayout(dir string) (*Layout, error) {
	b, err := readLimited(filepath.Join(dir, v1.ImageLayoutFile), 4096)
	if err != nil {
		return nil, fmt.Errorf("opening OCI layout %s: %w", dir, err)
	}
	var l v1.ImageLayout
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("reading %s of OCI layout %s: %w", v1.ImageLayoutFile, dir, err)
	}
	if l.Version != v1.ImageLayoutVersion {
		return nil, fmt.Errorf("OCI layout %s has version %q, not %q", dir, l.Version, v1.ImageLayoutVersion)
	}
	return &Layout{dir}, nil
}

// CreateLayout opens a layout, and makes an empty one where there is none.
func CreateLayout(dir string) (*Layout, error) {
	if l, err := OpenLayout(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	if err := os.MkdirAll(filepath.Join(dir, v1.ImageBlobsDir, "sha256"), 0o755); err != nil {
		return nil, err
	}
	b, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return nil, err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, v1.ImageLayoutFile), b, 0o644); err != nil {
		return nil, err
	}
	return &Layout{dir}, nil
}

// Dir is the layout's folder.
func (l *Layout) Dir() string { return l.dir }

// BlobPath is where the blob lies, whether it is there or not. Digests that
// are no well-formed sha256 are refused, so that none can name a file outside.
func (l *Layout) BlobPath(d digest.Digest) (string, error) {
	if err := checkDigest(d); err != nil {
		return "", err
	}
	return filepath.Join(l.dir, v1.ImageBlobsDir, "sha256", d.Encoded()), nil
}

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", string(d), err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %q: only sha256 is supported", string(d))
	}
	return nil
}

// Has reports whether the blob is there with the right size. It does not read it.
func (l *Layout) Has(d v1.Descriptor) bool {
	p, err := l.BlobPath(d.Digest)
	if err != nil {
		return false
	}
	fi, err := os.Lstat(p)
	return err == nil && fi.Mode().IsRegular() && fi.Size() == d.Size
}

// Blob reads a small blob, at most 8 MiB, and verifies its digest.
func (l *Layout) Blob(d digest.Digest) ([]byte, error) {
	p, err := l.BlobPath(d)
	if err != nil {
		return nil, err
	}
	b, err := readLimited(p, maxMetadata)
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", d, err)
	}
	if got := digest.FromBytes(b); got != d {
		return nil, fmt.Errorf("reading blob %s of OCI layout %s: its bytes have the digest %s", d, l.dir, got)
	}
	return b, nil
}

// PutBytes stores b and returns its descriptor.
func (l *Layout) PutBytes(mediaType string, b []byte) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	if l.Has(d) {
		return d, nil
	}
	p, err := l.BlobPath(d.Digest)
	if err != nil {
		return d, err
	}
	return d, atomicfile.WriteFile(p, b, 0o644)
}

// PutBlob stores what r yields under d, and fails unless r yields exactly
// d.Size bytes of digest d.Digest. It reads at most one byte more.
func (l *Layout) PutBlob(d v1.Descriptor, r io.Reader) error {
	p, err := l.BlobPath(d.Digest)
	if err != nil {
		return err
	}
	return atomicfile.Write(p, 0o644, func(w io.Writer) error {
		h := digest.SHA256.Digester()
		n, err := io.Copy(io.MultiWriter(w, h.Hash()), io.LimitReader(r, d.Size+1))
		switch {
		case err != nil:
			return fmt.Errorf("reading blob %s: %w", d.Digest, err)
		case n > d.Size:
			return fmt.Errorf("blob %s is longer than its %d bytes", d.Digest, d.Size)
		case n < d.Size:
			return fmt.Errorf("blob %s ends after %d of %d bytes: %w", d.Digest, n, d.Size, io.ErrUnexpectedEOF)
		case h.Digest() != d.Digest:
			return &DigestError{Want: d.Digest, Got: h.Digest()}
		}
		return nil
	})
}

// A DigestError is content whose digest is not the one it was asked by.
type DigestError struct{ Want, Got digest.Digest }

func (e *DigestError) Error() string {
	return fmt.Sprintf("blob %s has the wrong content, its digest is %s", e.Want, e.Got)
}

// Verify reads a blob and checks its size and digest.
func (l *Layout) Verify(d v1.Descriptor) error {
	p, err := l.BlobPath(d.Digest)
	if err != nil {
		return err
	}
	if !l.Has(d) {
		return fmt.Errorf("blob %s of %d bytes is not in OCI layout %s", d.Digest, d.Size, l.dir)
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := digest.SHA256.FromReader(f)
	if err != nil {
		return fmt.Errorf("reading blob %s: %w", d.Digest, err)
	}
	if got != d.Digest {
		return &DigestError{d.Digest, got}
	}
	return nil
}

// LinkBlob takes the blob of another layout: as a hard link where the file
// system can, else as a verified copy.
func (l *Layout) LinkBlob(from *Layout, d v1.Descriptor) error {
	if l.Has(d) {
		return nil
	}
	src, err := from.BlobPath(d.Digest)
	if err != nil {
		return err
	}
	if !from.Has(d) {
		return fmt.Errorf("blob %s of %d bytes is not in OCI layout %s", d.Digest, d.Size, from.dir)
	}
	dst, err := l.BlobPath(d.Digest)
	if err != nil {
		return err
	}
	_ = os.Remove(dst) // a file of the wrong size, or nothing
	if err := os.Link(src, dst); err == nil || errors.Is(err, fs.ErrExist) && l.Has(d) {
		return nil
	}
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	return l.PutBlob(d, f)
}

// Index reads index.json.
func (l *Layout) Index() (v1.Index, error) {
	var idx v1.Index
	b, err := readLimited(filepath.Join(l.dir, v1.ImageIndexFile), maxMetadata)
	if err != nil {
		return idx, err
	}
	if err := json.Unmarshal(b, &idx); err != nil {
		return idx, fmt.Errorf("reading index.json of OCI layout %s: %w", l.dir, err)
	}
	return idx, nil
}

// Find returns the manifest that the tag names. The empty tag names the only
// manifest there is.
func (l *Layout) Find(tag string) (v1.Descriptor, error) {
	idx, err := l.Index()
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("opening OCI layout %s: %w", l.dir, err)
	}
	var tags []string
	for _, d := range idx.Manifests {
		t := d.Annotations[v1.AnnotationRefName]
		if t == tag && tag != "" || tag == "" && len(idx.Manifests) == 1 {
			return d, nil
		}
		tags = append(tags, fmt.Sprintf("%q", t))
	}
	return v1.Descriptor{}, fmt.Errorf("OCI layout %s has no image with the tag %q\nhint: it has %s", l.dir, tag, strings.Join(tags, ", "))
}

// Tag names the manifest in index.json, in place of what had that name before.
// All its blobs must be there already.
func (l *Layout) Tag(d v1.Descriptor, tag string) error {
	idx, err := l.Index()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, m := range idx.Manifests {
		if m.Annotations[v1.AnnotationRefName] != tag {
			next.Manifests = append(next.Manifests, m)
		}
	}
	d.Annotations = nil
	if tag != "" {
		d.Annotations = map[string]string{v1.AnnotationRefName: tag}
	}
	next.Manifests = append(next.Manifests, d)
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Join(l.dir, v1.ImageBlobsDir, "sha256")); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(l.dir, v1.ImageIndexFile), b, 0o644)
}

// Prune removes blobs that nothing in index.json leads to, and what killed
// runs left behind.
func (l *Layout) Prune() error {
	idx, err := l.Index()
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, d := range idx.Manifests {
		if err := l.mark(d, keep, 0); err != nil {
			return err
		}
	}
	dir := filepath.Join(l.dir, v1.ImageBlobsDir, "sha256")
	ents, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range ents {
		if !keep[e.Name()] && e.Type().IsRegular() {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxIndexDepth bounds indexes that name indexes.
const maxIndexDepth = 4

func (l *Layout) mark(d v1.Descriptor, keep map[string]bool, depth int) error {
	if err := checkDigest(d.Digest); err != nil {
		return err
	}
	if keep[d.Digest.Encoded()] {
		return nil
	}
	keep[d.Digest.Encoded()] = true
	if depth > maxIndexDepth || !l.Has(d) {
		return nil
	}
	b, err := l.Blob(d.Digest)
	if err != nil {
		return err
	}
	var any struct {
		Manifests []v1.Descriptor `json:"manifests"`
		Config    *v1.Descriptor  `json:"config"`
		Layers    []v1.Descriptor `json:"layers"`
	}
	if json.Unmarshal(b, &any) != nil {
		return nil // some other kind of artefact: it has no children that we know
	}
	for _, m := range any.Manifests {
		if err := l.mark(m, keep, depth+1); err != nil {
			return err
		}
	}
	if any.Config != nil && checkDigest(any.Config.Digest) == nil {
		keep[any.Config.Digest.Encoded()] = true
	}
	for _, m := range any.Layers {
		if checkDigest(m.Digest) == nil {
			keep[m.Digest.Encoded()] = true
		}
	}
	return nil
}

// readLimited reads a regular file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, err
}
