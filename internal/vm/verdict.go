package vm

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// CheckPortName is the virtio-serial port on which the image's check unit
// reports: in the guest /dev/virtio-ports/org.aitheros.check. It takes JSON
// Lines: {"check":"root-grown","ok":true,"detail":"19.8 GiB"} for each check,
// and {"verdict":"pass"} or {"verdict":"fail"} as the last line.
const CheckPortName = "org.aitheros.check"

// A Check is one statement of the guest about itself.
type Check struct {
	Name   string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// An Attempt is one start of the machine.
type Attempt struct {
	Method   string        `json:"method"` // "kvm", "tcg" or "tcg-single"
	Duration time.Duration `json:"duration_ns"`
	Reason   string        `json:"reason,omitempty"` // why it did not end with the guest's verdict
}

// A Verdict is what a test of an image came to.
type Verdict struct {
	Pass     bool          `json:"pass"`
	Reason   string        `json:"reason,omitempty"` // why it did not pass
	Checks   []Check       `json:"checks"`           // of the last attempt, in the guest's order
	Noise    int           `json:"noise,omitempty"`  // lines on the check port that were not of its protocol
	Duration time.Duration `json:"duration_ns"`      // of the last attempt
	Method   string        `json:"method"`           // of the last attempt
	Attempts []Attempt     `json:"attempts"`
	// Console is the tail of the last attempt's console, oldest line first.
	Console []string `json:"console,omitempty"`
	// Screenshot and SerialLog are the files kept; empty if there are none.
	Screenshot string `json:"screenshot,omitempty"`
	SerialLog  string `json:"serial_log,omitempty"`
	// Argv is the last attempt's command line.
	Argv []string `json:"argv"`
}

// Failed returns the checks that are not ok.
func (v *Verdict) Failed() []Check {
	var bad []Check
	for _, c := range v.Checks {
		if !c.OK {
			bad = append(bad, c)
		}
	}
	return bad
}

// maxChecks bounds what a guest may report.
const maxChecks = 1000

// A report is what the check port said in one attempt.
type report struct {
	Checks  []Check
	Verdict string // "pass", "fail", or "" when the port ended without one
	Problem string // what was wrong with the protocol; it makes a pass a failure
	Noise   int    // lines that were not of the protocol
}

// readReport reads the check port until the verdict or its end. Lines that are
// not of the protocol are counted; one too long to be read might have been a
// failed check, so it is a problem.
func readReport(r io.Reader, each func(Check)) report {
	var rep report
	_ = readLines(r, func(line []byte, cut bool) bool {
		var m struct {
			Check   string          `json:"check"`
			OK      *bool           `json:"ok"`
			Detail  json.RawMessage `json:"detail"`
			Verdict string          `json:"verdict"`
		}
		switch {
		case strings.TrimSpace(string(line)) == "":
		case cut:
			rep.Problem = fmt.Sprintf("a line on the check port is longer than %d bytes", lineLimit)
		case json.Unmarshal(line, &m) != nil:
			rep.Noise++
		case m.Verdict == "pass" || m.Verdict == "fail":
			rep.Verdict = m.Verdict
		case m.Check == "" || m.OK == nil:
			rep.Noise++
		case len(rep.Checks) >= maxChecks:
			rep.Problem = fmt.Sprintf("the guest reported more than %d checks", maxChecks)
			return false
		default:
			c := Check{Name: short(plain([]byte(m.Check)), 200), OK: *m.OK, Detail: detail(m.Detail)}
			rep.Checks = append(rep.Checks, c)
			each(c)
		}
		return rep.Verdict == ""
	})
	return rep
}

// detail is the text of a detail, which may be any JSON value.
func detail(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		s = string(raw)
	}
	return short(plain([]byte(s)), 2000)
}

// judge turns a report with a verdict into pass or fail. A guest that says
// pass in spite of a failed check, or without one check, is not believed.
func (r report) judge() (pass bool, reason string) {
	var failed []string
	for _, c := range r.Checks {
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	switch {
	case len(failed) > 0:
		return false, "failed checks: " + short(strings.Join(failed, ", "), 500)
	case r.Verdict == "fail":
		return false, "the guest's verdict is fail, without a failed check"
	case r.Problem != "":
		return false, r.Problem
	case len(r.Checks) == 0:
		return false, "the guest's verdict is pass, but it checked nothing"
	}
	return true, ""
}
