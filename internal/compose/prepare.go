package compose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/internal/registry"
)

// stageKind is the kind of a stage, as records keep it.
type stageKind string

const (
	kindRef           stageKind = "ref"
	kindTar           stageKind = "tar"
	kindContainerfile stageKind = "containerfile"
	kindOverlay       stageKind = "overlay"
)

// A stage is one base or step with its inputs read: it knows by key what it
// would make. The exported fields of a Containerfile's stage go to the child process.
type stage struct {
	Kind stageKind `json:"kind"`
	Name string    `json:"name"`
	Key  string    `json:"key"`
	Prev string    `json:"prev,omitempty"`

	Context string            `json:"context,omitempty"`
	File    string            `json:"file,omitempty"`
	Target  string            `json:"target,omitempty"`
	Args    map[string]string `json:"args,omitempty"`
	// From maps image names in the Containerfile to keys of records.
	From   map[string]string `json:"from,omitempty"`
	Layers LayerMode         `json:"layers,omitempty"`

	// make makes the stage on the record below, which is nil for a base.
	make func(below *record) (*record, error)
}

// A preparer reads inputs.
type preparer struct {
	ctx  context.Context
	opts *Options
	work *workdir
}

// key hashes all that a stage's result depends on.
func (p *preparer) key(st *stage, more ...any) string {
	in := []any{formatVersion, st, p.opts.Epoch.Unix(), p.opts.Arch, p.opts.Compression, more}
	b, err := json.Marshal(in)
	if err != nil {
		// Strings, numbers and maps of strings always marshal.
		b = []byte(err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// base prepares the lowest stage.
func (p *preparer) base() (*stage, error) {
	b := p.opts.Base
	n := 0
	for _, set := range []bool{b.Ref != "", b.Containerfile != nil, b.Tar != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return nil, fmt.Errorf("a base is one of a reference, a Containerfile and a tar archive, but %d are given: %w", n, ErrUsage)
	}
	switch {
	case b.Ref != "":
		return p.refStage(b.Ref)
	case b.Tar != nil:
		return p.tarStage(b.Tar)
	}
	return b.Containerfile.stage(p, &stage{})
}

func (p *preparer) tarStage(t *RootTar) (*stage, error) {
	if t.Key == "" || t.Open == nil {
		return nil, fmt.Errorf("the archive %q has no key or no content: %w", t.Name, ErrUsage)
	}
	st := &stage{Kind: kindTar, Name: t.Name}
	st.Key = p.key(st, t.Key)
	st.make = func(*record) (*record, error) {
		r, err := t.Open(p.ctx)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", t.Name, err)
		}
		defer r.Close()
		index := newTreeIndex()
		l, err := p.work.writeLayer(p.opts.Compression, p.opts.Epoch, index, historyOf(t.Name), func(w *layerWriter) error {
			return w.copyTar(r)
		})
		if err != nil {
			return nil, fmt.Errorf("importing %s: %w", t.Name, err)
		}
		img, err := newImage(p.opts.Arch, p.opts.Epoch).bytes()
		if err != nil {
			return nil, err
		}
		rec, err := (&record{Image: img}).on(st, []Layer{*l}, nil, p.opts.Epoch)
		if err != nil {
			return nil, err
		}
		return rec, p.work.saveIndex(rec.id(), index)
	}
	return st, nil
}

// refStage finds out which image a reference names and prepares to fetch it.
func (p *preparer) refStage(ref string) (*stage, error) {
	if strings.HasPrefix(ref, "containers-storage:") {
		return p.storageStage(ref)
	}
	d, err := registry.Resolve(p.ctx, ref, p.opts.Registry)
	if err != nil {
		return nil, fmt.Errorf("resolving %s: %w", ref, err)
	}
	// The key leaves the name out: the same image by another way is the same base.
	st := &stage{Kind: kindRef}
	st.Key = p.key(st, d.String())
	st.Name = ref
	st.make = func(*record) (*record, error) {
		res, err := registry.FetchInto(p.ctx, ref, d, p.work.pool, p.opts.Registry)
		if err != nil {
			return nil, fmt.Errorf("fetching %s: %w", ref, err)
		}
		return p.checkArch(p.work.baseRecord(st.Key, ref, res.Manifest))
	}
	return st, nil
}

// storageStage takes an image out of the user's container storage. Only a
// process inside the user namespace can read that, so it is always copied.
func (p *preparer) storageStage(ref string) (*stage, error) {
	m, err := p.runFetch(ref)
	if err != nil {
		return nil, err
	}
	st := &stage{Kind: kindRef}
	st.Key = p.key(st, m.Digest.String())
	st.Name = ref
	st.make = func(*record) (*record, error) {
		return p.checkArch(p.work.baseRecord(st.Key, ref, m))
	}
	return st, nil
}

func (p *preparer) checkArch(r *record, err error) (*record, error) {
	if err != nil {
		return nil, err
	}
	var img v1.Image
	if err := json.Unmarshal(r.Image, &img); err != nil {
		return nil, fmt.Errorf("reading the configuration of %s: %w", r.Name, err)
	}
	if img.Architecture != "" && img.Architecture != p.opts.Arch {
		return nil, fmt.Errorf("%s is made for %s, not for %s: %w", r.Name, img.Architecture, p.opts.Arch, ErrUsage)
	}
	return r, nil
}

func (c *Containerfile) label() string {
	if c.Name != "" {
		return c.Name
	}
	return c.file()
}

func (c *Containerfile) file() string {
	if c.Path == "" {
		return "Containerfile"
	}
	return path.Clean(c.Path)
}

func (c *Containerfile) stage(p *preparer, prev *stage) (*stage, error) {
	src, err := sourceOf(c.FS, c.Dir)
	if err != nil {
		return nil, err
	}
	text, err := src.read(c.file())
	if err != nil {
		return nil, fmt.Errorf("reading the Containerfile: %w: %w", err, ErrUsage)
	}
	if err := src.ignore(); err != nil {
		return nil, err
	}
	files, err := src.list()
	if err != nil {
		return nil, err
	}
	sum, err := src.digest(files)
	if err != nil {
		return nil, err
	}
	st := &stage{Kind: kindContainerfile, Name: c.label(), Prev: prev.Key, File: c.file(), Target: c.Target, Layers: c.Layers}
	st.Args = map[string]string{}
	maps.Copy(st.Args, p.opts.BuildArgs)
	maps.Copy(st.Args, c.Args)
	if err := refuseSecretArgs(st.Args); err != nil {
		return nil, err
	}
	names, err := imagesOf(text, st.Args, prev.Key != "")
	if err != nil {
		return nil, err
	}
	from := map[string]*stage{}
	st.From = map[string]string{}
	for _, n := range names {
		f, err := p.refStage(withTransport(n.name))
		if err != nil {
			return nil, err
		}
		from[f.Key] = f
		st.From[n.written], st.From[n.name] = f.Key, f.Key
	}
	st.Key = p.key(st, sum, string(text))
	st.make = func(below *record) (*record, error) {
		return p.runContainerfile(st, src, files, sum, text, from, below)
	}
	return st, nil
}

// withTransport makes a bare image name a registry reference.
func withTransport(n string) string {
	for _, t := range []string{"docker:", "oci:", "oci-archive:", "dir:", "containers-storage:"} {
		if strings.HasPrefix(n, t) {
			return n
		}
	}
	return "docker://" + n
}

// secretWords are the names by which people call secrets.
var secretWords = regexp.MustCompile(`(?i)(passw(or)?d|passphrase|secret|token|api_?key|private_?key|access_?key|credential)`)

// refuseSecretArgs refuses build arguments that look like secrets: an image's
// history and every cache keep them for good.
func refuseSecretArgs(args map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(args)) {
		if secretWords.MatchString(k) {
			return fmt.Errorf("the build argument %s looks like a secret, and arguments stay in the image: %w\nhint: give it as a build secret and read it with RUN --mount=type=secret,id=%s", k, ErrUsage, strings.ToLower(k))
		}
	}
	return nil
}
