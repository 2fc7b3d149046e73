package progress

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// detail says how much a plain face prints.
type detail int

const (
	showStages detail = iota // begins, ends and warnings
	showLogs                 // the output of programs as well
	showAll                  // every event, with its time
)

// plain prints a line per event; fit for logs and pipes.
type plain struct {
	mu     sync.Mutex
	o      Options
	d      detail
	began  time.Time
	starts map[string]time.Time
	err    error
}

func newPlain(o Options, d detail) Face {
	return &plain{o: o, d: d, began: o.Now(), starts: map[string]time.Time{}}
}

// Report prints e where its kind is asked for.
func (p *plain) Report(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.o.Now()
	line, show := p.line(e, now)
	if !show {
		return
	}
	if p.d == showAll {
		line = fmt.Sprintf("%9.3f %s", now.Sub(p.began).Seconds(), line)
	}
	_, err := fmt.Fprintln(p.o.Out, line)
	p.err = errors.Join(p.err, err)
}

func (p *plain) line(e Event, now time.Time) (line string, show bool) {
	text := clean(e.Text)
	switch e.Kind {
	case Start:
		p.starts[e.Stage] = now
		return suffixed(e.Stage, text), true
	case Update:
		return fmt.Sprintf("%s: %s", e.Stage, counted(e)), p.d >= showAll
	case Log:
		return fmt.Sprintf("%s| %s", e.Stage, text), p.d >= showLogs
	case Warn:
		return "warning: " + suffixed(e.Stage, text), true
	case End:
		return ended(e, now.Sub(p.starts[e.Stage])), true
	}
	return "", false
}

// Close reports the first failure to write.
func (p *plain) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func suffixed(stage, text string) string {
	switch {
	case text == "":
		return stage
	case stage == "":
		return text
	}
	return stage + ": " + text
}

func counted(e Event) string {
	if e.Total > 0 {
		return amount(e.Done, e.Unit) + " of " + amount(e.Total, e.Unit)
	}
	return amount(e.Done, e.Unit)
}

// ended is the line that remains of a stage.
func ended(e Event, took time.Duration) string {
	s := e.Stage + ": done in " + duration(took)
	if e.Cached {
		s = e.Stage + ": cached"
	}
	if e.Done > 0 {
		s += ", " + amount(e.Done, e.Unit)
	}
	if t := clean(e.Text); t != "" {
		s += ", " + t
	}
	return s
}
