package progress

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock is a clock that moves by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// locked lets a test read what a face's own goroutine writes.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// story sends what a short build would.
func story(r Reporter, c *clock) {
	r.Report(Event{Stage: "compose", Kind: Start, Text: "3 steps"})
	c.add(1500 * time.Millisecond)
	r.Report(Event{Stage: "compose", Kind: Log, Text: "Setting up \x1b[31mgrub\x1b[0m\r\n"})
	r.Report(Event{Stage: "compose", Kind: End, Cached: true})
	r.Report(Event{Stage: "layers", Kind: Start, Unit: "bytes", Total: 4 << 20})
	c.add(4 * time.Second)
	r.Report(Event{Stage: "layers", Kind: Update, Done: 1 << 20, Total: 4 << 20, Unit: "bytes"})
	r.Report(Event{Stage: "layers", Kind: Warn, Text: "gzip is slow"})
	c.add(61 * time.Second)
	r.Report(Event{Stage: "layers", Kind: End, Done: 4 << 20, Unit: "bytes"})
}

func TestPlainFaces(t *testing.T) {
	const stages = "compose: 3 steps\ncompose: cached\nlayers\nwarning: layers: gzip is slow\nlayers: done in 1m05s, 4.0 MiB\n"
	const logs = "compose: 3 steps\ncompose| Setting up [31mgrub[0m\ncompose: cached\nlayers\nwarning: layers: gzip is slow\nlayers: done in 1m05s, 4.0 MiB\n"
	const debug = "    0.000 compose: 3 steps\n    1.500 compose| Setting up [31mgrub[0m\n    1.500 compose: cached\n    1.500 layers\n" +
		"    5.500 layers: 1.0 MiB of 4.0 MiB\n    5.500 warning: layers: gzip is slow\n   66.500 layers: done in 1m05s, 4.0 MiB\n"
	for name, want := range map[string]string{"auto": stages, "verbose": logs, "debug": debug} {
		t.Run(name, func(t *testing.T) {
			var c clock
			var out bytes.Buffer
			f, err := New(name, Options{Out: &out, Now: c.now})
			if err != nil {
				t.Fatal(err)
			}
			story(f, &c)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, out.String()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestJSONFaceIsOneObjectALine(t *testing.T) {
	var c clock
	var out bytes.Buffer
	f, err := New("json", Options{Out: &out, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	story(f, &c)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 7 {
		t.Fatalf("got %d lines, want 7:\n%s", len(lines), out.String())
	}
	var last struct {
		MS    int64  `json:"ms"`
		Stage string `json:"stage"`
		Event Kind   `json:"event"`
		Done  int64  `json:"done"`
	}
	if err := json.Unmarshal([]byte(lines[6]), &last); err != nil {
		t.Fatal(err)
	}
	if last.MS != 66500 || last.Stage != "layers" || last.Event != End || last.Done != 4<<20 {
		t.Errorf("last line is %+v", last)
	}
}

func TestTermDrawsBarsRatesAndTimeLeft(t *testing.T) {
	var c clock
	var out locked
	f, err := New("term", Options{Out: &out, Now: c.now, Width: func() int { return 100 }, NoColor: true})
	if err != nil {
		t.Fatal(err)
	}
	story(f, &c)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{
		"✓ compose: cached\n",
		"██████░░░░░░░░░░░░░░░░░░ 1.0 MiB/4.0 MiB  256.0 KiB/s  12s left",
		"! layers: gzip is slow\n",
		"✓ layers: done in 1m05s, 4.0 MiB\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing from %q", want, got)
		}
	}
	if strings.Contains(got, "\x1b[31m") {
		t.Error("a program's escape sequence reached the terminal")
	}
	if !strings.HasSuffix(got, "\x1b[J") && !strings.HasSuffix(got, "\n") {
		t.Errorf("the live block is left on the screen: %q", got[max(0, len(got)-40):])
	}
}

func TestTermLinesFitTheWidth(t *testing.T) {
	var c clock
	var out locked
	f, _ := New("term", Options{Out: &out, Now: c.now, Width: func() int { return 40 }})
	f.Report(Event{Stage: "s", Kind: Start, Text: strings.Repeat("long ", 50)})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(out.String(), "\n") {
		if l = strings.TrimPrefix(l, "\r\x1b[J"); len([]rune(l)) > 45 {
			t.Errorf("a line of %d columns on a terminal of 40", len([]rune(l)))
		}
	}
}

func TestUnknownFaceIsRefusedWithHint(t *testing.T) {
	_, err := New("fancy", Options{})
	if err == nil || !strings.Contains(err.Error(), "\nhint: one of auto, verbose, term, debug, json") {
		t.Errorf("got %v", err)
	}
}

func TestTraceIsReadByTheFormatsFields(t *testing.T) {
	var c clock
	tr := NewTrace(c.now)
	var n int
	story(Tee(tr, Func(func(Event) { n++ })), &c)
	var out bytes.Buffer
	if err := tr.Write(&out); err != nil {
		t.Fatal(err)
	}
	var got struct{ TraceEvents []traceEvent }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []traceEvent{
		{Name: "compose", Phase: "X", Dur: 1500000, PID: 1, TID: 1, Args: map[string]any{"cached": true, "done": 0.0, "unit": ""}},
		{Name: "gzip is slow", Phase: "i", TS: 5500000, PID: 1, TID: 2},
		{Name: "layers", Phase: "X", TS: 1500000, Dur: 65000000, PID: 1, TID: 2, Args: map[string]any{"cached": false, "done": float64(4 << 20), "unit": "bytes"}},
	}
	if d := cmp.Diff(want, got.TraceEvents); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if n != 7 {
		t.Errorf("the second reporter of the tee saw %d events, want 7", n)
	}
}

func TestAmountsAndDurations(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{amount(1023, "bytes"), "1023 B"},
		{amount(1024, "bytes"), "1.0 KiB"},
		{amount(1<<20-1, "bytes"), "1.0 MiB"},
		{amount(5<<40, "bytes"), "5.0 TiB"},
		{amount(7, "layers"), "7 layers"},
		{duration(400 * time.Millisecond), "0.4s"},
		{duration(42 * time.Second), "42s"},
		{duration(185 * time.Second), "3m05s"},
		{duration(62 * time.Minute), "1h02m"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
