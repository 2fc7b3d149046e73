package lint_test

import (
	"context"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/lint"
	"github.com/aitheros/aither-image/internal/sysroot"
	"github.com/aitheros/aither-image/internal/tree"
)

// The merged tree of sysroot is what the lints are for.
var _ lint.View = (*sysroot.View)(nil)

// TestImage runs the lints on a real image, the OCI layout AITHER_LINT_OCI
// (tag AITHER_LINT_REF), and tells what they find. Fatal findings fail.
func TestImage(t *testing.T) {
	dir := os.Getenv("AITHER_LINT_OCI")
	if dir == "" {
		t.Skip("names no image: set AITHER_LINT_OCI to an OCI layout")
	}
	im, err := layer.Open(dir, os.Getenv("AITHER_LINT_REF"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp(t.TempDir(), "content")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx := context.Background()
	tr, err := sysroot.Read(ctx, im, &store{f: f}, sysroot.ReadOptions{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	found, err := lint.Run(ctx, tr.View(), lint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range found {
		say := t.Logf
		if x.Severity == lint.Fatal {
			say = t.Errorf
		}
		say("%s %s: %s: %s (%s)", x.Severity, x.Lint, x.Path, x.Text, x.Hint)
	}
}

// A store keeps content in one file.
type store struct {
	mu  sync.Mutex
	f   *os.File
	end int64
}

func (s *store) NewArena(int64) (sysroot.Arena, error) { return arena{s}, nil }
func (s *store) Discard(tree.Content) error            { return nil }
func (s *store) Abort(error)                           {}

type arena struct{ s *store }

func (a arena) Close() error { return nil }

func (a arena) Put(r io.Reader, size int64) (tree.Content, error) {
	a.s.mu.Lock()
	at := a.s.end
	a.s.end += size
	a.s.mu.Unlock()
	_, err := io.Copy(io.NewOffsetWriter(a.s.f, at), io.LimitReader(r, size))
	return part{a.s.f, at, size}, err
}

type part struct {
	f        *os.File
	at, size int64
}

func (p part) Size() int64 { return p.size }

func (p part) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(p.f, p.at, p.size)), nil
}
