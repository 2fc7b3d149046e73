package compose

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/internal/registry"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// baseImage is a layout that stands for an image of somebody else's: gzip
// layers, and a label and a field that this program does not know.
func baseImage(t *testing.T) (dir string, r *Result) {
	t.Helper()
	o := testOptions(t)
	o.Compression = Gzip
	o.Labels = map[string]string{"ostree.final-diffid": "sha256:1", "vendor": "x"}
	o.Steps = o.Steps[:1]
	return o.Dst, build(t, o)
}

// serveLayout serves a layout as a registry; every name is its one image.
func serveLayout(t *testing.T, dir string) (host string, hits *int) {
	t.Helper()
	l, err := registry.OpenLayout(dir)
	must(t, err)
	d, err := l.Find("")
	must(t, err)
	hits = new(int)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*hits++
		name := filepath.Base(r.URL.Path)
		switch {
		case r.URL.Path == "/v2/":
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
			http.ServeFile(w, r, filepath.Join(dir, "blobs/sha256", d.Digest.Encoded()))
		default:
			http.ServeFile(w, r, filepath.Join(dir, "blobs/sha256", strings.TrimPrefix(name, "sha256:")))
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), hits
}

// A base's blobs stay what they are, so that machines download only what is new.
func TestBaseBlobsStay(t *testing.T) {
	t.Parallel()
	dir, base := baseImage(t)
	host, hits := serveLayout(t, dir)
	steps := []Step{
		&Overlay{Name: "files", FS: overlayFS()},
		&Containerfile{Name: "second", FS: fstest.MapFS{"Containerfile": {Data: []byte("ARG BASE\nFROM ${BASE}\nRUN rm /etc/greeting\n")}}},
	}
	var first *Result
	for _, ref := range []string{"oci:" + dir + ":latest", "docker://" + host + "/base:latest", "docker://" + host + "/base@" + base.ManifestDigest.String()} {
		o := testOptions(t)
		o.Base, o.Steps = Base{Ref: ref}, steps
		o.Registry.Insecure = []string{host}
		r := build(t, o)
		if len(r.Layers) != len(base.Layers)+2 {
			t.Fatalf("%d layers", len(r.Layers))
		}
		for i, l := range base.Layers {
			if d := cmp.Diff(l.Descriptor, r.Layers[i].Descriptor); d != "" || !r.Layers[i].Base {
				t.Errorf("layer %d of the base changed: %s", i, d)
			}
		}
		if first == nil {
			first = r
		}
		if r.ManifestDigest != first.ManifestDigest {
			t.Errorf("%s gives %s, not %s", ref, r.ManifestDigest, first.ManifestDigest)
		}
		all := lines(t, o.Dst)
		if got := all[len(all)-1]; !strings.Contains(strings.Join(got, "\n"), "etc/.wh.greeting") {
			t.Errorf("the deletion is not in the last layer: %v", got)
		}
		conf := config(t, o.Dst)
		for _, want := range []string{`"ostree.final-diffid":"sha256:1"`, `"containers.bootc":"1"`, `"vendor":"x"`, `"HELLO=world"`} {
			if !strings.Contains(conf, want) {
				t.Errorf("the configuration lacks %s: %s", want, conf)
			}
		}
		before := *hits
		if again := build(t, o); !again.Cached {
			t.Error("the second build was not cached")
		}
		if strings.Contains(ref, "@sha256:") && *hits != before {
			t.Errorf("a base by digest was asked for again")
		}
	}
}

// config is the image configuration's text.
func config(t *testing.T, dir string) string {
	t.Helper()
	l, err := registry.OpenLayout(dir)
	must(t, err)
	d, err := l.Find("latest")
	must(t, err)
	m, err := l.Manifest(d)
	must(t, err)
	b, err := l.Blob(m.Config.Digest)
	must(t, err)
	return string(b)
}

// Other stages may be FROM other images, and a base may come of a Containerfile.
func TestOtherImages(t *testing.T) {
	t.Parallel()
	dir, base := baseImage(t)
	host, _ := serveLayout(t, dir)
	img := host + "/tools@" + base.ManifestDigest.String()
	o := testOptions(t)
	o.Registry.Insecure = []string{host}
	o.Base = Base{Containerfile: &Containerfile{Name: "base", FS: fstest.MapFS{"Containerfile": {Data: []byte("ARG IMG\nFROM ${IMG} AS tools\nRUN echo made > /etc/made\nFROM " + img + "\nCOPY --from=tools /etc/made /etc/copied\n")}}, Args: map[string]string{"IMG": img}}}
	o.Steps = []Step{&Containerfile{Name: "third", FS: fstest.MapFS{"Containerfile": {Data: []byte("ARG BASE\nFROM " + img + " AS other\nRUN echo other > /etc/other\nFROM ${BASE}\nCOPY --from=other /etc/other /etc/\nCOPY --from=" + img + " /etc/greeting /etc/greeting2\n")}}}}
	r := build(t, o)
	for i, l := range base.Layers {
		if r.Layers[i].Digest != l.Digest {
			t.Errorf("layer %d of the base changed", i)
		}
	}
	all := lines(t, o.Dst)
	got := strings.Join(append(all[len(all)-2], all[len(all)-1]...), "\n")
	for _, want := range []string{"etc/copied made", "etc/other other", "etc/greeting2 hello you"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	o.Base.Containerfile = &Containerfile{Name: "base", FS: fstest.MapFS{"Containerfile": {Data: []byte("FROM scratch\nCOPY busybox /bin/busybox\nCOPY x /etc/x\nCOPY x /etc/y\nRUN [\"/bin/busybox\", \"rm\", \"/etc/y\"]\n")},
		"x": {Data: []byte("x")}, "busybox": {Data: staticBusybox(t), Mode: 0o755}}}
	o.Steps = nil
	build(t, o)
	if got := strings.Join(lines(t, o.Dst)[0], "\n"); !strings.Contains(got, "etc/x x") || strings.Contains(got, "etc/y") || strings.Contains(got, ".wh.") {
		t.Errorf("from scratch, where a deletion must leave no trace: %s", got)
	}
}

func TestRegistryFailureIsTheNetworks(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	host := strings.TrimPrefix(s.URL, "http://")
	defer s.Close()
	o := testOptions(t)
	o.Registry = registry.Options{Insecure: []string{host}, Retries: -1}
	o.Base = Base{Ref: "docker://" + host + "/x:1"}
	if _, err := Build(t.Context(), o); !errors.Is(err, ErrNetwork) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(o.Dst); !os.IsNotExist(err) {
		t.Errorf("there is an output: %v", err)
	}
}

// Layer modes, compressions, and what a change of each input builds again.
func TestWhatIsBuiltAgain(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Steps[0].(*Containerfile).Layers = PerInstruction
	r := build(t, o)
	if len(r.Layers) != 6 {
		t.Errorf("%d layers, not 6", len(r.Layers))
	}
	digests := map[string]string{r.ManifestDigest.String(): "the first"}
	for name, change := range map[string]func(o *Options){
		"a file of the context": func(o *Options) {
			m := contextFS()
			m["hello.txt"] = &fstest.MapFile{Data: []byte("HELLO\n")}
			o.Steps[0].(*Containerfile).FS = m
		},
		"an argument": func(o *Options) { o.Steps[0].(*Containerfile).Args = map[string]string{"GREETING": "other"} },
		"squashed":    func(o *Options) { o.Steps[0].(*Containerfile).Layers = Squashed },
		"a file of layers": func(o *Options) {
			o.Steps[1].(*Overlay).FS = fstest.MapFS{"etc/x": {Data: []byte("x")}, "opt/hello.txt": {Data: []byte("z")}}
		},
		"the epoch":     func(o *Options) { o.Epoch = epoch.Add(-3600e9) },
		"plain":         func(o *Options) { o.Compression = Plain },
		"gzip":          func(o *Options) { o.Compression = Gzip },
		"a label":       func(o *Options) { o.Labels = map[string]string{"x": "y"} },
		"an annotation": func(o *Options) { o.Annotations = map[string]string{"x": "y"} },
	} {
		p := testOptions(t)
		p.Work = o.Work
		p.Steps[0].(*Containerfile).Layers = PerInstruction
		change(&p)
		got := build(t, p)
		if old, ok := digests[got.ManifestDigest.String()]; ok {
			t.Errorf("%s gives the same image as %s", name, old)
		}
		digests[got.ManifestDigest.String()] = name
	}
	o.NoCache = true
	if got := build(t, o); got.Cached || got.ManifestDigest != r.ManifestDigest {
		t.Errorf("without cache: cached %v, %s, want %s", got.Cached, got.ManifestDigest, r.ManifestDigest)
	}
}

// What is not in the context is not hashed, and times and modes of the
// checkout do not count.
func TestContextOnDisk(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	want := build(t, o)
	dir := t.TempDir()
	for name, f := range contextFS() {
		must(t, os.WriteFile(filepath.Join(dir, name), f.Data, 0o664))
	}
	must(t, os.WriteFile(filepath.Join(dir, ".containerignore"), []byte(".containerignore\nContainerfile\n*.log\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "noise.log"), []byte("a"), 0o600))
	// The Containerfile is not part of this context, so compare with one that ignores it too.
	ignoring := contextFS()
	ignoring[".containerignore"] = &fstest.MapFile{Data: []byte(".containerignore\nContainerfile\n*.log\n")}
	o.Steps[0].(*Containerfile).FS = ignoring
	memory := build(t, o)
	o.Steps[0].(*Containerfile).FS, o.Steps[0].(*Containerfile).Dir = nil, dir
	disk := build(t, o)
	if disk.ManifestDigest != memory.ManifestDigest || disk.ManifestDigest != want.ManifestDigest || !disk.Cached {
		t.Errorf("memory %s, disk %s, want %s; cached %v", memory.ManifestDigest, disk.ManifestDigest, want.ManifestDigest, disk.Cached)
	}
	must(t, os.WriteFile(filepath.Join(dir, "noise.log"), []byte("b"), 0o644))
	must(t, os.Chmod(filepath.Join(dir, "hello.txt"), 0o640))
	if again := build(t, o); !again.Cached {
		t.Error("noise was hashed")
	}
}

// skopeo reads what was made, and unpacks every layer of it.
func TestSkopeoReadsIt(t *testing.T) {
	t.Parallel()
	tooltest.Need(t, "skopeo")
	for _, c := range []Compression{Zstd, Gzip, Plain} {
		o := testOptions(t)
		o.Compression = c
		r := build(t, o)
		out, err := tool.Run(t.Context(), "skopeo", "inspect", "--format", "{{.Digest}}", "oci:"+o.Dst+":latest")
		if err != nil || strings.TrimSpace(string(out)) != r.ManifestDigest.String() {
			t.Errorf("skopeo reads %s, %v", out, err)
		}
		if _, err := tool.Run(t.Context(), "skopeo", "copy", "oci:"+o.Dst+":latest", "dir:"+t.TempDir()); err != nil {
			t.Error(err)
		}
	}
}

// With an OCI runtime the image is the same.
func TestRuntimeIsolation(t *testing.T) {
	t.Parallel()
	if _, err := runtimeName(); err != nil {
		t.Skip(err)
	}
	o := testOptions(t)
	want := build(t, o)
	p := testOptions(t)
	p.Isolation = OCI
	r, err := Build(logTo(t), p)
	if err != nil {
		t.Skipf("the runtime does not work here: %v", err)
	}
	if r.ManifestDigest != want.ManifestDigest {
		t.Errorf("got %s, want %s", r.ManifestDigest, want.ManifestDigest)
		if d := cmp.Diff(lines(t, o.Dst), lines(t, p.Dst)); d != "" {
			t.Error(d)
		}
	}
}
