package ext4

import (
	"errors"
	"fmt"
	"sync"
)

// A Writer makes one file system. Arenas may be filled, and contents discarded,
// by several goroutines; the other methods belong to one.
type Writer struct {
	dev Device
	opt Options
	lay layout

	mu     sync.Mutex
	turn   sync.Cond // open, shared or err changed
	arenas []*Arena
	open   int    // index of the first arena that is not closed
	begun  bool   // some open arena has been written to
	region uint64 // where the next region, or the shared space, begins
	shared uint64 // next block of the shared space; 0 while nothing has overflowed
	err    error

	finished bool
}

// ErrAborted is returned by Put after Abort was called without a cause.
var ErrAborted = errors.New("aborted")

// NewWriter starts a file system on a device whose ranges read as zeros.
func NewWriter(dev Device, o Options) (*Writer, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("making an ext4 file system: %w", err)
	}
	w := &Writer{dev: dev, opt: o, lay: newLayout(&o)}
	w.turn.L = &w.mu
	w.region, _ = w.lay.run(0)
	return w, nil
}

// NewArena returns the next place for contents. hint is the number of bytes
// that it will take; where contents lie depends on the order of arenas, on their
// hints and contents, and on nothing else. What goes beyond the hint is placed
// behind all regions, and waits for all earlier arenas to be closed: callers
// fill earlier arenas first, or all at once.
//
// Arenas that are open at the same time must all be made before the first Put
// to any of them; else Put fails. Once all are closed, more may be made.
func (w *Writer) NewArena(hint int64) *Arena {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := &Arena{w: w, index: len(w.arenas)}
	w.arenas = append(w.arenas, a)
	if w.finished {
		a.err = errors.New("internal error: arena made after Finish")
		return a
	}
	if w.begun {
		a.err = errors.New("internal error: arena made while earlier arenas are being filled")
		return a
	}
	if w.shared != 0 { // every earlier arena is closed
		w.region, w.shared = w.shared, 0
	}
	blocks := (uint64(max(hint, 0)) + blockSize - 1) / blockSize
	a.pos = w.region
	w.region = w.lay.after(w.region, blocks)
	a.end = w.region
	return a
}

// Abort makes every Put that waits or begins fail with cause. A program whose
// pipeline failed calls it so that no goroutine waits for an arena that will
// not be closed.
func (w *Writer) Abort(cause error) {
	if cause == nil {
		cause = ErrAborted
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = cause
	}
	w.turn.Broadcast()
}

// begin notes that data flows, after which no arena can join the open ones.
func (w *Writer) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun = true
	return w.err
}

// takeShared waits until all arenas before a are closed and returns the next
// block of the space behind all regions, which is a's alone until it is closed.
func (w *Writer) takeShared(a *Arena) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.open < a.index && w.err == nil {
		w.turn.Wait()
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.shared == 0 {
		w.shared = w.region
	}
	return w.shared, nil
}

// closed notes that a is closed, with the end of what it took of the shared space.
func (w *Writer) closed(a *Arena, sharedEnd uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.closed = true
	if sharedEnd != 0 {
		w.shared = sharedEnd
	}
	for w.open < len(w.arenas) && w.arenas[w.open].closed {
		w.open++
	}
	if w.open == len(w.arenas) {
		w.begun = false
	}
	w.turn.Broadcast()
}

// Discard gives back the blocks of a content that no file will carry.
// They stay free; nothing else is placed there.
func (w *Writer) Discard(d *Data) error {
	if d.w != w || d.state != stored {
		return errors.New("internal error: discarding content that is not stored in this file system")
	}
	d.state = discarded
	if d.size < discardAtOnce {
		return nil // Finish punches neighbours together
	}
	if err := d.a.flush(); err != nil {
		return err
	}
	for _, e := range d.ext {
		if err := w.punch(e.phys, uint64(e.len)); err != nil {
			return err
		}
	}
	return nil
}

const discardAtOnce = 1 << 20

func (w *Writer) punch(block, n uint64) error {
	if err := w.dev.PunchHole(int64(block)<<blockBits, int64(n)<<blockBits); err != nil {
		return fmt.Errorf("freeing %d blocks at block %d: %w", n, block, err)
	}
	return nil
}
