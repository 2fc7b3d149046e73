package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/docker/distribution/registry/api/errcode"

	"github.com/aitheros/aither-image/internal/progress"
)

// errStalled is the cause of a transfer that was given up because nothing came.
var errStalled = errors.New("nothing came for too long")

// retry calls try until it succeeds, fails for good, or the retries are used up.
// Errors of remote sources are marked as the network's.
func (o Options) retry(ctx context.Context, remote bool, try func(context.Context) error) error {
	pause := o.Backoff
	for n := 0; ; n++ {
		err := try(ctx)
		if err == nil || !remote {
			return err
		}
		if errors.Is(context.Cause(ctx), errPlain) {
			return networkError(errPlain)
		}
		if ctx.Err() != nil {
			return err
		}
		if !transient(err) || n >= o.Retries {
			return networkError(err)
		}
		progress.From(ctx).Report(progress.Event{Stage: stageName, Kind: progress.Warn, Text: fmt.Sprintf("%s; trying again in %v", redact(err.Error()), pause)})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// serverError finds 5xx and 429 in texts of errors whose types are not exported
// by the container libraries.
var serverError = regexp.MustCompile(`(?i)(status(:| code)?\s*"?|received unexpected HTTP status: )(429|5\d\d)\b|too\s?many\s?requests`)

// transient reports whether the same request may well succeed later.
func transient(err error) bool {
	var dig *DigestError
	if errors.As(err, &dig) || errors.Is(err, context.Canceled) && !errors.Is(err, errStalled) {
		return false
	}
	if errors.Is(err, errStalled) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, docker.ErrTooManyRequests) {
		return true
	}
	for _, e := range []error{syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH} {
		if errors.Is(err, e) {
			return true
		}
	}
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return status.StatusCode >= 500 || status.StatusCode == 429
	}
	var code errcode.Error
	if errors.As(err, &code) {
		return code.Code == errcode.ErrorCodeTooManyRequests || code.Code == errcode.ErrorCodeUnavailable
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return true
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsTemporary
	}
	return serverError.MatchString(err.Error()) || errors.Is(err, io.EOF)
}

// causeOf adds why the context ended to an error that only says that it did.
func causeOf(ctx context.Context, err error) error {
	if c := context.Cause(ctx); errors.Is(c, errStalled) {
		return fmt.Errorf("%w: %w", err, errStalled)
	}
	return err
}

// A stallWatch cancels a context when it is not fed in time.
type stallWatch struct {
	timer *time.Timer
	after time.Duration
	end   context.CancelCauseFunc
}

func watchStall(ctx context.Context, after time.Duration) (context.Context, *stallWatch) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &stallWatch{time.AfterFunc(after, func() { cancel(errStalled) }), after, cancel}
}

func (w *stallWatch) feed() { w.timer.Reset(w.after) }

func (w *stallWatch) stop() {
	w.timer.Stop()
	w.end(nil)
}

// A meter adds up bytes over several transfers and reports them now and then.
type meter struct {
	rep   progress.Reporter
	done  *atomic.Int64
	total int64
	mine  int64
	told  int64
}

// tellEvery is how many bytes lie between two reports.
const tellEvery = 4 << 20

func (m *meter) start() { m.mine, m.told = 0, 0 }

func (m *meter) undo() { m.done.Add(-m.mine) }

func (m *meter) add(n int) {
	m.mine += int64(n)
	all := m.done.Add(int64(n))
	if m.mine-m.told >= tellEvery {
		m.told = m.mine
		m.rep.Report(progress.Event{Stage: stageName, Kind: progress.Update, Done: all, Total: m.total, Unit: "bytes"})
	}
}

// A watchedReader feeds a watch and a meter.
type watchedReader struct {
	r     io.Reader
	watch *stallWatch
	meter *meter
}

func (w *watchedReader) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if n > 0 {
		w.watch.feed()
		w.meter.add(n)
	}
	return n, err
}
