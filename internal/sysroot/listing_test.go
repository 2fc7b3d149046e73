package sysroot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/tree"
)

func commitOf(t *testing.T, im *layer.Image, known []*Listing) (ostree.Checksum, *Tree) {
	t.Helper()
	tr, err := Read(context.Background(), im, plainStore{}, ReadOptions{Known: known})
	if err != nil {
		t.Fatal(err)
	}
	d, err := tr.Deploy(context.Background(), DeployOptions{Update: ImageReference{Transport: "registry", Name: "e/os:1"}, Root: "r", ESP: "e", Time: testTime})
	if err != nil {
		t.Fatal(err)
	}
	return d.Commit, tr
}

func TestListingsStandForLayers(t *testing.T) {
	base, _ := encapsulate(t, deployable(t, true), false)
	late, _ := encapsulate(t, deployable(t, true), true)
	for name, im := range map[string]*layer.Image{"plain": deployable(t, true), "without a policy": deployable(t, false), "encapsulated": encapsulated(t, base), "late": encapsulated(t, late)} {
		want, tr := commitOf(t, im, nil)
		known := tr.Listings()
		for i, l := range known {
			if l == nil {
				t.Fatalf("%s: layer %d has no listing", name, i)
			}
		}
		// What the listing is for: nobody reads the blobs any more.
		empty := *im
		empty.Dir = t.TempDir()
		for _, l := range im.Layers {
			p, err := empty.BlobPath(l.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte("junk"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		got, again := commitOf(t, &empty, known)
		if got != want {
			t.Errorf("%s: commit %s, want %s", name, got, want)
		}
		if got, _ := commitOf(t, &empty, again.Listings()); got != want {
			t.Errorf("%s: a listing of a listing gives %s, want %s", name, got, want)
		}
	}
}

func TestStaleListingsAreFound(t *testing.T) {
	base, _ := encapsulate(t, deployable(t, true), false)
	for name, im := range map[string]*layer.Image{"plain": deployable(t, true), "encapsulated": encapsulated(t, base)} {
		_, tr := commitOf(t, im, nil)
		known := tr.Listings()
		changed := 0
		for _, l := range known {
			for i, m := range l.Members {
				if m.Stored == nil {
					continue
				}
				b, err := tree.ReadAll(m.Stored.Content, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				good := m.Stored.Content
				bad := append([]byte(nil), b...)
				bad[len(bad)/2] ^= 1
				l.Members[i].Stored.Content = tree.Bytes(bad)
				if _, err := Read(context.Background(), im, plainStore{}, ReadOptions{Known: known}); !errors.Is(err, ErrStale) {
					t.Fatalf("%s: %s changed: %v", name, m.Member.Path, err)
				}
				l.Members[i].Stored.Content = good
				changed++
			}
		}
		if changed < 20 {
			t.Errorf("%s: only %d contents", name, changed)
		}
	}
}
