package progress

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// redraw is how often the live lines change without an event of weight.
const redraw = 100 * time.Millisecond

// term draws a live block: a line for each stage that runs, redrawn in place.
// What ends leaves one line above the block and stays.
type term struct {
	mu     sync.Mutex
	o      Options
	live   []*liveStage
	drawn  int // lines of the block on the screen
	last   time.Time
	closed bool
	stop   chan struct{}
	gone   sync.WaitGroup
	err    error
}

type liveStage struct {
	name    string
	began   time.Time
	note    string // the stage's last line of text
	done    int64
	total   int64
	unit    string
	updated bool
}

func newTerm(o Options) Face {
	if o.Width == nil {
		o.Width = func() int { return 80 }
	}
	t := &term{o: o, stop: make(chan struct{})}
	t.gone.Add(1)
	go t.tick()
	return t
}

// tick keeps clocks and rates moving while a stage sends no event.
func (t *term) tick() {
	defer t.gone.Done()
	beat := time.NewTicker(redraw)
	defer beat.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-beat.C:
			t.mu.Lock()
			t.draw("")
			t.mu.Unlock()
		}
	}
}

// Report takes e into the picture.
func (t *term) Report(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	now := t.o.Now()
	switch e.Kind {
	case Start:
		t.remove(e.Stage)
		t.live = append(t.live, &liveStage{name: e.Stage, began: now, note: clean(e.Text), total: e.Total, unit: e.Unit})
		t.draw("")
	case Update, Log:
		if t.update(e); now.Sub(t.last) >= redraw {
			t.draw("")
		}
	case Warn:
		t.draw(t.colour("33", "!") + " " + suffixed(e.Stage, clean(e.Text)))
	case End:
		began := now
		if s := t.remove(e.Stage); s != nil {
			began = s.began
		}
		t.draw(t.colour("32", "✓") + " " + ended(e, now.Sub(began)))
	}
}

func (t *term) update(e Event) {
	for _, s := range t.live {
		if s.name != e.Stage {
			continue
		}
		if text := clean(e.Text); text != "" {
			s.note = text
		}
		if e.Kind == Update {
			s.done, s.total, s.unit, s.updated = e.Done, max(e.Total, s.total), e.Unit, true
		}
	}
}

func (t *term) remove(name string) *liveStage {
	for i, s := range t.live {
		if s.name == name {
			t.live = append(t.live[:i], t.live[i+1:]...)
			return s
		}
	}
	return nil
}

// draw replaces the block on the screen, with keep as a lasting line above it.
func (t *term) draw(keep string) {
	if keep == "" && t.drawn == 0 && len(t.live) == 0 {
		return
	}
	now := t.o.Now()
	t.last = now
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", t.drawn)
	}
	b.WriteString("\r\x1b[J")
	if keep != "" {
		b.WriteString(keep + "\n")
	}
	width := max(t.o.Width(), 20)
	for _, s := range t.live {
		b.WriteString(cut(s.line(now, width), width-1) + "\n")
	}
	t.drawn = len(t.live)
	_, err := t.o.Out.Write([]byte(b.String()))
	t.err = errors.Join(t.err, err)
}

// line is the stage's live line: name, bar, amount, rate, time left.
func (s *liveStage) line(now time.Time, width int) string {
	took := now.Sub(s.began)
	if !s.updated {
		return fmt.Sprintf("· %-18s %6s  %s", s.name, duration(took), s.note)
	}
	text := amount(s.done, s.unit)
	if s.total > 0 {
		text = fmt.Sprintf("%s %s/%s", bar(s.done, s.total, min(24, width/4)), text, amount(s.total, s.unit))
	}
	if secs := took.Seconds(); s.unit == "bytes" && secs >= 1 {
		text += fmt.Sprintf("  %s/s", amount(int64(float64(s.done)/secs), s.unit))
	}
	if left, ok := s.left(took); ok {
		text += "  " + duration(left) + " left"
	}
	return fmt.Sprintf("· %-18s %6s  %s", s.name, duration(took), text)
}

// left estimates the remaining time from the mean rate; only once it means something.
func (s *liveStage) left(took time.Duration) (time.Duration, bool) {
	if s.total <= 0 || s.done <= 0 || s.done > s.total || took < 2*time.Second {
		return 0, false
	}
	return time.Duration(float64(took) * float64(s.total-s.done) / float64(s.done)), true
}

func bar(done, total int64, width int) string {
	n := int(float64(width) * min(1, float64(done)/float64(total)))
	return strings.Repeat("█", n) + strings.Repeat("░", width-n)
}

func (t *term) colour(code, s string) string {
	if t.o.NoColor {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// cut shortens s to n columns, counting a rune as a column.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// Close takes the live block away.
func (t *term) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.live = nil
	t.draw("")
	close(t.stop)
	t.mu.Unlock()
	t.gone.Wait()
	return t.err
}
