package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// What cannot be built is refused with a hint, before anything runs.
func TestBuildRefuses(t *testing.T) {
	step := func(text string) Step {
		return &Containerfile{Name: "bad", FS: fstest.MapFS{"Containerfile": {Data: []byte(text)}}}
	}
	over := func(m fstest.MapFS) Step { return &Overlay{Name: "bad", FS: m} }
	cases := map[string]struct {
		bend func(o *Options)
		want string
	}{
		"no work folder":      {func(o *Options) { o.Work = "" }, "no work folder"},
		"no output":           {func(o *Options) { o.Dst = "" }, "no output"},
		"no time":             {func(o *Options) { o.Epoch = time.Time{} }, "no time"},
		"no base":             {func(o *Options) { o.Base = Base{} }, "but 0 are given"},
		"two bases":           {func(o *Options) { o.Base.Ref = "oci:x" }, "but 2 are given"},
		"unknown compression": {func(o *Options) { o.Compression = "lzma" }, "unknown compression"},
		"unknown isolation":   {func(o *Options) { o.Isolation = "vm" }, "unknown isolation"},
		"secret not there":    {func(o *Options) { o.Secrets = []Secret{{"x", "/nowhere/x"}} }, "build secret x"},
		"secret argument":     {func(o *Options) { o.BuildArgs = map[string]string{"DB_PASSWORD": "x"} }, "hint: give it as a build secret"},
		"token argument":      {func(o *Options) { o.BuildArgs = map[string]string{"NPM_TOKEN": "x"} }, "hint: give it as a build secret"},
		"key argument":        {func(o *Options) { o.BuildArgs = map[string]string{"apiKey": "x"} }, "hint: give it as a build secret"},
		"not on the base":     {func(o *Options) { o.Steps = []Step{step("FROM scratch\n")} }, "hint: begin with ARG BASE"},
		"last stage not on the base": {func(o *Options) {
			o.Steps = []Step{over(fstest.MapFS{"etc/x": {}}), step("ARG BASE\nFROM ${BASE} AS a\nRUN true\nFROM scratch\nCOPY --from=a /etc /etc\n")}
		}, "does not build on the step before"},
		"no Containerfile": {func(o *Options) { o.Steps = []Step{&Containerfile{FS: fstest.MapFS{}}} }, "reading the Containerfile"},
		"outside path":     {func(o *Options) { o.Steps = []Step{&Containerfile{FS: contextFS(), Path: "../x"}} }, "outside"},
		"no context":       {func(o *Options) { o.Steps = []Step{&Containerfile{}} }, "neither FS nor Dir"},
		"missing folder":   {func(o *Options) { o.Steps = []Step{&Overlay{Dir: "/nowhere"}} }, "/nowhere"},
		"through a link":   {func(o *Options) { o.Steps = []Step{over(fstest.MapFS{"bin/x": {Data: []byte("x")}})} }, "/bin is a symbolic link to usr/bin"},
		"over a folder":    {func(o *Options) { o.Steps = []Step{over(fstest.MapFS{"usr/lib": {Data: []byte("x")}})} }, "has a folder there"},
		"a whiteout":       {func(o *Options) { o.Steps = []Step{over(fstest.MapFS{"etc/.wh.passwd": {}})} }, "means a deletion"},
		"empty FROM":       {func(o *Options) { o.Steps = []Step{step("ARG BASE\nARG X\nFROM ${X}\nFROM ${BASE}\n")} }, "has no value"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			dst := o.Dst
			c.bend(&o)
			_, err := Build(t.Context(), o)
			if !errors.Is(err, ErrUsage) {
				t.Errorf("not the user's mistake: %v", err)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error lacks %q: %v", c.want, err)
			}
			if _, err := os.Lstat(dst); !os.IsNotExist(err) {
				t.Errorf("there is an output: %v", err)
			}
		})
	}
}

// A root archive may come from anywhere.
func TestHostileArchives(t *testing.T) {
	long := strings.Repeat("x/", 2000)
	for name, h := range map[string]*tar.Header{
		"climbs":          {Name: "../escape", Typeflag: tar.TypeReg},
		"climbs inside":   {Name: "a/../../escape", Typeflag: tar.TypeReg},
		"link climbs":     {Name: "l", Linkname: "../../etc/passwd", Typeflag: tar.TypeLink},
		"unknown kind":    {Name: "x", Typeflag: 'Z'},
		"name with a NUL": {Name: "a\x00b", Typeflag: tar.TypeReg},
	} {
		t.Run(name, func(t *testing.T) {
			if err := normalise(h, epoch); err == nil {
				t.Errorf("%q was taken", h.Name)
			}
		})
	}
	for name, h := range map[string]*tar.Header{
		"absolute":   {Name: "/etc/x", Typeflag: tar.TypeReg},
		"dots":       {Name: "./etc/./x", Typeflag: tar.TypeReg},
		"deep":       {Name: long + "x", Typeflag: tar.TypeReg},
		"symlink up": {Name: "l", Linkname: "../../x", Typeflag: tar.TypeSymlink},
	} {
		t.Run(name, func(t *testing.T) {
			if err := normalise(h, epoch); err != nil || strings.HasPrefix(h.Name, "/") || strings.HasPrefix(h.Name, ".") {
				t.Errorf("became %q, %v", h.Name, err)
			}
		})
	}
	for name, b := range map[string][]byte{"cut": bytes.Repeat([]byte("x"), 700), "no archive": []byte(strings.Repeat("no tar at all ", 100))} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			o.Steps = nil
			o.Base.Tar = &RootTar{Name: "bad", Key: name, Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
			if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "importing bad: reading an archive") {
				t.Errorf("got %v", err)
			}
			if _, err := os.Lstat(o.Dst); !os.IsNotExist(err) {
				t.Errorf("there is an output: %v", err)
			}
		})
	}
}

func TestFailingInstruction(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Steps = []Step{&Containerfile{Name: "fails", FS: fstest.MapFS{"Containerfile": {Data: []byte("ARG BASE\nFROM ${BASE}\nRUN echo before >&2; exit 7\n")}}}}
	_, err := Build(logTo(t), o)
	if err == nil || !strings.Contains(err.Error(), "exit 7") {
		t.Errorf("got %v", err)
	}
	if errors.Is(err, ErrUsage) || errors.Is(err, ErrPrivilege) || errors.Is(err, ErrNetwork) {
		t.Errorf("of the wrong class: %v", err)
	}
	if _, err := os.Lstat(o.Dst); !os.IsNotExist(err) {
		t.Errorf("there is an output: %v", err)
	}
	// The same work folder builds the right thing afterwards.
	good := testOptions(t)
	want := build(t, good)
	good.Work, good.Dst = o.Work, o.Dst
	if got := build(t, good); got.ManifestDigest != want.ManifestDigest {
		t.Errorf("got %s, want %s", got.ManifestDigest, want.ManifestDigest)
	}
}

// Secrets are there while RUN runs, and in no byte of the result or the caches.
func TestSecretsLeaveNoTrace(t *testing.T) {
	const canary = "CANARY-5e9f2c71-plain"
	o := testOptions(t)
	file := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	const proxy = "http://proxyuser:CANARY-proxy@127.0.0.1:1"
	t.Setenv("https_proxy", proxy)
	o.Secrets = []Secret{{"key", file}}
	o.Compression = Plain
	o.Steps = []Step{&Containerfile{Name: "secret", FS: fstest.MapFS{"Containerfile": {Data: []byte(`ARG BASE
FROM ${BASE}
RUN --mount=type=secret,id=key cat /run/secrets/key | dd bs=1 count=6 2>/dev/null > /etc/seen
RUN echo ${#https_proxy} > /etc/length
`)}}}}
	build(t, o)
	all := strings.Join(lines(t, o.Dst)[1], "\n")
	if !strings.Contains(all, "etc/seen CANARY") || !strings.Contains(all, "etc/length 41") {
		t.Errorf("the instructions saw nothing:\n%s", all)
	}
	for _, dir := range []string{o.Dst, o.Work} {
		scan(t, dir, canary, "CANARY-proxy")
	}
}

// scan fails when a file below dir holds one of the words.
func scan(t *testing.T, dir string, words ...string) {
	t.Helper()
	n := 0
	err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil || !fi.Mode().IsRegular() {
			return err
		}
		n++
		b, err := os.ReadFile(p)
		for _, w := range words {
			if bytes.Contains(b, []byte(w)) {
				t.Errorf("%s holds %s", p, w)
			}
		}
		return err
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files, %v", n, err)
	}
}
