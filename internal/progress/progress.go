// Package progress carries what a long run is doing from the stages to a face:
// a live terminal, plain lines, or JSON Lines. Libraries report events and
// print nothing themselves. It refuses to know what a stage is about.
package progress

import "context"

// An Event is one change of state of one stage.
type Event struct {
	// Stage is the stage's name: "compose", "layers", "root filesystem".
	Stage string `json:"stage"`
	// Kind tells what happened.
	Kind Kind `json:"event"`
	// Text is a line for people; may be empty.
	Text string `json:"text,omitempty"`
	// Done and Total are in Unit; Total 0 means unknown.
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`
	Unit  string `json:"unit,omitempty"` // "bytes", "layers", …
	// Cached marks a stage whose result was taken as it was.
	Cached bool `json:"cached,omitempty"`
}

// Kind is the kind of an event.
type Kind string

// The kinds of events, in the order in which a stage sends them.
const (
	Start  Kind = "start"  // a stage begins
	Update Kind = "update" // Done has grown
	Log    Kind = "log"    // one line of a program that the stage runs
	Warn   Kind = "warn"   // something the user should know
	End    Kind = "end"    // a stage is done
)

// A Reporter receives events. It must be safe for concurrent use.
type Reporter interface {
	Report(Event)
}

// Func makes a function a Reporter.
type Func func(Event)

// Report calls f.
func (f Func) Report(e Event) { f(e) }

type key struct{}

// With returns a context that carries r.
func With(ctx context.Context, r Reporter) context.Context {
	return context.WithValue(ctx, key{}, r)
}

// From returns the context's reporter, or one that drops everything.
func From(ctx context.Context) Reporter {
	if r, ok := ctx.Value(key{}).(Reporter); ok {
		return r
	}
	return Func(func(Event) {})
}
