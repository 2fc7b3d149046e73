package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// A Trace keeps when each stage began and ended, and writes it in Chrome's
// trace event format (docs "Trace Event Format", complete and instant events),
// which chrome://tracing and Perfetto read.
type Trace struct {
	mu     sync.Mutex
	now    func() time.Time
	began  time.Time
	lanes  map[string]int // stage → row of the picture
	starts map[string]time.Time
	events []traceEvent
}

type traceEvent struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"`
	TS    int64          `json:"ts"`            // microseconds
	Dur   int64          `json:"dur,omitempty"` // microseconds
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	Args  map[string]any `json:"args,omitempty"`
}

// NewTrace returns an empty trace that begins now.
func NewTrace(now func() time.Time) *Trace {
	return &Trace{now: now, began: now(), lanes: map[string]int{}, starts: map[string]time.Time{}}
}

// Report notes e.
func (t *Trace) Report(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	lane, ok := t.lanes[e.Stage]
	if !ok {
		lane = len(t.lanes) + 1
		t.lanes[e.Stage] = lane
	}
	switch e.Kind {
	case Start:
		t.starts[e.Stage] = now
	case End:
		start, ok := t.starts[e.Stage]
		if !ok {
			start = now
		}
		delete(t.starts, e.Stage)
		t.events = append(t.events, traceEvent{Name: e.Stage, Phase: "X", TS: t.micros(start), Dur: now.Sub(start).Microseconds(),
			PID: 1, TID: lane, Args: map[string]any{"cached": e.Cached, "done": e.Done, "unit": e.Unit}})
	case Warn:
		t.events = append(t.events, traceEvent{Name: e.Text, Phase: "i", TS: t.micros(now), PID: 1, TID: lane})
	}
}

func (t *Trace) micros(at time.Time) int64 { return at.Sub(t.began).Microseconds() }

// Write writes the trace; stages that have not ended are left out.
func (t *Trace) Write(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	events := t.events
	if events == nil {
		events = []traceEvent{}
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"traceEvents": events, "displayTimeUnit": "ms"}); err != nil {
		return fmt.Errorf("writing the trace: %w", err)
	}
	return nil
}
