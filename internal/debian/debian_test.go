package debian

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree reads a root archive as short lines.
func tree(t testing.TB, archive []byte) []string {
	t.Helper()
	var out []string
	for tr := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(h.Name, ".deb") || len(body) > 100 {
			body = []byte("…")
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%c %04o %s %s %s", h.Typeflag, h.Mode, h.Name, h.Linkname, body)))
	}
}

func TestBootstrap(t *testing.T) {
	a := newArchive(t, base())
	var out bytes.Buffer
	res, err := Bootstrap(t.Context(), a.options(), &out)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Date.Equal(released) {
		t.Errorf("date %s, want %s", res.Date, released)
	}
	var names []string
	for _, p := range res.Packages {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"apt", "base-files", "ca-certificates", "dash", "keyring", "libc6", "mawk"}, names); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	want := []string{
		"5 0755 ./",
		"5 0755 usr/", "5 0755 usr/bin/", "2 0644 bin usr/bin", "5 1777 tmp/",
		"5 0755 usr/lib/", "0 0644 usr/lib/os-release  ID=debian",
		"0 0755 usr/bin/apt-get  apt",
		"5 0755 etc/", "0 0644 etc/ca  ca",
		"0 0755 usr/bin/sh  sh", "1 0644 usr/bin/dash usr/bin/sh",
		"5 0755 usr/share/", "5 0755 usr/share/keyrings/", "0 0644 usr/share/keyrings/k  k",
		"0 0644 usr/lib/libc.so  …", "0 0755 usr/bin/mawk  m",
		"5 0755 var/", "5 0755 var/cache/", "5 0755 var/cache/apt/", "5 0755 var/cache/apt/archives/",
	}
	for _, n := range names {
		want = append(want, "0 0644 var/cache/apt/archives/"+n+"_1-1_amd64.deb  …")
	}
	want = append(want, "5 0755 etc/apt/", "5 0755 etc/apt/keyrings/", "0 0644 etc/apt/keyrings/archive.asc  …",
		"5 0755 etc/apt/sources.list.d/", "0 0644 etc/apt/sources.list.d/debian.sources  …")
	if diff := cmp.Diff(want, tree(t, out.Bytes())); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

func TestBootstrapTwiceTheSame(t *testing.T) {
	a := newArchive(t, base())
	o := a.options()
	o.Include = []string{"extra"}
	var first, cold, warm bytes.Buffer
	for i, w := range []*bytes.Buffer{&first, &warm, &cold} {
		if i == 2 {
			o.Cache, o.Parallel = t.TempDir(), 1
		}
		if _, err := Bootstrap(t.Context(), o, w); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), warm.Bytes()) || !bytes.Equal(first.Bytes(), cold.Bytes()) {
		t.Error("three runs gave different bytes")
	}
	if !bytes.Contains(first.Bytes(), []byte("extra_1-1_amd64.deb")) {
		t.Error("the included package is missing")
	}
	pool := 0
	for _, s := range a.seen {
		if strings.HasPrefix(s, "pool/") {
			pool++
		}
	}
	if pool != 2*8 {
		t.Errorf("%d package downloads for a cold, a warm and a cold run of 8 packages", pool)
	}
}

func TestAllowExpired(t *testing.T) {
	a := newArchive(t, base())
	o := a.options()
	o.Now = released.AddDate(3, 0, 0)
	if _, err := Bootstrap(t.Context(), o, io.Discard); !errors.Is(err, ErrVerify) || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("an expired archive: %v", err)
	}
	o.AllowExpired = true
	var out bytes.Buffer
	if _, err := Bootstrap(t.Context(), o, &out); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out.Bytes(), []byte("Check-Valid-Until \"false\"")) {
		t.Error("apt in the tree would refuse the archive")
	}
	a.signer = otherKey()
	if _, err := Bootstrap(t.Context(), o, io.Discard); !errors.Is(err, ErrVerify) {
		t.Errorf("an expired archive with a foreign signature: %v", err)
	}
}

// deb replaces the package dash by one with these entries.
func deb(entries ...entry) func(*archive) {
	return func(a *archive) {
		for i, p := range a.packages {
			if p.name == "dash" {
				a.packages[i].entries = entries
			}
		}
		a.build()
	}
}

func rawDeb(b []byte) func(*archive) {
	return func(a *archive) {
		for i, p := range a.packages {
			if p.name == "dash" {
				a.packages[i].raw = b
			}
		}
		a.build()
	}
}

// TestRefused bends the archive in one place each.
func TestRefused(t *testing.T) {
	cases := map[string]struct {
		bend func(*archive)
		kind error
		text string
	}{
		"foreign key":      {func(a *archive) { a.signer = otherKey() }, ErrVerify, "signature"},
		"signed in future": {func(a *archive) { a.signedAt = released.AddDate(1, 0, 0) }, ErrVerify, "signature"},
		"no signature":     {func(a *archive) { a.files["dists/forky/InRelease"] = []byte(a.release) }, ErrVerify, "no signed text"},
		"changed after": {func(a *archive) {
			a.files["dists/forky/InRelease"] = bytes.Replace(a.inRelease(), []byte("Origin: Test"), []byte("Origin: Best"), 1)
		}, ErrVerify, "signature"},
		"signature cut": {func(a *archive) { b := a.inRelease(); a.files["dists/forky/InRelease"] = b[:len(b)-200] }, ErrVerify, "sign"},
		"another suite": {func(a *archive) {
			a.release = strings.NewReplacer("forky", "sid", "testing", "unstable").Replace(a.release)
		}, ErrVerify, "calls itself"},
		"no component":     {func(a *archive) { a.release = strings.Replace(a.release, "Components: main", "Components: other", 1) }, nil, "no component"},
		"no architecture":  {func(a *archive) { a.release = strings.Replace(a.release, "all amd64", "all arm64", 1) }, nil, "no architecture"},
		"no date":          {func(a *archive) { a.release = strings.Replace(a.release, "Date: ", "Dete: ", 1) }, ErrVerify, "date"},
		"bad valid-until":  {func(a *archive) { a.release = strings.Replace(a.release, "Valid-Until: ", "Valid-Until: soon", 1) }, ErrVerify, "Valid-Until"},
		"no digests":       {func(a *archive) { a.release, _, _ = strings.Cut(a.release, "SHA256:") }, ErrVerify, "no SHA256"},
		"bad digest line":  {func(a *archive) { a.release += " zz 1 x\n" }, ErrVerify, "bad SHA256 line"},
		"index not signed": {func(a *archive) { a.release = strings.Replace(a.release, "Packages.xz", "Packages.lz", 1) }, ErrVerify, "signs no index"},
		"release missing":  {func(a *archive) { a.serve = notFound("InRelease") }, ErrNetwork, "404"},
		"index missing":    {func(a *archive) { a.serve = notFound("by-hash") }, ErrNetwork, "404"},
		"package missing":  {func(a *archive) { a.serve = notFound("dash_") }, ErrNetwork, "404"},
		"server broken":    {func(a *archive) { a.serve = status(503) }, ErrNetwork, "503"},
		"endless release":  {func(a *archive) { a.files["dists/forky/InRelease"] = make([]byte, maxInRelease+10) }, ErrVerify, "more than"},
		"package changed": {func(a *archive) {
			b := bytes.Clone(a.files["pool/dash_1-1_amd64.deb"])
			b[len(b)-1] ^= 1
			a.files["pool/dash_1-1_amd64.deb"] = b
		}, ErrVerify, "SHA-256"},
		"package longer": {func(a *archive) {
			a.files["pool/dash_1-1_amd64.deb"] = append(bytes.Clone(a.files["pool/dash_1-1_amd64.deb"]), 0)
		}, ErrVerify, "SHA-256"},
		"package cut":        {func(a *archive) { a.files["pool/dash_1-1_amd64.deb"] = a.files["pool/dash_1-1_amd64.deb"][:100] }, ErrNetwork, ""},
		"index is no xz":     {func(a *archive) { a.replaceIndex([]byte("no xz at all")) }, ErrVerify, "unpacking"},
		"index cut":          {func(a *archive) { a.replaceIndex(pack(a.t, ".xz", bytes.Repeat([]byte("Package: x\n"), 999))[:60]) }, ErrVerify, ""},
		"index: bad arch":    {func(a *archive) { a.setIndex("Package: x\nVersion: 1\nArchitecture: arm64\n\n") }, ErrVerify, "bad architecture"},
		"index: bad name":    {func(a *archive) { a.setIndex("Package: ../x\nVersion: 1\nArchitecture: all\n\n") }, ErrVerify, "bad name"},
		"index: bad version": {func(a *archive) { a.setIndex("Package: x\nVersion: 1/2\nArchitecture: all\n\n") }, ErrVerify, "bad version"},
		"index: bad size":    {func(a *archive) { a.setIndex("Package: x\nSize: many\n\n") }, ErrVerify, "size"},
		"index: bad filename": {func(a *archive) {
			a.setIndex(fmt.Sprintf("Package: x\nVersion: 1\nArchitecture: all\nSize: 1\nSHA256: %064d\nFilename: ../../x\n\n", 1))
		}, ErrVerify, "bad filename"},
		"index: empty":       {func(a *archive) { a.setIndex("\n") }, nil, `no package "apt"`},
		"dependency missing": {func(a *archive) { a.packages[0].fields = "Essential: yes\nDepends: nothing-such (>= 1)\n"; a.build() }, nil, "depends on nothing-such"},

		"deb: parent":           {deb(entry{name: "../evil", content: "x"}), ErrVerify, "leads out"},
		"deb: inner parent":     {deb(entry{name: "./usr/../../evil", content: "x"}), ErrVerify, "leads out"},
		"deb: absolute":         {deb(entry{name: "/etc/evil", content: "x"}), ErrVerify, "path"},
		"deb: link out":         {deb(entry{name: "./out", kind: tar.TypeSymlink, link: "../../.."}, entry{name: "./out/evil", content: "x"}), ErrVerify, "out of the tree"},
		"deb: link circle":      {deb(entry{name: "./a", kind: tar.TypeSymlink, link: "b"}, entry{name: "./b", kind: tar.TypeSymlink, link: "a"}, entry{name: "./a/x"}), ErrVerify, "circle"},
		"deb: hard link out":    {deb(entry{name: "./x", kind: tar.TypeLink, link: "../../etc/passwd"}), ErrVerify, "leads out"},
		"deb: hard link absent": {deb(entry{name: "./x", kind: tar.TypeLink, link: "./nothing"}), ErrVerify, "no earlier file"},
		"deb: device":           {deb(entry{name: "./dev/sda", kind: tar.TypeBlock}), ErrVerify, "neither file"},
		"deb: fifo":             {deb(entry{name: "./pipe", kind: tar.TypeFifo}), ErrVerify, "neither file"},
		"deb: file over folder": {deb(entry{name: "./usr/lib", content: "x"}), ErrVerify, "folder there"},
		"deb: folder over file": {deb(entry{name: "./usr/lib/os-release/"}), ErrVerify, "file there"},
		"deb: below a file":     {deb(entry{name: "./usr/lib/os-release/x", content: "x"}), ErrVerify, "not a folder"},
		"deb: not ar":           {rawDeb([]byte("#!/bin/sh\n")), ErrVerify, "not a package"},
		"deb: empty ar":         {rawDeb([]byte("!<arch>\n")), ErrVerify, "without data"},
		"deb: other ar":         {rawDeb(makeAr("x", "y", "data.tar", "")), ErrVerify, "starts with"},
		"deb: no data":          {rawDeb(makeAr("debian-binary", "2.0\n")), ErrVerify, "without data"},
		"deb: odd compression":  {rawDeb(makeAr("debian-binary", "2.0\n", "data.tar.lz9", "x")), errors.ErrUnsupported, "not known"},
		"deb: broken xz":        {rawDeb(makeAr("debian-binary", "2.0\n", "data.tar.xz", "nonsense")), ErrVerify, ""},
		"deb: broken tar":       {rawDeb(makeAr("debian-binary", "2.0\n", "data.tar", strings.Repeat("x", 1024))), ErrVerify, ""},
		"deb: bad header":       {rawDeb([]byte("!<arch>\n" + strings.Repeat("x", 60))), ErrVerify, "bad member header"},
		"deb: bad size":         {rawDeb(bytes.Replace(makeAr("debian-binary", "2.0\n"), []byte("4         `"), []byte("-4        `"), 1)), ErrVerify, "bad member size"},
		"deb: member cut":       {rawDeb(bytes.Replace(makeAr("debian-binary", "2.0\n"), []byte("4         `"), []byte("4000      `"), 1)), ErrVerify, "ends within"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArchive(t, base())
			c.bend(a)
			o := a.options()
			o.Retries = 1
			_, err := Bootstrap(t.Context(), o, io.Discard)
			if err == nil {
				t.Fatal("accepted")
			}
			if c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %q: want %v with %q", err, c.kind, c.text)
			}
		})
	}
}

// replaceIndex signs other bytes as the index.
func (a *archive) replaceIndex(b []byte) {
	a.setIndex("")
	for name, old := range a.files {
		if strings.Contains(name, "by-hash") {
			delete(a.files, name)
			a.release = strings.NewReplacer(sum(old)+" "+strconv.Itoa(len(old)), sum(b)+" "+strconv.Itoa(len(b))).Replace(a.release)
		}
	}
	a.files["dists/forky/main/binary-amd64/by-hash/SHA256/"+sum(b)] = b
}

func notFound(part string) func(http.ResponseWriter, *http.Request, []byte) bool {
	return func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		http.NotFound(w, r)
		return true
	}
}

func status(code int) func(http.ResponseWriter, *http.Request, []byte) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(code)
		return true
	}
}

// TestTransferGoesOn breaks transfers of a package in ways that another request mends.
func TestTransferGoesOn(t *testing.T) {
	half := func(w http.ResponseWriter, body []byte) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	cases := map[string]func(n int, w http.ResponseWriter, r *http.Request, body []byte) bool{
		"cut, then the rest": func(n int, w http.ResponseWriter, r *http.Request, body []byte) bool {
			if n == 0 {
				half(w, body)
			}
			if r.Header.Get("Range") == "" {
				t.Error("the second request asks for everything again")
			}
			return false
		},
		"cut, then a server without ranges": func(n int, w http.ResponseWriter, _ *http.Request, body []byte) bool {
			if n == 0 {
				half(w, body)
			}
			_, _ = w.Write(body)
			return true
		},
		"busy twice": func(n int, w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			if n < 2 {
				w.WriteHeader(http.StatusTooManyRequests)
			}
			return n < 2
		},
		"stalls once": func(n int, w http.ResponseWriter, r *http.Request, body []byte) bool {
			if n == 0 {
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
			return n == 0
		},
		"wrong bytes once": func(n int, w http.ResponseWriter, _ *http.Request, body []byte) bool {
			if n == 0 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), len(body)))
			}
			return n == 0
		},
	}
	for name, serve := range cases {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t, base())
			n := 0
			a.serve = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				if !strings.Contains(r.URL.Path, "libc6_") {
					return false
				}
				n++
				return serve(n-1, w, r, body)
			}
			o := a.options()
			o.Stall = 200 * time.Millisecond
			if _, err := Bootstrap(t.Context(), o, io.Discard); err != nil {
				t.Fatal(err)
			}
			if n < 2 {
				t.Errorf("%d requests: the transfer never broke", n)
			}
		})
	}
}

func TestDamagedCacheIsMended(t *testing.T) {
	a := newArchive(t, base())
	o := a.options()
	var first, second bytes.Buffer
	if _, err := Bootstrap(t.Context(), o, &first); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	err := filepath.Walk(o.Cache, func(name string, fi os.FileInfo, err error) error {
		if err != nil || !fi.Mode().IsRegular() {
			return err
		}
		damaged++
		return os.WriteFile(name, []byte("damaged"), 0o644)
	})
	if err != nil || damaged < 8 {
		t.Fatalf("%d files damaged, %v", damaged, err)
	}
	if _, err := Bootstrap(t.Context(), o, &second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("a mended cache gives other bytes")
	}
}

func TestCancelled(t *testing.T) {
	a := newArchive(t, base())
	ctx, cancel := context.WithCancel(t.Context())
	a.serve = func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if strings.Contains(r.URL.Path, "pool/") {
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	}
	_, err := Bootstrap(ctx, a.options(), io.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in a transfer: %v", err)
	}
}

// TestArchiveKeys holds the built-in keys to be those of Debian's archive.
func TestArchiveKeys(t *testing.T) {
	ring, err := readKeys(archiveKeys)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range ring {
		got = append(got, fmt.Sprintf("%X", e.PrimaryKey.Fingerprint))
	}
	want := []string{
		"B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8", "4D64FEC119C2029067D6E791F8D2585B8783D481",
		"04B54C3CDCA79751B16BC6B5225629DF75B188BD", "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
