package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/layer/layertest"
)

func TestGoalsCompareTheRightWayRound(t *testing.T) {
	timed := func(name string, secs int, ours bool) result {
		return result{step: step{name: name, ours: ours}, wall: time.Duration(secs) * time.Second, rss: 100 << 20}
	}
	rs := []result{
		timed(base, 10, false), timed(stepRawGzip, 14, true), timed(stepBothGzip, 16, true), timed(stepLoop, 30, false),
		timed(stepUnpack, 20, false), timed(stepMke2fs, 5, false), timed(stepAgain, 2, true),
		{step: step{name: stepRepart}, skip: "not installed"}, {step: step{name: stepQemuZstd}, err: errors.New("broke")},
	}
	var s strings.Builder
	printTable(&s, rs)
	printGoals(&s, rs)
	for _, want := range []string{
		"* gzip layers → raw                                            14.00      0.00       100     1.40",
		"skipped: not installed", "failed: broke",
		"met    gzip layers → raw against parallel inflate + sha256: at most 1.5 ×: 1.40 ×",
		"MISSED gzip layers → raw + qcow2 against loop + mkfs + tar x (root): at least 2 × faster: 1.88 ×",
		"met    the same against unpacking + mke2fs -d: faster: 1.56 ×",
		"-      the same against systemd-repart --offline: at least 4 × faster (not measured)",
		"met    peak memory of ours: 100 MiB, at most 512 MiB",
		"MISSED nothing changed: 2.00 s, at most 1 s",
	} {
		if !strings.Contains(s.String(), want) {
			t.Errorf("%q is missing from\n%s", want, s.String())
		}
	}
}

func TestRecompressedImageIsTheSameImage(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	layertest.Write(t, src, layertest.Image{Layers: []layertest.Layer{
		{Tar: layertest.Tar(t, layertest.File("a", 0o644, strings.Repeat("a", 5000))), Compression: "zstd"},
		{Tar: layertest.Tar(t, layertest.File("b", 0o644, "b"))},
	}})
	im, err := layer.Open(src, "")
	if err != nil {
		t.Fatal(err)
	}
	for how, p := range packings {
		n, err := recompress(context.Background(), im, filepath.Join(dst, how), p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := layer.Open(filepath.Join(dst, how), "")
		if err != nil {
			t.Fatal(err)
		}
		if n < 5000 || again.ConfigDigest != im.ConfigDigest || len(again.Layers) != 2 || again.Layers[1].MediaType != p.mediaType {
			t.Errorf("%s: %d bytes, %+v", how, n, again.Layers)
		}
		// Every digest, the inflated ones among them, is checked by reading.
		if err := inflateAll(context.Background(), filepath.Join(dst, how), 2); err != nil {
			t.Errorf("%s: %v", how, err)
		}
	}
}

func TestMissingProgramIsASkipAndAFailureAnError(t *testing.T) {
	r := measure(context.Background(), step{name: "x", needs: []string{"no-such-program-here"}}, 1)
	if r.skip == "" || r.err != nil {
		t.Errorf("got %+v", r)
	}
	if r = measure(context.Background(), step{name: "x", needs: []string{"sh"}, speaks: "--no-such-flag-here"}, 1); r.skip == "" {
		t.Errorf("got %+v", r)
	}
	if r = measure(context.Background(), step{name: "x", argv: [][]string{{"false"}}}, 1); r.err == nil {
		t.Errorf("got %+v", r)
	}
	if r = measure(context.Background(), step{name: "x", argv: [][]string{{"true"}}}, 3); r.err != nil || r.wall <= 0 || r.rss <= 0 {
		t.Errorf("got %+v", r)
	}
}
