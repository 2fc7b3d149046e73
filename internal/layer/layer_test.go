package layer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/layer/layertest"
)

func oneLayer(t *testing.T, compression string, entries ...layertest.Entry) *layer.Image {
	t.Helper()
	dir := t.TempDir()
	layertest.Write(t, dir, layertest.Image{Layers: []layertest.Layer{{Tar: layertest.Tar(t, entries...), Compression: compression}}})
	im, err := layer.Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// names reads layer 0 whole and returns what it holds.
func names(im *layer.Image, limit int64) ([]string, error) {
	b, err := im.OpenLayer(context.Background(), 0, limit)
	if err != nil {
		return nil, err
	}
	var out []string
	err = layer.Walk("l", b, layer.Limits{}, func(m *layer.Member, r io.Reader) error {
		body, err := io.ReadAll(r)
		out = append(out, m.Path+"="+string(body))
		return err
	})
	if err != nil {
		b.Abort()
		return out, err
	}
	return out, b.Close()
}

func TestReadsEveryCompression(t *testing.T) {
	for _, c := range []string{"", "gzip", "zstd"} {
		im := oneLayer(t, c, layertest.Dir("usr/", 0o755), layertest.File("./usr//a", 0o644, "hello"))
		got, err := names(im, 0)
		if err != nil {
			t.Fatalf("%q: %v", c, err)
		}
		if s := strings.Join(got, " "); s != "usr= usr/a=hello" {
			t.Errorf("%q: got %s", c, s)
		}
	}
}

func TestLargeLayerPassesThroughUnchanged(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB, several chunks
	for _, c := range []string{"", "gzip", "zstd"} {
		im := oneLayer(t, c, layertest.File("a", 0o644, body), layertest.File("b", 0o644, body[1:]))
		got, err := names(im, 0)
		if err != nil {
			t.Fatalf("%q: %v", c, err)
		}
		if got[0] != "a="+body || got[1] != "b="+body[1:] {
			t.Errorf("%q: content changed", c)
		}
	}
}

func TestChangedBlobsAreRefused(t *testing.T) {
	tests := []struct {
		name string
		bend func(b []byte) []byte
		want string
	}{
		{"flipped bit", func(b []byte) []byte { b[600] ^= 1; return b }, "digest"},
		{"cut short", func(b []byte) []byte { return b[:len(b)-512] }, "bytes"},
		{"longer", func(b []byte) []byte { return append(b, 0) }, "bytes"},
	}
	for _, tt := range tests {
		im := oneLayer(t, "", layertest.File("a", 0o644, strings.Repeat("x", 1000)))
		p, err := im.BlobPath(im.Layers[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, tt.bend(b), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := names(im, 0); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error about %s", tt.name, err, tt.want)
		}
	}
}

func TestVerify(t *testing.T) {
	im := oneLayer(t, "gzip", layertest.File("a", 0o644, strings.Repeat("x", 1000)))
	if err := im.Verify(0); err != nil {
		t.Errorf("a whole blob: %v", err)
	}
	p, err := im.BlobPath(im.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	var a *layer.AlteredError
	if err := im.Verify(0); !errors.As(err, &a) {
		t.Errorf("an altered blob: %v", err)
	}
}

func TestWrongDiffIDIsRefused(t *testing.T) {
	im := oneLayer(t, "gzip", layertest.File("a", 0o644, "x"))
	im.DiffIDs[0] = digest.FromString("another")
	if _, err := names(im, 0); err == nil || !strings.Contains(err.Error(), "configuration says") {
		t.Errorf("got %v", err)
	}
}

func TestTruncatedCompressedStreams(t *testing.T) {
	for _, c := range []string{"gzip", "zstd"} {
		im := oneLayer(t, c, layertest.File("a", 0o644, strings.Repeat("x", 5000)))
		p, _ := im.BlobPath(im.Layers[0].Digest)
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		b = b[:len(b)/2]
		d := digest.FromBytes(b) // a blob that is what it says, but no whole stream
		if err := os.WriteFile(filepath.Join(filepath.Dir(p), d.Encoded()), b, 0o644); err != nil {
			t.Fatal(err)
		}
		im.Layers[0].Digest, im.Layers[0].Size = d, int64(len(b))
		if got, err := names(im, 0); err == nil {
			t.Errorf("%s: half a stream was read as %d members", c, len(got))
		}
	}
}

func TestBombStopsAtTheLimit(t *testing.T) {
	im := oneLayer(t, "gzip", layertest.File("a", 0o644, strings.Repeat("\x00", 8<<20)))
	_, err := names(im, 1<<20)
	if !errors.Is(err, layer.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, layer.ErrTooLarge)
	}
}

func TestSizeHint(t *testing.T) {
	body := strings.Repeat("x", 100_000)
	want := int64(len(layertest.Tar(t, layertest.File("a", 0o644, body))))
	for _, c := range []string{"", "gzip"} {
		im := oneLayer(t, c, layertest.File("a", 0o644, body))
		if got, err := im.SizeHint(0); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", c, got, err, want)
		}
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true))
	if err != nil {
		t.Fatal(err)
	}
	frame := func(n int) []byte { return e.EncodeAll([]byte(strings.Repeat("abcdefgh", n/8)), nil) }
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(i * i >> 7)
	}
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}
	var stream bytes.Buffer // a frame that does not tell its size
	z, err := zstd.NewWriter(&stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(noise); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	lie := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x00, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0} // 2^40 bytes in an empty block
	for name, tt := range map[string]struct {
		blob []byte
		want int64
	}{
		"one frame":      {frame(400_000), 400_000},
		"several frames": {slices.Concat(skippable, frame(400_000), e.EncodeAll(noise, nil), skippable, frame(800)), 700_800},
		"no size":        {stream.Bytes(), 4 * int64(stream.Len())},
		"cut short":      {frame(400_000)[:20], 80},
		"a lie":          {lie, 32*int64(len(lie)) + 64<<20},
	} {
		im := oneLayer(t, "")
		im.Layers[0].Digest = digest.FromBytes(tt.blob)
		p, err := im.BlobPath(im.Layers[0].Digest)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, tt.blob, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := im.SizeHint(0); err != nil || got != tt.want {
			t.Errorf("%s: got %d, %v, want %d", name, got, err, tt.want)
		}
	}
}

func TestStoppedContextEndsTheLayer(t *testing.T) {
	im := oneLayer(t, "gzip", layertest.File("a", 0o644, strings.Repeat("x", 8<<20)))
	ctx, cancel := context.WithCancel(context.Background())
	b, err := im.OpenLayer(ctx, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, b); err == nil {
		t.Error("a cancelled layer was read whole")
	}
	b.Abort()
}

func TestOpenRefuses(t *testing.T) {
	good := func(t *testing.T) string {
		dir := t.TempDir()
		layertest.Write(t, dir, layertest.Image{Layers: []layertest.Layer{{Tar: layertest.Tar(t)}}})
		return dir
	}
	edit := func(name, old, new string) func(t *testing.T) string {
		return func(t *testing.T) string {
			dir := good(t)
			p := filepath.Join(dir, name)
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(b, []byte(old)) {
				t.Fatalf("%s has no %q", name, old)
			}
			if err := os.WriteFile(p, bytes.Replace(b, []byte(old), []byte(new), 1), 0o644); err != nil {
				t.Fatal(err)
			}
			return dir
		}
	}
	tests := []struct {
		name string
		make func(t *testing.T) string
		ref  string
		want string
	}{
		{"no layout", func(t *testing.T) string { return t.TempDir() }, "", "index.json"},
		{"unknown tag", good, "v1", `no image "v1"`},
		{"index that is no JSON", edit("index.json", "{", "["), "", "index.json"},
		{"path as a digest", edit("index.json", "sha256:", "sha256:../../"), "", "digest"},
		{"sha512", edit("index.json", "sha256:", "sha512:"), "", "digest"},
		{"index of platforms", edit("index.json", "image.manifest.v1", "image.index.v1"), "", "several platforms"},
	}
	for _, tt := range tests {
		if _, err := layer.Open(tt.make(t), tt.ref); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}
