package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/registry"
	"github.com/aitheros/aither-image/internal/tool"
)

// processesWith lists processes whose command line or environment holds a word.
func processesWith(word string) []string {
	var out []string
	ents, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range ents {
		b, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if strings.Contains(string(b)+string(env), word) {
			out = append(out, e.Name()+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return out
}

// gone waits until nothing of a build is left running or mounted.
func gone(t *testing.T, word, dir string) {
	t.Helper()
	var procs []string
	var mounts string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		procs, mounts = processesWith(word), ""
		if strings.Contains(string(b), dir) {
			mounts = string(b)
		}
		if len(procs) == 0 && mounts == "" {
			return
		}
	}
	t.Errorf("left over: %v\n%s", procs, mounts)
}

// A cancelled build ends soon, with its instructions, and leaves nothing.
func TestCancel(t *testing.T) {
	o := testOptions(t)
	word := fmt.Sprintf("98765.%d", os.Getpid())
	o.Steps = []Step{&Containerfile{Name: "sleeps", FS: fstest.MapFS{"Containerfile": {Data: []byte("ARG BASE\nFROM ${BASE}\nRUN sleep " + word + "\n")}}}}
	ctx, cancel := context.WithCancel(t.Context())
	ctx = progress.With(ctx, progress.Func(func(e progress.Event) {
		if strings.Contains(e.Text, "RUN sleep") {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
	}))
	start := time.Now()
	_, err := Build(ctx, o)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > grace-time.Second {
		t.Errorf("it took %v", d)
	}
	gone(t, word, o.Work)
	if _, err := os.Lstat(o.Dst); !os.IsNotExist(err) {
		t.Errorf("there is an output: %v", err)
	}
}

// What an instruction leaves running does not outlive the build.
func TestDaemonsEnd(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	word := fmt.Sprintf("87654.%d", os.Getpid())
	o.Steps = []Step{&Containerfile{Name: "forks", FS: fstest.MapFS{"Containerfile": {Data: []byte("ARG BASE\nFROM ${BASE}\nRUN setsid sleep " + word + " </dev/null >/dev/null 2>&1 &\nRUN echo ok > /etc/ok\n")}}}}
	build(t, o)
	gone(t, word, o.Work)
}

// Killed at any moment, a build leaves no half output, and the next one makes
// the same bytes from the same caches.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	staticBusybox(t)
	dir, exe := scratch(t)
	want := builds(t, nil, exe, filepath.Join(dir, "whole"))
	step, rounds := 150*time.Millisecond, 8
	if os.Getenv("AITHER_SLOW") != "" {
		step, rounds = 20*time.Millisecond, 60
	}
	own := filepath.Join(dir, "killed")
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range rounds {
		after := time.Duration(i+1) * step
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, err := tool.Cmd{Name: exe, Args: []string{"-test.run", "^TestHelper$"}, Env: []string{helperEnv + "=" + own, "TMPDIR=" + own}}.Run(ctx)
		cancel()
		gone(t, helperEnv+"="+own, own)
		if _, serr := os.Stat(filepath.Join(own, "image")); err != nil && serr == nil {
			if got := listing(t, filepath.Join(own, "image")); got != want {
				t.Errorf("killed after %v: a half output:\n%s", after, got)
			}
		}
		if i%3 == 2 { // from the caches as they are, or from nothing
			if err := os.RemoveAll(filepath.Join(own, "work")); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = os.RemoveAll(filepath.Join(own, "image"))
	if _, err := (tool.Cmd{Name: exe, Args: []string{"-test.run", "^TestHelper$"}, Env: []string{helperEnv + "=" + own, "TMPDIR=" + own}}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, filepath.Join(own, "image")); got != want {
		t.Errorf("after all kills:\n%s\nwant\n%s", got, want)
	}
	for _, sub := range []string{"", "work/tmp"} {
		ents, err := os.ReadDir(filepath.Join(own, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ents {
			if strings.HasPrefix(e.Name(), ".image") || strings.HasPrefix(e.Name(), "layer-") || strings.HasPrefix(e.Name(), "context-") || strings.HasPrefix(e.Name(), "import-") {
				t.Errorf("left over: %s", e.Name())
			}
		}
	}
}

// Several builds share one work folder one after the other.
func TestBuildsWaitForEachOther(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	want := build(t, o)
	other := testOptions(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			p := other
			p.Dst = filepath.Join(filepath.Dir(other.Dst), "image"+string(rune('a'+i%2)))
			r, err := Build(t.Context(), p)
			if err != nil || r.ManifestDigest != want.ManifestDigest {
				t.Errorf("build %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// A cache that was changed or half removed is noticed.
func TestDamagedCaches(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, o Options, r *Result){
		"blob gone": func(t *testing.T, o Options, r *Result) {
			must(t, os.Remove(filepath.Join(o.Work, "oci/blobs/sha256", r.Layers[1].Digest.Encoded())))
		},
		"blob cut": func(t *testing.T, o Options, r *Result) {
			p := filepath.Join(o.Work, "oci/blobs/sha256", r.Layers[1].Digest.Encoded())
			must(t, os.Remove(p))
			must(t, os.WriteFile(p, []byte("x"), 0o644))
		},
		"records gone": func(t *testing.T, o Options, r *Result) { must(t, os.RemoveAll(filepath.Join(o.Work, "records"))) },
		"records torn": func(t *testing.T, o Options, r *Result) {
			ents, err := os.ReadDir(filepath.Join(o.Work, "records"))
			must(t, err)
			for _, e := range ents {
				must(t, os.WriteFile(filepath.Join(o.Work, "records", e.Name()), []byte(`{"version":1,`), 0o644))
			}
		},
		"store gone": func(t *testing.T, o Options, r *Result) { must(t, os.RemoveAll(filepath.Join(o.Work, "store"))) },
		"image's blob": func(t *testing.T, o Options, r *Result) {
			must(t, os.Remove(filepath.Join(o.Dst, "blobs/sha256", r.Layers[0].Digest.Encoded())))
		},
		"image's index": func(t *testing.T, o Options, r *Result) { must(t, os.Remove(filepath.Join(o.Dst, "index.json"))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			r := build(t, o)
			want := listing(t, o.Dst)
			damage(t, o, r)
			if got := build(t, o); got.ManifestDigest != r.ManifestDigest {
				t.Errorf("got %s, want %s", got.ManifestDigest, r.ManifestDigest)
			}
			if got := listing(t, o.Dst); got != want {
				t.Errorf("the layout is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Clean leaves nothing of the store, whose files belong to other ids.
func TestClean(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	build(t, o)
	must(t, Clean(t.Context(), o.Work))
	for _, sub := range []string{"store", "records", "contexts"} {
		if _, err := os.Lstat(filepath.Join(o.Work, sub)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", sub, err)
		}
	}
	if _, err := registry.OpenLayout(o.Dst); err != nil {
		t.Errorf("the output: %v", err)
	}
}
