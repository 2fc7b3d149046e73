package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/registry"
)

// stageName is the name under which this package reports progress.
const stageName = "compose"

// Build makes the image that o describes in the OCI layout o.Dst. Stages whose
// inputs are those of an earlier build are not run again. Instructions run in a
// child process, which is this program itself (see [Init]); the caller stays as it is.
func Build(ctx context.Context, o Options) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	rep := progress.From(ctx)
	rep.Report(progress.Event{Stage: stageName, Kind: progress.Start})
	work, unlock, err := lockWorkdir(ctx, o.Work)
	if err != nil {
		return nil, withSpace(fmt.Errorf("opening the work folder: %w", err), o.Work)
	}
	defer unlock()
	if o.Registry.Arch == "" {
		o.Registry.Arch = o.Arch
	}
	p := &preparer{ctx: ctx, opts: &o, work: work}
	rec, cached, err := p.run()
	if err != nil {
		return nil, withSpace(err, work.dir)
	}
	res, err := p.finish(rec)
	if err != nil {
		return nil, withSpace(fmt.Errorf("writing OCI layout %s: %w", o.Dst, err), o.Dst)
	}
	res.Cached = cached
	rep.Report(progress.Event{Stage: stageName, Kind: progress.End, Text: res.ManifestDigest.String(), Cached: cached})
	return res, nil
}

func (o *Options) check() error {
	var errs []error
	miss := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %w", what, ErrUsage))
		}
	}
	miss(o.Work != "", "no work folder is given")
	miss(o.Dst != "", "no output folder is given")
	miss(!o.Epoch.IsZero() && o.Epoch.Unix() >= 0, "no time of the image is given")
	o.Epoch = time.Unix(o.Epoch.Unix(), 0).UTC()
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	if o.Tag == "" {
		o.Tag = "latest"
	}
	if o.Compression == "" {
		o.Compression = Zstd
	}
	if o.Isolation == "" {
		o.Isolation = Chroot
	}
	miss(o.Compression == Zstd || o.Compression == Gzip || o.Compression == Plain, fmt.Sprintf("unknown compression %q", o.Compression))
	miss(o.Isolation == Chroot || o.Isolation == OCI, fmt.Sprintf("unknown isolation %q", o.Isolation))
	for i, s := range o.Secrets {
		abs, err := filepath.Abs(s.Path)
		if err == nil {
			_, err = os.Stat(abs)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the build secret %s: %w: %w", s.ID, err, ErrUsage))
		}
		o.Secrets[i].Path = abs
	}
	return errors.Join(errs...)
}

// run brings every stage up to date and returns the last one's record.
func (p *preparer) run() (rec *record, cached bool, err error) {
	st, err := p.base()
	if err != nil {
		return nil, false, fmt.Errorf("preparing the base: %w", err)
	}
	cached = true
	if rec, cached, err = p.ensure(st, nil, cached); err != nil {
		return nil, false, err
	}
	for i, s := range p.opts.Steps {
		next, err := s.stage(p, st)
		if err != nil {
			return nil, false, fmt.Errorf("preparing step %d (%s): %w", i+1, s.label(), err)
		}
		if rec, cached, err = p.ensure(next, rec, cached); err != nil {
			return nil, false, fmt.Errorf("step %d (%s): %w", i+1, s.label(), err)
		}
		st = next
	}
	return rec, cached, nil
}

// ensure returns the stage's record, making it when there is none.
func (p *preparer) ensure(st *stage, below *record, cached bool) (*record, bool, error) {
	rep := progress.From(p.ctx)
	parent := ""
	if below != nil {
		parent = below.id()
	}
	if !(p.opts.NoCache && st.Kind == kindContainerfile) {
		if r := p.work.load(st.Key, parent); r != nil {
			rep.Report(progress.Event{Stage: stageName, Kind: progress.Update, Text: st.Name, Cached: true})
			return r, cached, nil
		}
	}
	if err := p.ctx.Err(); err != nil {
		return nil, false, err
	}
	rep.Report(progress.Event{Stage: stageName, Kind: progress.Update, Text: st.Name})
	r, err := st.make(below)
	if err != nil {
		return nil, false, err
	}
	return r, false, p.work.save(r)
}

// finish writes configuration, manifest and layers to the output layout.
func (p *preparer) finish(rec *record) (*Result, error) {
	o := p.opts
	img, err := parseImage(rec.Image)
	if err != nil {
		return nil, err
	}
	img.label(o.Labels)
	img["created"] = o.Epoch.Format(time.RFC3339)
	conf, err := img.bytes()
	if err != nil {
		return nil, err
	}
	res := &Result{Layers: rec.Layers}
	err = registry.Assemble(o.Dst, func(l *registry.Layout) error {
		cd, err := l.PutBytes(v1.MediaTypeImageConfig, conf)
		if err != nil {
			return err
		}
		for _, layer := range rec.Layers {
			if err := l.LinkBlob(p.work.pool, layer.Descriptor); err != nil {
				return err
			}
		}
		m, err := l.PutJSON(v1.MediaTypeImageManifest, rec.manifest(cd, o.Annotations))
		if err != nil {
			return err
		}
		m.Platform = &v1.Platform{Architecture: o.Arch, OS: "linux"}
		res.Manifest, res.ManifestDigest, res.ConfigDigest = m, m.Digest, cd.Digest
		return l.Tag(m, o.Tag)
	})
	return res, err
}

// lockWorkdir opens the work folder for this process alone, and waits while
// another has it.
func lockWorkdir(ctx context.Context, dir string) (*workdir, func(), error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil, fmt.Errorf("%w\nhint: the folder belongs to one user; give another one with its own", err)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := waitForLock(ctx, f, dir); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	w, err := openWorkdir(dir)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	w.sweep()
	return w, func() { _ = f.Close() }, nil
}

func waitForLock(ctx context.Context, f *os.File, dir string) error {
	waiting := false
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("locking %s: %w", dir, err)
		}
		if !waiting {
			progress.From(ctx).Report(progress.Event{Stage: stageName, Kind: progress.Warn, Text: "another build uses " + dir + "; waiting for it"})
			waiting = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Clean removes everything that builds left in the work folder but outputs.
func Clean(ctx context.Context, dir string) error {
	w, unlock, err := lockWorkdir(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	return w.clean(ctx)
}
