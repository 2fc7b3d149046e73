package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/tool"
)

// runContainerfile fetches what the Containerfile is FROM and runs it in a child.
func (p *preparer) runContainerfile(st *stage, src *source, files []sourceFile, sum string, text []byte, from map[string]*stage, below *record) (*record, error) {
	for _, f := range from {
		if _, _, err := p.ensure(f, nil, true); err != nil {
			return nil, err
		}
	}
	dir, err := src.snapshot(p.work, files, sum)
	if err != nil {
		return nil, err
	}
	// The Containerfile itself may be left out of its context by .containerignore.
	file := p.work.path("contexts", st.Key+".containerfile")
	if err := atomicfile.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	s := *st
	s.Context = dir
	j := p.job()
	j.Stage, j.Instructs = &s, file
	if below != nil && below.Key != st.Prev {
		return nil, fmt.Errorf("internal error: the step below changed")
	}
	rep, err := runChild(p.ctx, j)
	if err != nil {
		return nil, err
	}
	if rep.Record == nil {
		return nil, fmt.Errorf("internal error: the child made no record")
	}
	return rep.Record, nil
}

func (p *preparer) job() *job {
	o := p.opts
	return &job{Work: p.work.dir, Arch: o.Arch, Epoch: o.Epoch.Unix(), Isolation: o.Isolation, Compression: o.Compression, NoCache: o.NoCache, Secrets: o.Secrets}
}

// runFetch copies an image out of the user's container storage to the pool.
func (p *preparer) runFetch(ref string) (v1.Descriptor, error) {
	j := p.job()
	j.Fetch = ref
	rep, err := runChild(p.ctx, j)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("reading %s: %w", ref, err)
	}
	if rep.Manifest == nil {
		return v1.Descriptor{}, fmt.Errorf("internal error: the child found no image")
	}
	return *rep.Manifest, nil
}

// clean removes caches; the container store holds files of subordinate ids,
// which only the namespace can remove.
func (w *workdir) clean(ctx context.Context) error {
	if _, err := os.Stat(w.path("store")); err == nil {
		if _, err := runChild(ctx, &job{Work: w.dir, Clean: true}); err != nil {
			return err
		}
	}
	var errs []error
	for _, sub := range []string{"records", "contexts", "oci", "tmp"} {
		errs = append(errs, os.RemoveAll(w.path(sub)))
	}
	return errors.Join(errs...)
}

// grace is how long a cancelled child may take to undo its mounts.
const grace = 10 * time.Second

// runChild runs this program again as the child of itself and hands on its events.
func runChild(ctx context.Context, j *job) (*reply, error) {
	line, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	// The child's input ends when the context does; only a child that does not
	// heed that is killed.
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	stdin, alive, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	finished := make(chan struct{})
	go func() {
		_, _ = alive.Write(append(line, '\n'))
		select {
		case <-finished:
		case <-ctx.Done():
		}
		_ = alive.Close()
		select {
		case <-finished:
		case <-time.After(grace):
			kill()
		}
	}()
	out := &replyReader{rep: progress.From(ctx)}
	_, err = tool.Cmd{Name: "/proc/self/exe", Args: []string{childArg}, Stdin: stdin, Stdout: out}.Run(hard)
	close(finished)
	_ = stdin.Close()
	out.flush()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("building the image: %w", ctx.Err())
	case out.fail != nil:
		return nil, out.fail
	case err != nil:
		return nil, fmt.Errorf("running the build: %w", err)
	case out.last == nil:
		return nil, fmt.Errorf("running the build: the child ended without an answer")
	}
	return out.last, nil
}

// A replyReader reads the child's lines.
type replyReader struct {
	rep  progress.Reporter
	rest []byte
	last *reply
	fail error
}

func (r *replyReader) Write(b []byte) (int, error) {
	r.rest = append(r.rest, b...)
	for {
		i := bytes.IndexByte(r.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		r.line(r.rest[:i])
		r.rest = r.rest[i+1:]
	}
}

// flush takes a last line that has no end.
func (r *replyReader) flush() {
	if len(r.rest) > 0 {
		r.line(r.rest)
	}
}

func (r *replyReader) line(b []byte) {
	var m reply
	if err := json.Unmarshal(b, &m); err != nil {
		// Something below printed to the output: show it rather than lose it.
		r.rep.Report(progress.Event{Stage: stageName, Kind: progress.Log, Text: string(b)})
		return
	}
	switch {
	case m.Event != nil:
		r.rep.Report(*m.Event)
	case m.Error != "":
		r.fail = &childError{m.Error, classes[m.Class]}
	case m.Done:
		r.last = &m
	}
}

// A childError is an error that the child reported.
type childError struct {
	text  string
	class error
}

func (e *childError) Error() string { return e.text }
func (e *childError) Unwrap() error { return e.class }
