package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/progress"
)

// A fetcher reads an archive through a cache of files named by their digest.
type fetcher struct {
	o Options
}

// permanent marks an error that another try would not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

func (f *fetcher) url(parts ...string) string {
	return strings.TrimRight(f.o.Mirror, "/") + "/" + strings.Join(parts, "/")
}

// path is where the cache keeps the file with a digest.
func (f *fetcher) path(sha string) string {
	return filepath.Join(f.o.Cache, "sha256", sha[:2], sha)
}

// small fetches a file whose size and digest are unknown beforehand.
func (f *fetcher) small(ctx context.Context, url string, limit int64) ([]byte, error) {
	var got bytes.Buffer
	err := f.retry(ctx, url, func() error {
		got.Reset()
		if err := f.transfer(ctx, url, 0, limit+1, &got); err != nil {
			return err
		}
		if int64(got.Len()) > limit {
			return permanent{fmt.Errorf("%w: more than %d bytes", ErrVerify, limit)}
		}
		return nil
	})
	return got.Bytes(), err
}

// open returns the wanted file, from the cache or the archive. Its digest has
// been checked either way.
func (f *fetcher) open(ctx context.Context, url string, want indexFile) (*os.File, error) {
	if r, err := f.cached(want); err == nil {
		return r, nil
	}
	if err := f.fetch(ctx, url, want); err != nil {
		return nil, err
	}
	return f.cached(want)
}

// cached opens a file of the cache if it is there and whole.
func (f *fetcher) cached(want indexFile) (_ *os.File, err error) {
	r, err := os.Open(f.path(want.sha256))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = r.Close()
		}
	}()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return nil, err
	}
	if n != want.size || hex.EncodeToString(h.Sum(nil)) != want.sha256 {
		return nil, fmt.Errorf("%w: %s is damaged", ErrVerify, r.Name())
	}
	_, err = r.Seek(0, io.SeekStart)
	return r, err
}

// fetch brings one file into the cache. A transfer that breaks goes on where it
// broke; one whose digest is wrong starts anew once.
func (f *fetcher) fetch(ctx context.Context, url string, want indexFile) error {
	err := f.fetchOnce(ctx, url, want)
	if errors.Is(err, ErrVerify) {
		err = f.fetchOnce(ctx, url, want)
	}
	return err
}

func (f *fetcher) fetchOnce(ctx context.Context, url string, want indexFile) (err error) {
	out, err := atomicfile.Create(f.path(want.sha256), 0o644)
	if err != nil {
		return fmt.Errorf("making room for %s in the cache: %w", url, err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	h := sha256.New()
	sink := &countWriter{w: io.MultiWriter(out, h)}
	err = f.retry(ctx, url, func() error {
		if err := f.transfer(ctx, url, sink.n, want.size+1-sink.n, sink); err != nil {
			return err
		}
		if sink.n < want.size {
			return fmt.Errorf("ended after %d of %d bytes", sink.n, want.size)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); sink.n != want.size || got != want.sha256 {
		return fmt.Errorf("fetching %s: %w: %d bytes or more with SHA-256 %s, the archive signed %d with %s", url, ErrVerify, sink.n, got, want.size, want.sha256)
	}
	return out.Commit()
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if err != nil {
		err = permanent{err} // our own disk, not the network
	}
	return n, err
}

// retry runs try until it succeeds, fails for good, or the tries are used up.
func (f *fetcher) retry(ctx context.Context, url string, try func() error) error {
	pause := f.o.Backoff
	for left := max(f.o.Retries, 0); ; left-- {
		err := try()
		if err == nil {
			return nil
		}
		var p permanent
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("fetching %s: %w", url, context.Cause(ctx))
		case errors.As(err, &p):
			return fmt.Errorf("fetching %s: %w", url, p.error)
		case left == 0:
			return fmt.Errorf("fetching %s: %w: %w", url, ErrNetwork, err)
		}
		report(ctx, progress.Event{Kind: progress.Warn, Text: fmt.Sprintf("fetching %s: %v; trying again", url, err)})
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// transfer copies at most limit bytes of url from offset on to w.
func (f *fetcher) transfer(ctx context.Context, url string, offset, limit int64, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(f.o.Stall, func() {
		cancel(fmt.Errorf("no byte for %s", f.o.Stall))
	})
	defer stall.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return permanent{fmt.Errorf("%w: %w", ErrNetwork, err)}
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := f.o.Client.Do(req)
	if err != nil {
		return causeOf(ctx, err)
	}
	defer resp.Body.Close()
	if err := accept(resp, offset); err != nil {
		return err
	}
	body := io.Reader(resp.Body)
	if offset > 0 && resp.StatusCode == http.StatusOK {
		// A server without ranges starts over: skip what is here already.
		if _, err := io.CopyN(io.Discard, body, offset); err != nil {
			return causeOf(ctx, err)
		}
	}
	_, err = io.Copy(w, &watched{r: io.LimitReader(body, limit), alive: func() { stall.Reset(f.o.Stall) }})
	return causeOf(ctx, err)
}

func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// accept tells apart answers that are worth another try and those that are not.
func accept(resp *http.Response, offset int64) error {
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		return nil
	case code == http.StatusPartialContent && offset > 0:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
			return fmt.Errorf("server sent another range: %q", resp.Header.Get("Content-Range"))
		}
		return nil
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		return fmt.Errorf("server answered %s", resp.Status)
	default:
		return permanent{fmt.Errorf("%w: server answered %s", ErrNetwork, resp.Status)}
	}
}

// watched tells that bytes keep coming.
type watched struct {
	r     io.Reader
	alive func()
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if n > 0 {
		w.alive()
	}
	return n, err
}

// debs brings all packages into the cache, several side by side.
func (f *fetcher) debs(ctx context.Context, debs []*stanza) error {
	var total int64
	for _, d := range debs {
		total += d.size
	}
	report(ctx, progress.Event{Kind: progress.Start, Text: fmt.Sprintf("%d packages of %s %s", len(debs), f.o.Mirror, f.o.Suite), Total: total, Unit: "bytes"})
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(f.o.Parallel)
	for _, d := range debs {
		g.Go(func() error {
			r, err := f.open(ctx, f.url(d.filename), indexFile{sha256: d.sha256, size: d.size})
			if err != nil {
				return fmt.Errorf("package %s %s: %w", d.name, d.version, err)
			}
			report(ctx, progress.Event{Kind: progress.Update, Done: done.Add(d.size), Total: total, Unit: "bytes"})
			return r.Close()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	report(ctx, progress.Event{Kind: progress.End, Done: total, Total: total, Unit: "bytes"})
	return nil
}

// file opens a package that debs has brought.
func (f *fetcher) file(d *stanza) (*os.File, error) {
	r, err := f.cached(indexFile{sha256: d.sha256, size: d.size})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("package %s went out of the cache during the run: %w", d.name, err)
	}
	return r, err
}
