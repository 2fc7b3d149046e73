package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containers/buildah/define"
	"github.com/containers/buildah/imagebuildah"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/aitheros/aither-image/internal/progress"
)

// containerfile runs the job's stage and exports the layers that it added.
func (s *store) containerfile(ctx context.Context) (*record, error) {
	st := s.job.Stage
	below, bases, err := s.bases(ctx)
	if err != nil {
		return nil, err
	}
	opts, err := s.options(ctx, bases)
	if err != nil {
		return nil, err
	}
	if below != nil {
		opts.Args[baseArg] = imageName(below)
	}
	id, _, err := imagebuildah.BuildDockerfiles(ctx, s.Store, *opts, s.job.Instructs)
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", st.Name, err)
	}
	img, err := s.Image(id)
	if err != nil {
		return nil, err
	}
	chain, err := s.chain(img)
	if err != nil {
		return nil, err
	}
	under, n, err := s.longest(chain, below, bases)
	if err != nil {
		return nil, err
	}
	rec, err := s.export(ctx, img, chain[n:], under)
	if err != nil {
		return nil, fmt.Errorf("exporting %s: %w", st.Name, err)
	}
	// A last stage that is FROM scratch has nothing of the record below in its
	// layers, but it is a record for that one alone all the same.
	rec.Parent, rec.ParentKey = "", ""
	if below != nil {
		rec.Parent, rec.ParentKey = below.id(), below.Key
	}
	// The next step finds the image as it stands here, without unpacking it again.
	return rec, s.AddNames(img.ID, []string{imageName(rec)})
}

// bases brings the images that the Containerfile names into the store.
func (s *store) bases(ctx context.Context) (below *record, bases map[string]*record, err error) {
	st := s.job.Stage
	bases = map[string]*record{}
	for word, key := range st.From {
		r, err := s.work.mustLoad(key)
		if err != nil {
			return nil, nil, err
		}
		if _, err := s.ensureImage(ctx, r); err != nil {
			return nil, nil, fmt.Errorf("unpacking %s: %w", word, err)
		}
		bases[word] = r
	}
	if st.Prev == "" {
		return nil, bases, nil
	}
	if below, err = s.work.mustLoad(st.Prev); err != nil {
		return nil, nil, err
	}
	if _, err := s.ensureImage(ctx, below); err != nil {
		return nil, nil, fmt.Errorf("unpacking the step before: %w", err)
	}
	return below, bases, nil
}

// options are buildah's options for the job.
func (s *store) options(ctx context.Context, bases map[string]*record) (*define.BuildOptions, error) {
	ulimit, err := limits()
	if err != nil {
		return nil, err
	}
	epoch := time.Unix(s.job.Epoch, 0).UTC()
	log := logLines(progress.From(ctx), progress.Log)
	st := s.job.Stage
	common := &define.CommonBuildOptions{
		HTTPProxy: true, IdentityLabel: types.OptionalBoolFalse, SeccompProfilePath: "unconfined", Ulimit: ulimit,
		// Neither the host's SELinux policy nor its hooks have a say in what is built.
		LabelOpts: []string{"disable"}, OCIHooksDir: []string{s.work.path("hooks")},
	}
	for _, sec := range s.job.Secrets {
		common.Secrets = append(common.Secrets, "id="+sec.ID+",src="+sec.Path)
	}
	o := &define.BuildOptions{
		ContextDirectory: st.Context, PullPolicy: define.PullNever, Isolation: define.IsolationChroot,
		Args: map[string]string{}, Output: storeName + ":building", Target: st.Target,
		OutputFormat: define.OCIv1ImageManifest, SystemContext: s.sys, NetworkInterface: noNetwork{},
		NamespaceOptions: define.NamespaceOptions{{Name: string(specs.NetworkNamespace), Host: true}},
		CommonBuildOpts:  common, Layers: true, NoCache: s.job.NoCache, RemoveIntermediateCtrs: true, ForceRmIntermediateCtrs: true,
		SourceDateEpoch: &epoch, RewriteTimestamp: true, SignaturePolicyPath: s.sys.SignaturePolicyPath,
		AdditionalBuildContexts: map[string]*define.AdditionalBuildContext{},
		Out:                     log, Err: log, ReportWriter: io.Discard, CreatedAnnotation: types.OptionalBoolFalse,
	}
	if s.job.Isolation == OCI {
		o.Isolation = define.IsolationOCI
		if unprivileged() {
			o.Isolation = define.IsolationOCIRootless
		}
		if o.Runtime, err = runtimeName(); err != nil {
			return nil, err
		}
	}
	for k, v := range st.Args {
		o.Args[k] = v
	}
	for word, r := range bases {
		o.AdditionalBuildContexts[word] = &define.AdditionalBuildContext{IsImage: true, Value: imageName(r)}
	}
	return o, nil
}

// chain lists the ids of an image's layers in the store, lowest first.
func (s *store) chain(img *storage.Image) ([]string, error) {
	var out []string
	for id := img.TopLayer; id != ""; {
		l, err := s.Layer(id)
		if err != nil {
			return nil, fmt.Errorf("reading the container store: %w", err)
		}
		out = append([]string{id}, out...)
		id = l.Parent
	}
	return out, nil
}

// longest finds the record that the built image stands on, and how many of its
// layers in the store belong to that.
func (s *store) longest(chain []string, below *record, bases map[string]*record) (*record, int, error) {
	under, n := &record{}, 0
	candidates := []*record{}
	for _, r := range bases {
		candidates = append(candidates, r)
	}
	if below != nil {
		candidates = []*record{below}
	}
	// A root archive is material: its recipe may copy what it made of it to
	// scratch, so that nothing of the archive itself is shipped.
	found := below == nil || below.Kind == kindTar
	for _, r := range candidates {
		img, err := s.Image(imageName(r))
		if err != nil {
			return nil, 0, fmt.Errorf("reading the container store: %w", err)
		}
		c, err := s.chain(img)
		if err != nil {
			return nil, 0, err
		}
		if len(c) <= len(chain) && hasPrefix(chain, c) && (len(c) > n || below != nil) {
			under, n, found = r, len(c), true
		}
	}
	if !found {
		return nil, 0, fmt.Errorf("the last stage does not build on the step before: %w\nhint: its FROM must lead to ${%s}", ErrUsage, baseArg)
	}
	if under.Image == nil {
		img, err := newImage(s.job.Arch, time.Unix(s.job.Epoch, 0)).bytes()
		if err != nil {
			return nil, 0, err
		}
		under = &record{Image: img}
	}
	return under, n, nil
}

func hasPrefix(all, prefix []string) bool {
	for i := range prefix {
		if all[i] != prefix[i] {
			return false
		}
	}
	return true
}

// export writes the layers to the pool and makes the record.
func (s *store) export(ctx context.Context, img *storage.Image, ids []string, under *record) (*record, error) {
	st := s.job.Stage
	epoch := time.Unix(s.job.Epoch, 0).UTC()
	index, err := s.indexUnder(under)
	if err != nil {
		return nil, err
	}
	progress.From(ctx).Report(progress.Event{Stage: stageName, Kind: progress.Update, Text: "packing " + st.Name})
	groups := [][]string{}
	if st.Layers == Squashed && len(ids) > 0 {
		groups = append(groups, ids)
	} else {
		for _, id := range ids {
			groups = append(groups, []string{id})
		}
	}
	var layers []Layer
	for _, g := range groups {
		empty := false
		l, err := s.work.writeLayer(s.job.Compression, epoch, index, historyOf(st.Name), func(w *layerWriter) error {
			w.lowest = len(under.Layers)+len(layers) == 0
			err := s.writeDiff(g, w)
			empty = w.n == 0
			return err
		})
		if err != nil {
			return nil, err
		}
		if !empty {
			layers = append(layers, *l)
		}
	}
	conf, err := s.config(img)
	if err != nil {
		return nil, err
	}
	rec, err := under.on(st, layers, conf, epoch)
	if err != nil {
		return nil, err
	}
	return rec, s.work.saveIndex(rec.id(), index)
}

// indexUnder is the index of what the new layers lie on.
func (s *store) indexUnder(under *record) (*treeIndex, error) {
	if len(under.Layers) == 0 {
		return newTreeIndex(), nil
	}
	return s.work.index(under)
}

// writeDiff writes the layers as one.
func (s *store) writeDiff(ids []string, w *layerWriter) error {
	m := newMerger(w.epoch)
	defer m.close()
	for _, id := range ids {
		plain := archive.Uncompressed
		r, err := s.Diff("", id, &storage.DiffOptions{Compression: &plain})
		if err != nil {
			return fmt.Errorf("reading a layer of the container store: %w", err)
		}
		if len(ids) == 1 && !w.lowest {
			err = w.copyTar(r)
		} else {
			err = m.add(r, s.work.path("tmp"))
		}
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return m.write(w)
}

// config is the image configuration that buildah made, of which the layers and
// the history are replaced.
func (s *store) config(img *storage.Image) (imageConfig, error) {
	b, err := s.ImageBigData(img.ID, "sha256:"+img.ID)
	if err != nil {
		return nil, fmt.Errorf("reading the image configuration: %w", err)
	}
	return parseImage(b)
}
