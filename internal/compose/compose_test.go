package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

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
	put(&tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/ping", Mode: 0o755, PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"SCHILY.xattr.user.note":           "kept", "SCHILY.xattr.trusted.x": "dropped", "SCHILY.xattr.security.selinux": "system_u:object_r:bin_t:s0",
	}}, []byte("ping"))
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
RUN rm /usr/lib/many/3 && ln /usr/lib/many/1 /usr/lib/many/one && chown 5:6 /usr/lib/many/2 && chmod 4755 /usr/lib/many/2 && ln -s 5 /usr/lib/many/link && rm -r /secret && chmod 700 /usr/bin/ping && mkdir /srv && chmod 2775 /srv
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
			for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
				s += fmt.Sprintf(" %s=%q", k, h.PAXRecords[k])
			}
			if h.ModTime.After(epoch) || h.Uname+h.Gname != "" || !h.AccessTime.IsZero() {
				s += fmt.Sprintf(" %v %s %s", h.ModTime, h.Uname, h.Gname)
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

// wantLayers are the new layers of the test's image, above the base.
var wantLayers = [][]string{{
	"0 0000 0:0 .wh.secret",
	"5 0755 0:0 etc/",
	"0 0644 0:0 etc/greeting hello you",
	"5 0755 0:0 opt/",
	"0 0644 0:0 opt/hello.txt hello",
	"0 0755 0:0 opt/script #!/bin/sh\necho hi",
	"5 2775 0:0 srv/",
	"5 0755 0:0 usr/",
	"5 0755 0:0 usr/bin/",
	`0 0700 0:0 usr/bin/ping SCHILY.xattr.security.capability="\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" SCHILY.xattr.user.note="kept" ping`,
	"5 0755 0:0 usr/lib/",
	"5 0755 0:0 usr/lib/many/",
	"0 0000 0:0 usr/lib/many/.wh.3",
	"0 0644 0:0 usr/lib/many/1 1",
	"0 4755 5:6 usr/lib/many/2 2",
	"0 0644 0:0 usr/lib/many/4 4",
	"0 0644 0:0 usr/lib/many/5 5",
	"2 0777 0:0 usr/lib/many/link -> 5",
	"1 0644 0:0 usr/lib/many/one -> usr/lib/many/1",
}, {
	"5 0755 0:0 etc/",
	"5 0750 10:20 etc/locked/",
	"0 0644 0:0 etc/locked/file.conf a=b",
	"5 0755 0:0 opt/",
	"0 0644 0:0 opt/hello.txt changed",
	"5 0755 0:0 usr/",
	"5 0755 0:0 usr/bin/",
	"0 0755 0:0 usr/bin/tool #!/bin/sh",
	"5 0755 0:0 usr/lib/",
	"5 0755 0:0 usr/lib/systemd/",
	"0 0644 0:0 usr/lib/systemd/x.unit [Unit]",
}, {
	"5 0755 0:0 etc/",
	"0 0644 0:0 etc/second changed",
}}

func TestBuild(t *testing.T) {
	o := testOptions(t)
	r := build(t, o)
	if r.Cached {
		t.Error("the first build was cached")
	}
	got := lines(t, o.Dst)
	if d := cmp.Diff(wantLayers, got[1:]); d != "" {
		t.Error(d)
	}
	if all := strings.Join(got[0], "\n"); strings.Contains(all, "dropped") || strings.Contains(all, "bin_t") || !strings.Contains(all, "note") {
		t.Errorf("extended attributes of the base:\n%s", all)
	}
	start := time.Now()
	again := build(t, o)
	if d := time.Since(start); d > time.Second {
		t.Errorf("with everything cached it took %v", d)
	}
	if !again.Cached || again.ManifestDigest != r.ManifestDigest {
		t.Errorf("second build: cached %v, %s and %s", again.Cached, again.ManifestDigest, r.ManifestDigest)
	}
}

func TestNormalise(t *testing.T) {
	late := epoch.Add(1e9)
	h := &tar.Header{Name: "./a/", Typeflag: tar.TypeDir, Mode: 0o107755, Size: 7, ModTime: late, AccessTime: late, ChangeTime: late, Uname: "me", Gname: "us",
		PAXRecords: map[string]string{"comment": "x", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.security.ima": "z"}}
	if err := normalise(h, epoch); err != nil {
		t.Fatal(err)
	}
	want := &tar.Header{Name: "a", Typeflag: tar.TypeDir, Mode: 0o7755, ModTime: epoch, PAXRecords: map[string]string{"SCHILY.xattr.security.ima": "z"}, Format: tar.FormatPAX}
	if d := cmp.Diff(want, h); d != "" {
		t.Error(d)
	}
	early := &tar.Header{Name: "a", Typeflag: tar.TypeReg, ModTime: epoch.Add(-1500e6)}
	if err := normalise(early, epoch); err != nil || !early.ModTime.Equal(epoch.Add(-2e9)) {
		t.Errorf("an earlier time became %v, %v", early.ModTime, err)
	}
}
