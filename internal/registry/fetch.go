package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/progress"
)

// stageName is the name under which this package reports progress.
const stageName = "fetch"

// Resolve says which digest a reference has now: of the index or the manifest
// that it names. A reference that names a digest is not looked up.
func Resolve(ctx context.Context, ref string, o Options) (digest.Digest, error) {
	o = o.withDefaults()
	s, err := parse(ref, o)
	if err != nil {
		return "", err
	}
	if d := s.pinned(); d != "" {
		return d, checkDigest(d)
	}
	ctx, end := s.guard(ctx)
	defer end()
	var top digest.Digest
	err = o.retry(ctx, s.named != nil, func(ctx context.Context) error {
		src, err := s.open(ctx, o)
		if err != nil {
			return err
		}
		defer src.Close()
		b, _, err := getManifest(ctx, src, nil, o)
		top = digest.FromBytes(b)
		return err
	})
	return top, err
}

// Fetch brings the image that ref names into the OCI layout dst, under the tag
// "latest". Blobs keep the bytes, and the manifest the digest, with which they
// were served. What a failed or killed run has fetched whole is not fetched again.
func Fetch(ctx context.Context, ref, dst string, o Options) (Result, error) {
	dir, base := filepath.Split(filepath.Clean(dst))
	if dir == "" {
		dir = "."
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Result{}, err
	}
	tmp := filepath.Join(dir, "."+base+".aither-fetch")
	part, err := CreateLayout(tmp)
	if err != nil {
		return Result{}, err
	}
	lock, err := lockDir(tmp, unix.LOCK_EX)
	if err != nil {
		return Result{}, err
	}
	defer lock.Close()
	if old, err := OpenLayout(dst); err == nil {
		o.have = old
	}
	res, err := FetchInto(ctx, ref, "", part, o)
	if err != nil {
		return res, err
	}
	if err := part.Tag(res.Manifest, "latest"); err != nil {
		return res, err
	}
	if _, err := os.Lstat(dst); errors.Is(err, os.ErrNotExist) {
		return res, atomicfile.CommitDir(tmp, dst)
	}
	err = Assemble(dst, func(l *Layout) error {
		for _, d := range append([]v1.Descriptor{res.Manifest, res.Config}, res.Layers...) {
			if err := l.LinkBlob(part, d); err != nil {
				return err
			}
		}
		return l.Tag(res.Manifest, "latest")
	})
	if err != nil {
		return res, err
	}
	return res, os.RemoveAll(tmp)
}

// FetchInto brings the image's blobs into l without naming it there. With a
// pin, what ref leads to must have that digest.
func FetchInto(ctx context.Context, ref string, pin digest.Digest, l *Layout, o Options) (Result, error) {
	o = o.withDefaults()
	s, err := parse(ref, o)
	if err != nil {
		return Result{}, err
	}
	if pin == "" {
		pin = s.pinned()
	}
	if err := s.pinTo(pin); err != nil {
		return Result{}, fmt.Errorf("image reference %q: %w", ref, err)
	}
	ctx, end := s.guard(ctx)
	defer end()
	remote := s.named != nil
	progress.From(ctx).Report(progress.Event{Stage: stageName, Kind: progress.Start, Text: ref})
	var src types.ImageSource
	var res Result
	err = o.retry(ctx, remote, func(ctx context.Context) error {
		next, err := s.open(ctx, o)
		if err != nil {
			return err
		}
		if src != nil {
			_ = src.Close()
		}
		src = next
		res, err = readManifests(ctx, src, pin, l, o, s.sys)
		return err
	})
	if src != nil {
		defer src.Close()
	}
	if err != nil {
		return res, err
	}
	if s.layout != nil {
		err = linkBlobs(s.layout, &res, l)
	} else {
		err = fetchBlobs(ctx, src, &res, l, o, remote)
	}
	if err != nil {
		return res, err
	}
	progress.From(ctx).Report(progress.Event{Stage: stageName, Kind: progress.End, Text: res.Manifest.Digest.String(), Cached: res.Bytes == 0})
	return res, nil
}

// readManifests follows an index, if there is one, to the manifest of the
// wanted architecture, and keeps that.
func readManifests(ctx context.Context, src types.ImageSource, pin digest.Digest, l *Layout, o Options, sys *types.SystemContext) (Result, error) {
	var res Result
	b, mediaType, err := getManifest(ctx, src, nil, o)
	if err != nil {
		return res, err
	}
	top := digest.FromBytes(b)
	if pin != "" && top != pin {
		return res, fmt.Errorf("reading the manifest: %w", &DigestError{pin, top})
	}
	if manifest.MIMETypeIsMultiImage(mediaType) {
		list, err := manifest.ListFromBlob(b, mediaType)
		if err != nil {
			return res, fmt.Errorf("reading the image index: %w", err)
		}
		d, err := list.ChooseInstance(sys)
		if err != nil {
			return res, fmt.Errorf("reading the image index: %w\nhint: the image may not exist for %s", err, sys.ArchitectureChoice)
		}
		if err := checkDigest(d); err != nil {
			return res, fmt.Errorf("reading the image index: %w", err)
		}
		if b, mediaType, err = getManifest(ctx, src, &d, o); err != nil {
			return res, err
		}
		if got := digest.FromBytes(b); got != d {
			return res, fmt.Errorf("reading the manifest: %w", &DigestError{d, got})
		}
		if manifest.MIMETypeIsMultiImage(mediaType) {
			return res, fmt.Errorf("reading the image index: it leads to another index")
		}
		res.Index = top
	}
	m, err := parseManifest(b, mediaType)
	if err != nil {
		return res, fmt.Errorf("reading the manifest: %w", err)
	}
	res.Config, res.Layers = m.Config, m.Layers
	res.Manifest, err = l.PutBytes(mediaType, b)
	return res, err
}

// open reaches the source. For a registry this asks for the manifest already,
// and the container libraries would wait for it for ever.
func (s *source) open(ctx context.Context, o Options) (types.ImageSource, error) {
	if s.named != nil {
		limited, cancel := context.WithTimeoutCause(ctx, o.Stall, errStalled)
		defer cancel()
		ctx = limited
	}
	src, err := s.ref.NewImageSource(ctx, s.sys)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	return src, nil
}

// getManifest reads one manifest, within bounds of time and size.
func getManifest(ctx context.Context, src types.ImageSource, d *digest.Digest, o Options) ([]byte, string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Stall, errStalled)
	defer cancel()
	b, mediaType, err := src.GetManifest(ctx, d)
	if err != nil {
		return nil, "", causeOf(ctx, fmt.Errorf("reading the manifest: %w", err))
	}
	if len(b) > maxMetadata {
		return nil, "", fmt.Errorf("reading the manifest: it is larger than %d bytes", maxMetadata)
	}
	if err := checkKeys(b); err != nil {
		return nil, "", fmt.Errorf("reading the manifest: %w", err)
	}
	if mediaType == "" || mediaType == "application/json" || mediaType == "text/plain" {
		mediaType = manifest.GuessMIMEType(b)
	}
	return b, mediaType, nil
}

// fetchBlobs brings configuration and layers, several side by side.
func fetchBlobs(ctx context.Context, src types.ImageSource, res *Result, l *Layout, o Options, remote bool) error {
	var total int64
	var todo []v1.Descriptor
	seen := map[digest.Digest]bool{}
	for _, d := range append([]v1.Descriptor{res.Config}, res.Layers...) {
		if o.have != nil && o.have.Has(d) {
			if err := l.LinkBlob(o.have, d); err != nil {
				return err
			}
		}
		if !seen[d.Digest] && !l.Has(d) {
			todo = append(todo, d)
			total += d.Size
		}
		seen[d.Digest] = true
	}
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Parallel)
	if !src.HasThreadSafeGetBlob() {
		g.SetLimit(1)
	}
	for _, d := range todo {
		g.Go(func() error {
			return o.retry(ctx, remote, func(ctx context.Context) error {
				return fetchBlob(ctx, src, d, l, o, &meter{rep: progress.From(ctx), done: &done, total: total})
			})
		})
	}
	err := g.Wait()
	res.Bytes = done.Load()
	return err
}

// linkBlobs takes the blobs of a layout on this machine: each is read once to
// verify it, and copied only where it cannot be linked.
func linkBlobs(from *Layout, res *Result, l *Layout) error {
	var g errgroup.Group
	g.SetLimit(4)
	for _, d := range append([]v1.Descriptor{res.Config}, res.Layers...) {
		if l.Has(d) {
			continue
		}
		res.Bytes += d.Size
		g.Go(func() error {
			if err := from.Verify(d); err != nil {
				return err
			}
			return l.LinkBlob(from, d)
		})
	}
	return g.Wait()
}

func fetchBlob(ctx context.Context, src types.ImageSource, d v1.Descriptor, l *Layout, o Options, m *meter) error {
	ctx, watch := watchStall(ctx, o.Stall)
	defer watch.stop()
	r, size, err := src.GetBlob(ctx, types.BlobInfo{Digest: d.Digest, Size: d.Size, MediaType: d.MediaType, URLs: nil}, none.NoCache)
	if err != nil {
		return causeOf(ctx, fmt.Errorf("fetching blob %s: %w", d.Digest, err))
	}
	if size >= 0 && size != d.Size {
		return errors.Join(fmt.Errorf("fetching blob %s: the server says %d bytes, the manifest %d", d.Digest, size, d.Size), r.Close())
	}
	m.start()
	err = l.PutBlob(d, &watchedReader{r: r, watch: watch, meter: m})
	if err := errors.Join(err, r.Close()); err != nil {
		m.undo()
		return causeOf(ctx, err)
	}
	return nil
}
