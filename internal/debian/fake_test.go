package debian

import (
	"archive/tar"
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// released is the day of the fake archive.
var released = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testKey is a key pair made once for all tests; other is one that no archive trusts.
var testKey, otherKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *openpgp.Entity {
	e, err := openpgp.NewEntity("Test Archive", "", "archive@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA256,
		Time: func() time.Time { return released.Add(-24 * time.Hour) },
	})
	if err != nil {
		panic(err)
	}
	return e
}

func armored(t testing.TB, e *openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An entry is one member of a fake package.
type entry struct {
	name, link, content string
	kind                byte // 0: regular file, or folder when the name ends with a slash
	mode                int64
}

// A fakePackage is one package of a fake archive.
type fakePackage struct {
	name, fields string
	entries      []entry
	comp         string // ending of data.tar; empty means .xz
	raw          []byte // in place of the entries: the whole package file
}

// An archive is a fake Debian archive behind HTTP. Its fields may be bent
// between the making and the serving.
type archive struct {
	t        testing.TB
	files    map[string][]byte
	release  string
	signer   *openpgp.Entity
	signedAt time.Time
	packages []fakePackage
	// serve, when set, sees each request first and reports whether it answered.
	serve func(w http.ResponseWriter, r *http.Request, body []byte) bool
	mu    sync.Mutex
	seen  []string
	srv   *httptest.Server
}

// base is a set of packages like a real bootstrap's, in small.
func base() []fakePackage {
	return []fakePackage{
		{name: "base-files", fields: "Essential: yes\nPriority: required\nPre-Depends: awk\n", entries: []entry{
			{name: "./"}, {name: "./usr/"}, {name: "./usr/bin/"}, {name: "./bin", kind: tar.TypeSymlink, link: "usr/bin"},
			{name: "./tmp/", mode: 0o1777}, {name: "./usr/lib/os-release", content: "ID=debian\n"},
		}},
		{name: "apt", fields: "Priority: important\nDepends: libc6 (>= 2), gone | keyring\n", comp: ".zst", entries: []entry{
			{name: "./usr/bin/apt-get", content: "apt", mode: 0o755},
		}},
		{name: "ca-certificates", fields: "Depends: libc6\n", comp: ".gz", entries: []entry{{name: "./etc/ca", content: "ca"}}},
		{name: "dash", fields: "Essential: yes\n", comp: ".tar", entries: []entry{
			{name: "./bin/", mode: 0o755}, {name: "./bin/sh", content: "sh", mode: 0o755}, {name: "./bin/dash", kind: tar.TypeLink, link: "./bin/sh"},
		}},
		{name: "libc6", comp: ".tar", entries: []entry{{name: "./usr/lib/libc.so", content: strings.Repeat("c", 100000)}}},
		{name: "keyring", fields: "Provides: archive-keys (= 1)\n", entries: []entry{{name: "./usr/share/keyrings/k", content: "k"}}},
		{name: "mawk", fields: "Provides: awk\nPriority: required\n", entries: []entry{{name: "./usr/bin/mawk", content: "m", mode: 0o755}}},
		{name: "gawk", fields: "Provides: awk\n", entries: []entry{{name: "./usr/bin/gawk", content: "g", mode: 0o755}}},
		{name: "extra", fields: "Depends: libc6, archive-keys:any\n", entries: []entry{{name: "./usr/share/extra", content: "x"}}},
	}
}

func newArchive(t testing.TB, packages []fakePackage) *archive {
	a := &archive{t: t, packages: packages, signer: testKey(), signedAt: released, files: map[string][]byte{}}
	a.srv = httptest.NewServer(http.HandlerFunc(a.answer))
	t.Cleanup(a.srv.Close)
	a.build()
	return a
}

// build writes pool, index and release; it may be called again after a change.
func (a *archive) build() {
	var index strings.Builder
	for _, p := range a.packages {
		deb := p.raw
		if deb == nil {
			deb = makeDeb(a.t, p)
		}
		file := "pool/" + p.name + "_1-1_amd64.deb"
		a.files[file] = deb
		fmt.Fprintf(&index, "Package: %s\nVersion: 1-1\nArchitecture: amd64\n%sFilename: %s\nSize: %d\nSHA256: %s\nDescription: x\n more text\n\n",
			p.name, p.fields, file, len(deb), sum(deb))
	}
	a.setIndex(index.String())
}

func (a *archive) setIndex(text string) {
	packed := pack(a.t, ".xz", []byte(text))
	a.files["dists/forky/main/binary-amd64/by-hash/SHA256/"+sum(packed)] = packed
	a.release = fmt.Sprintf("Origin: Test\nSuite: testing\nCodename: forky\nDate: %s\nValid-Until: %s\nAcquire-By-Hash: yes\nArchitectures: all amd64\nComponents: main contrib\nSHA256:\n %s %d main/binary-amd64/Packages.xz\n",
		released.Format(time.RFC1123), released.Add(7*24*time.Hour).Format(time.RFC1123), sum(packed), len(packed))
}

func (a *archive) inRelease() []byte {
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, a.signer.PrivateKey, &packet.Config{Time: func() time.Time { return a.signedAt }, DefaultHash: crypto.SHA256})
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := w.Write([]byte(a.release)); err != nil {
		a.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		a.t.Fatal(err)
	}
	return b.Bytes()
}

func (a *archive) answer(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/debian/")
	a.mu.Lock()
	a.seen = append(a.seen, name)
	body, ok := a.files[name]
	if !ok && name == "dists/forky/InRelease" {
		body, ok = a.inRelease(), true
	}
	a.mu.Unlock()
	switch {
	case !ok:
		http.NotFound(w, r)
	case a.serve != nil && a.serve(w, r, body):
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

// options read the archive two days after it was made.
func (a *archive) options() Options {
	return Options{Mirror: a.srv.URL + "/debian/", Cache: a.t.TempDir(), Now: released.Add(48 * time.Hour),
		Keys: armored(a.t, testKey()), Backoff: time.Millisecond, Stall: time.Second}
}

func makeDeb(t testing.TB, p fakePackage) []byte {
	t.Helper()
	var data bytes.Buffer
	tw := tar.NewWriter(&data)
	for _, e := range p.entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.content)), ModTime: released.Add(-time.Hour)}
		switch {
		case h.Typeflag == 0 && strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case h.Typeflag == 0:
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	comp := p.comp
	if comp == "" {
		comp = ".xz"
	}
	name := "data.tar" + comp
	if comp == ".tar" {
		name = "data.tar"
	}
	return makeAr("debian-binary", "2.0\n", "control.tar.gz", "not read", name, string(pack(t, comp, data.Bytes())))
}

// makeAr makes an ar archive of names and contents in turn.
func makeAr(members ...string) []byte {
	b := []byte("!<arch>\n")
	for i := 0; i < len(members); i += 2 {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n%s", members[i], 0, 0, 0, 0o644, len(members[i+1]), members[i+1])
		if len(members[i+1])%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

func pack(t testing.TB, ext string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch ext {
	case ".xz":
		w, err = xz.WriterConfig{DictCap: 64 << 10}.NewWriter(&b)
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	default:
		return data
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
