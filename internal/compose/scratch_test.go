package compose

import (
	"testing"
	"testing/fstest"
)

// A recipe may build in one stage and end in another that is FROM scratch:
// nothing changed, so nothing is built again.
func TestLastStageFromScratchIsCached(t *testing.T) {
	o := testOptions(t)
	o.Steps = []Step{&Containerfile{Name: "two stages", FS: fstest.MapFS{"Containerfile": {Data: []byte(
		"ARG BASE\nFROM ${BASE} AS tree\nRUN echo made > /made\nFROM scratch\nCOPY --from=tree /made /made\n")}}}, &Overlay{Name: "files", FS: overlayFS()}}
	first := build(t, o)
	if first.Cached || len(first.Layers) != 2 {
		t.Fatalf("the first build: cached %v, %d layers", first.Cached, len(first.Layers))
	}
	if again := build(t, o); !again.Cached || again.ManifestDigest != first.ManifestDigest {
		t.Errorf("the second build: cached %v, %s, want %s", again.Cached, again.ManifestDigest, first.ManifestDigest)
	}
}
