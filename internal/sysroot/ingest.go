package sysroot

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/selinux"
	"github.com/aitheros/aither-image/internal/tree"
)

// ReadOptions bound and speed the reading of layers. The zero value works.
type ReadOptions struct {
	Workers int          // layers read at once; 0 = 4
	Limits  layer.Limits // of each layer
	// Known are listings of layers by index, nil where the blob must be read.
	Known []*Listing
}

// layerTree is what one layer holds.
type layerTree struct {
	root    *dir // of a derived layer, whiteouts included
	encap   *encapLayer
	created []tree.Content // everything the layer put into the store, in order
	listing *Listing
}

// ingest is the state shared by the goroutines that read the layers.
type ingest struct {
	im    *layer.Image
	store Store
	opts  ReadOptions
	kinds []layerKind
	hints []int64 // inflated sizes of the layers, as far as they can be guessed
	// policy is the labeller that the layers are guessed to end up with. It
	// only saves reading content back: labels are checked once the tree is known.
	policy atomic.Pointer[selinux.Policy]
	report *meter
}

// readLayers reads all layers, side by side.
func (in *ingest) readLayers(ctx context.Context) ([]*layerTree, error) {
	out := make([]*layerTree, len(in.im.Layers))
	arenas := make([]Arena, len(out))
	for i := range out {
		hint, err := in.im.SizeHint(i)
		if err != nil {
			return nil, fmt.Errorf("reading layer %s: %w", in.im.Layers[i].Digest, err)
		}
		in.hints = append(in.hints, hint)
		// Files are rounded up to blocks; headers of the archive fall away.
		if arenas[i], err = in.store.NewArena(hint + hint/8); err != nil {
			return nil, err
		}
	}
	// A layer that waits for the room of another must not wait for ever.
	stop := context.AfterFunc(ctx, func() { in.store.Abort(context.Cause(ctx)) })
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(in.opts.Workers)
	for i := range out {
		g.Go(func() (err error) {
			defer func() { err = errors.Join(err, arenas[i].Close()) }()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if out[i], err = in.readLayer(ctx, i, arenas[i]); err != nil {
				in.store.Abort(err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	in.report.end()
	return out, nil
}

func (in *ingest) readLayer(ctx context.Context, i int, arena Arena) (*layerTree, error) {
	if i < len(in.opts.Known) && in.opts.Known[i] != nil {
		defer in.report.add(in.im.Layers[i].Size)
		return in.walk(ctx, i, nil, arena)
	}
	blob, err := in.im.OpenLayer(ctx, i, in.opts.Limits.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading layer %s: %w", in.im.Layers[i].Digest, err)
	}
	lt, err := in.walk(ctx, i, &meteredReader{ctx: ctx, r: blob, m: in.report, scale: in.scale(i)}, arena)
	if err != nil {
		blob.Abort()
		if ctx.Err() == nil {
			if why := in.im.Verify(i); why != nil {
				return nil, why
			}
		}
		return nil, err
	}
	if err := blob.Close(); err != nil {
		return nil, fmt.Errorf("reading layer %s: %w", in.im.Layers[i].Digest, err)
	}
	return lt, nil
}

// scale turns inflated into stored bytes for the progress of layer i.
func (in *ingest) scale(i int) float64 {
	if in.hints[i] == 0 {
		return 1
	}
	return float64(in.im.Layers[i].Size) / float64(in.hints[i])
}

// walk takes what layer i holds from r, or from its listing when r is nil.
func (in *ingest) walk(ctx context.Context, i int, r io.Reader, arena Arena) (*layerTree, error) {
	lt := &layerTree{listing: &Listing{}}
	name := in.im.Layers[i].Digest.String()
	p := &putter{in: in, arena: arena, lt: lt, seen: newPolicyFiles()}
	if in.kinds[i] != derived {
		lt.encap = newEncapLayer()
		v := &encapVisitor{layer: lt.encap, put: p}
		if err := p.members(ctx, i, name, r, v.visit); err != nil {
			return nil, err
		}
		if err := v.finish(ctx, in.kinds[i]); err != nil {
			return nil, fmt.Errorf("layer %s: %w", name, err)
		}
		return lt, nil
	}
	l := &derivedLayer{root: newDir(), stash: map[string]*file{}, stashed: map[string]string{}, allNonUsr: true, put: p.file}
	if err := p.members(ctx, i, name, r, l.visit); err != nil {
		return nil, err
	}
	if err := l.finish(); err != nil {
		return nil, fmt.Errorf("layer %s: %w", name, err)
	}
	lt.root = l.root
	return lt, nil
}

// members visits every member of a layer and notes it.
func (p *putter) members(ctx context.Context, i int, name string, r io.Reader, visit func(*layer.Member, io.Reader) error) error {
	rec := &recorder{list: p.lt.listing}
	noted := func(m *layer.Member, r io.Reader) error {
		p.last = nil
		if err := visit(m, keeper{r, rec}); err != nil {
			return err
		}
		rec.note(m, p.last)
		return nil
	}
	if r == nil {
		return p.replay(ctx, p.in.opts.Known[i], noted)
	}
	return layer.Walk(name, r, p.in.opts.Limits, noted)
}

// A putter stores the content of one layer and hashes it on the way.
type putter struct {
	in    *ingest
	arena Arena
	lt    *layerTree
	seen  *policyFiles
	last  *file          // the file stored last
	known *ListedContent // of the member at hand, when it comes from a listing
}

// file makes a file of a member of a derived layer.
func (p *putter) file(m *layer.Member, path string, r io.Reader) (*file, error) {
	f := &file{uid: m.UID, gid: m.GID, perm: m.Perm, size: m.Size}
	f.xattrs, f.own = splitLabel(m.Xattrs)
	if m.Kind == layer.Symlink {
		f.symlink, f.target, f.size, f.perm = true, m.Link, 0, 0o777
		return f, nil
	}
	if p.known != nil {
		f.guess, f.hashed = p.known.Guess, true
	} else if pol := p.guessPolicy(path); pol != nil {
		label, ok := pol.Label("/"+path, f.fsMode())
		if ok {
			f.guess = label + "\x00"
		}
		f.hashed = true
	}
	if policyPath(path) && m.Size <= maxPolicy {
		b, err := io.ReadAll(io.LimitReader(r, m.Size))
		if err != nil {
			return nil, err
		}
		if int64(len(b)) != m.Size {
			return nil, io.ErrUnexpectedEOF
		}
		p.seen.add(path, b)
		return f, p.store(f, tree.Bytes(b))
	}
	return f, p.stream(f, r)
}

func (p *putter) store(f *file, b tree.Bytes) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	return p.stream(f, r)
}

// stream puts f's bytes into the store and its checksum into f when a label
// was guessed.
func (p *putter) stream(f *file, r io.Reader) error {
	var h hash.Hash
	if f.hashed {
		h = ostree.NewFileHash(f.header(f.guess))
		r = io.TeeReader(r, h)
		defer func() { f.sum = ostree.SumOf(h) }()
	}
	if f.size == 0 {
		return nil
	}
	c, err := p.arena.Put(r, f.size)
	if err != nil {
		return err
	}
	f.data, p.last = c, f
	p.lt.created = append(p.lt.created, c)
	if h != nil && p.known != nil && ostree.SumOf(h) != p.known.Sum {
		return ErrStale
	}
	return nil
}

// guessPolicy is the labeller for inline hashing, nil while none is known.
func (p *putter) guessPolicy(path string) *selinux.Policy {
	if pol := p.in.policy.Load(); pol != nil {
		return pol
	}
	if policyPath(path) || !p.seen.complete() {
		return nil
	}
	// A policy that cannot be read is reported when the merged tree's is read.
	if pol, err := p.seen.load(); err == nil && pol != nil {
		p.in.policy.CompareAndSwap(nil, pol)
	}
	p.seen = newPolicyFiles()
	return p.in.policy.Load()
}

// meter counts stored bytes and reports them now and then.
type meter struct {
	r     progress.Reporter
	total int64
	done  atomic.Int64
	next  atomic.Int64
}

const meterStep = 16 << 20

func (m *meter) start(layers int) {
	m.r.Report(progress.Event{Stage: "layers", Kind: progress.Start, Total: m.total, Unit: "bytes",
		Text: fmt.Sprintf("reading %d layers", layers)})
}

func (m *meter) add(n int64) {
	d := m.done.Add(n)
	if next := m.next.Load(); d >= next && m.next.CompareAndSwap(next, d+meterStep) {
		m.r.Report(progress.Event{Stage: "layers", Kind: progress.Update, Done: min(d, m.total), Total: m.total, Unit: "bytes"})
	}
}

func (m *meter) end() {
	m.r.Report(progress.Event{Stage: "layers", Kind: progress.End, Done: m.total, Total: m.total, Unit: "bytes"})
}

// meteredReader makes a layer stop when the context does.
type meteredReader struct {
	ctx   context.Context
	r     io.Reader
	m     *meter
	scale float64
}

func (r *meteredReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	r.m.add(int64(float64(n) * r.scale))
	return n, err
}

// classify tells what each layer is by the label that encapsulation leaves.
func classify(im *layer.Image) ([]layerKind, error) {
	kinds := make([]layerKind, len(im.Layers))
	final, ok := im.Labels["ostree.final-diffid"]
	if !ok {
		return kinds, nil
	}
	for i, d := range im.DiffIDs {
		kinds[i] = chunk
		if i == 0 {
			kinds[i] = baseCommit
		}
		if d.String() == final {
			return kinds, nil
		}
	}
	return nil, fmt.Errorf("the label ostree.final-diffid names %s, which is no layer of the image", final)
}

// checkBootable refuses images that bootc refuses.
func checkBootable(im *layer.Image) error {
	if len(im.Layers) == 0 {
		return errors.New("the image has no layers")
	}
	_, a := im.Labels["containers.bootc"]
	_, b := im.Labels["ostree.bootable"]
	if !a && !b {
		return errors.New("the image is not bootable: it has neither the label containers.bootc nor ostree.bootable\nhint: add `LABEL containers.bootc 1` to its Containerfile")
	}
	return nil
}
