package progress

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A Face shows events to somebody. Close writes what is still held back and
// leaves the terminal as it was; events after Close are dropped.
type Face interface {
	Reporter
	Close() error
}

// Options are what a face needs to know about its surroundings.
type Options struct {
	Out io.Writer // where the story goes; usually stderr
	// Now is the clock for durations, rates and time stamps.
	Now func() time.Time
	// Width returns the terminal's width in columns; nil when Out is no terminal.
	Width func() int
	// NoColor leaves colours out (the NO_COLOR convention).
	NoColor bool
}

// A face of this list can be asked for by name.
var faces = []struct {
	name string
	make func(Options) Face
}{
	{"auto", newAuto},
	{"verbose", func(o Options) Face { return newPlain(o, showLogs) }},
	{"term", newTerm},
	{"debug", func(o Options) Face { return newPlain(o, showAll) }},
	{"json", newJSON},
}

// Names returns the names that New accepts, in the order help prints them.
func Names() []string {
	names := make([]string, len(faces))
	for i, f := range faces {
		names[i] = f.name
	}
	return names
}

// New returns the face called name: "auto" is "term" on a terminal and plain
// lines elsewhere; "verbose" adds the output of the programs that stages run;
// "debug" shows every event with its time; "json" is one JSON object a line.
func New(name string, o Options) (Face, error) {
	i := slices.IndexFunc(faces, func(f struct {
		name string
		make func(Options) Face
	}) bool {
		return f.name == name
	})
	if i < 0 {
		return nil, fmt.Errorf("unknown progress %q\nhint: one of %s", name, strings.Join(Names(), ", "))
	}
	return faces[i].make(o), nil
}

func newAuto(o Options) Face {
	if o.Width != nil {
		return newTerm(o)
	}
	return newPlain(o, showStages)
}

// Tee returns a reporter that hands every event to each of rs, in order.
func Tee(rs ...Reporter) Reporter {
	return Func(func(e Event) {
		for _, r := range rs {
			r.Report(e)
		}
	})
}

// clean makes text from other programs safe to print on a terminal: no control
// characters, so no escape sequence either.
func clean(s string) string {
	s = strings.TrimRight(s, "\r\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case r < 0x20 || r >= 0x7f && r < 0xa0:
			return -1
		}
		return r
	}, s)
}

// amount renders n of unit: bytes with binary prefixes, everything else as a count.
func amount(n int64, unit string) string {
	if unit != "bytes" {
		if unit == "" {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("%d %s", n, unit)
	}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for ; v >= 1023.95 && i < 4; i++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
}

// duration renders d as a person would say it: "0.4s", "12s", "3m05s", "1h02m".
func duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}
