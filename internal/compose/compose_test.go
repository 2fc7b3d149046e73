package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/registry"
	"github.com/aitheros/aither-image/internal/tool"
)

func TestMain(m *testing.M) {
	if Init() {
		return
	}
	os.Exit(m.Run())
}

var epoch = time.Unix(1_700_000_000, 0)

// busyboxTar is a root file system with nothing but a static busybox.
func busyboxTar(t testing.TB) *RootTar {
	t.Helper()
	bb := staticBusybox(t)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(h *tar.Header, b []byte) {
		h.ModTime = time.Unix(1_600_000_000, 0)
		h.Size = int64(len(b))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"etc", "usr", "usr/bin", "usr/lib", "var", "dev", "proc", "sys", "run", "secret"} {
		put(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}, nil)
	}
	put(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
	put(&tar.Header{Typeflag: tar.TypeDir, Name: "etc/locked/", Mode: 0o750, Uid: 10, Gid: 20}, nil)
	put(&tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/busybox", Mode: 0o755}, bb)
	for _, l := range []string{"sh", "ls", "cp", "mv", "rm", "ln", "chmod", "chown", "cat", "echo", "mkdir", "touch", "sleep", "id", "env", "date", "setsid", "dd"} {
		put(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/" + l, Linkname: "busybox", Mode: 0o777}, nil)
	}
	put(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin", Mode: 0o777}, nil)
	put(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &RootTar{Name: "busybox", Key: "busybox-1", Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}}
}

// staticBusybox returns a static busybox's bytes.
func staticBusybox(t testing.TB) []byte {
	t.Helper()
	p, err := tool.Look("busybox")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("busybox is not installed, and CI must not skip")
		}
		t.Skip("busybox is not installed")
	}
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("/lib64/ld-linux")) {
		t.Skip("busybox is not static")
	}
	return b
}

const runFile = `ARG BASE
FROM ${BASE}
ARG GREETING=none
COPY hello.txt script /opt/
RUN echo "$GREETING" > /etc/greeting && mkdir -p /usr/lib/many && for i in 1 2 3 4 5; do echo $i > /usr/lib/many/$i; done
RUN rm /usr/lib/many/3 && ln /usr/lib/many/1 /usr/lib/many/one && chown 5:6 /usr/lib/many/2 && chmod 4755 /usr/lib/many/2 && ln -s 5 /usr/lib/many/link && rm -r /secret
ENV HELLO=world
CMD ["/bin/sh"]
`

func contextFS() fstest.MapFS {
	return fstest.MapFS{
		"Containerfile": {Data: []byte(runFile), Mode: 0o444},
		"hello.txt":     {Data: []byte("hello\n"), Mode: 0o444},
		"script":        {Data: []byte("#!/bin/sh\necho hi\n"), Mode: 0o444},
	}
}

func overlayFS() fstest.MapFS {
	return fstest.MapFS{
		"etc/locked/file.conf":   {Data: []byte("a=b\n"), Mode: 0o600},
		"usr/bin/tool":           {Data: []byte("#!/bin/sh\n"), Mode: 0o444},
		"usr/lib/systemd/x.unit": {Data: []byte("[Unit]\n"), Mode: 0o777},
		"opt/hello.txt":          {Data: []byte("changed\n")},
	}
}

func testOptions(t testing.TB) Options {
	dir := t.TempDir()
	return Options{
		Work: filepath.Join(dir, "work"), Dst: filepath.Join(dir, "image"), Epoch: epoch,
		Base: Base{Tar: busyboxTar(t)},
		Steps: []Step{
			&Containerfile{Name: "first", FS: contextFS(), Args: map[string]string{"GREETING": "hello you"}},
			&Overlay{Name: "files", FS: overlayFS()},
			&Containerfile{Name: "second", FS: fstest.MapFS{"Containerfile": {Data: []byte("ARG BASE\nFROM ${BASE}\nRUN cat /opt/hello.txt > /etc/second\n")}}},
		},
		Labels:      map[string]string{"containers.bootc": "1", "ostree.bootable": "1"},
		Annotations: map[string]string{"org.opencontainers.image.title": "test"},
	}
}

// logTo shows a build's events in the test's log.
func logTo(t testing.TB) context.Context {
	return progress.With(t.Context(), progress.Func(func(e progress.Event) {
		t.Logf("%s %s %s %v", e.Stage, e.Kind, e.Text, e.Cached)
	}))
}

func build(t testing.TB, o Options) *Result {
	t.Helper()
	r, err := Build(logTo(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines describes the layers of a layout, one line for each entry.
func lines(t testing.TB, dir string) [][]string {
	t.Helper()
	l, err := registry.OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Find("latest")
	if err != nil {
		t.Fatal(err)
	}
	m, err := l.Manifest(d)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for _, desc := range m.Layers {
		r, err := (&workdir{pool: l}).openLayer(Layer{Descriptor: desc})
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		tr := tar.NewReader(r)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			s := fmt.Sprintf("%c %04o %d:%d %s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name)
			if h.Linkname != "" {
				s += " -> " + h.Linkname
			}
			if b, err := io.ReadAll(tr); err == nil && len(b) > 0 && len(b) < 100 {
				s += " " + strings.TrimSpace(string(b))
			}
			list = append(list, s)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		out = append(out, list)
	}
	return out
}

func TestBuild(t *testing.T) {
	o := testOptions(t)
	r := build(t, o)
	for _, l := range lines(t, o.Dst) {
		t.Log(strings.Join(l, "\n"))
	}
	start := time.Now()
	again := build(t, o)
	t.Log(time.Since(start))
	if !again.Cached || again.ManifestDigest != r.ManifestDigest {
		t.Errorf("second build: cached %v, %s and %s", again.Cached, again.ManifestDigest, r.ManifestDigest)
	}
}
