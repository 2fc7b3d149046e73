package vm

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Test boots an image and waits for its own check unit's verdict. A guest that
// crashes or hangs is tried again (see methods). The error is about the host;
// what the guest did is in the Verdict, of which an error leaves what there is.
func Test(ctx context.Context, o Options) (*Verdict, error) {
	o.defaults()
	o.CheckPort, o.Console = true, Scanned
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Accel == "" {
		caps := Probe(ctx, o.Arch)
		o.Accel = caps.Accel()
		o.Log(fmt.Sprintf("accelerator %s: %s", o.Accel, caps.KVMText))
	}
	v := &Verdict{SerialLog: o.SerialLog}
	for _, how := range methods(o.Accel) {
		o.Log("starting the machine with " + how.Name)
		a, again, err := attempt(ctx, o, how, v)
		if err != nil {
			return v, err
		}
		v.Attempts = append(v.Attempts, a)
		if !again {
			return v, nil
		}
		o.Log("the machine did not get through: " + v.Reason)
	}
	return v, nil
}

// timeout is the time that one attempt has.
func timeout(o Options, how method) time.Duration {
	switch {
	case o.Timeout > 0:
		return o.Timeout
	case how.Name == methodKVM.Name:
		return 5 * time.Minute
	}
	return 20 * time.Minute
}

// attempt starts the machine once and fills v; again tells whether another
// attempt is worth it.
func attempt(ctx context.Context, o Options, how method, v *Verdict) (a Attempt, again bool, err error) {
	begin := o.Now()
	m, err := start(ctx, o, how)
	if err != nil {
		return a, false, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	limit, stop := context.WithTimeout(ctx, timeout(o, how))
	defer stop()

	end := m.watch(limit, o)
	after := context.WithoutCancel(ctx) // evidence is kept of a cancelled test, too
	if m.look(after, o) {
		v.Screenshot = o.Screenshot
	}
	m.finish(after, o)
	v.Pass, v.Reason = end.judge()
	v.Checks, v.Method, v.Argv, v.Console = end.report.Checks, how.Name, m.Argv, m.ConsoleTail()
	v.Duration, v.Noise = o.Now().Sub(begin), end.report.Noise
	a = Attempt{Method: how.Name, Duration: v.Duration}
	if err := ctx.Err(); err != nil && end.report.Verdict == "" {
		return a, false, fmt.Errorf("testing %s: %w", o.Disk.Path, err)
	}
	if end.report.Verdict == "" {
		a.Reason = v.Reason
	}
	return a, end.again, nil
}

// lookEvery is how often the screenshot is renewed while Test waits: a guest
// without a serial console shows nothing else of where it is.
const lookEvery = 20 * time.Second

// look renews the screenshot and tells whether there is one. It is evidence
// only: the verdict stands without it.
func (m *Machine) look(ctx context.Context, o Options) bool {
	if o.Screenshot == "" {
		return false
	}
	limit, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	if err := m.Screenshot(limit, o.Screenshot); err != nil {
		o.Log("no screenshot: " + err.Error())
		return false
	}
	return true
}

// finish ends the machine: orderly where the guest's writes are kept.
func (m *Machine) finish(ctx context.Context, o Options) {
	if o.Disk.Changes == Keep {
		limit, stop := context.WithTimeout(ctx, 2*time.Minute)
		defer stop()
		if m.Powerdown(limit) == nil && m.Wait(limit) == nil {
			return
		}
	}
	limit, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	_ = m.Quit(limit) // Close kills what does not quit
}

// An ending is how an attempt came to its end.
type ending struct {
	report report
	reason string // why there is no verdict
	again  bool   // another attempt may come to one
}

func (e ending) judge() (bool, string) {
	if e.report.Verdict == "" {
		return false, e.reason
	}
	return e.report.judge()
}

// watch waits for the verdict, or for a sign that none will come.
func (m *Machine) watch(ctx context.Context, o Options) ending {
	reports := make(chan report, 1)
	m.reading.Go(func() {
		reports <- readReport(m.check, func(c Check) {
			o.Log(fmt.Sprintf("check %s: ok=%t %s", c.Name, c.OK, short(c.Detail, 200)))
		})
	})
	resets := 0
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			m.look(ctx, o)
		case r := <-reports:
			return m.reported(ctx, r)
		case t := <-m.console.first:
			return m.late(ctx, o.settle, reports, ending{reason: fmt.Sprintf("%s: %s", t.What, t.Text), again: t.Crash})
		case ev := <-m.qmp.events:
			if ev.Name == "RESET" && ev.Data["guest"] == true {
				resets++
			}
			if why, again := fatal(ev, resets, o.MaxResets); why != "" {
				return m.late(ctx, o.settle, reports, ending{reason: why, again: again})
			}
		case <-m.ended:
			return m.late(ctx, o.settle, reports, ending{reason: "the machine ended before the guest gave its verdict", again: m.waitErr != nil})
		case <-ctx.Done():
			return ending{reason: "no verdict in time: the guest hangs, is too slow, or has no check unit", again: true}
		}
	}
}

// reported is the end of the check port: with a verdict, or because the emulator is gone.
func (m *Machine) reported(ctx context.Context, r report) ending {
	if r.Verdict != "" {
		return ending{report: r}
	}
	if r.Problem != "" {
		return ending{report: r, reason: r.Problem}
	}
	select {
	case <-m.ended:
	case <-ctx.Done():
	}
	return ending{report: r, reason: "the machine ended before the guest gave its verdict", again: m.waitErr != nil}
}

// late gives a verdict that is already under way its chance, and the console
// time for its backtrace.
func (m *Machine) late(ctx context.Context, settle time.Duration, reports chan report, e ending) ending {
	wait := time.NewTimer(settle)
	defer wait.Stop()
	select {
	case r := <-reports:
		e.report.Checks = r.Checks
		if r.Verdict != "" {
			return ending{report: r}
		}
	case <-wait.C:
	case <-ctx.Done():
	}
	return e
}

// fatal tells whether an event of the emulator ends an attempt, and why.
func fatal(ev event, resets, maxResets int) (reason string, again bool) {
	switch {
	case ev.Name == "GUEST_PANICKED":
		return "the guest's kernel reported a panic", true
	case ev.Name == "STOP":
		return "the emulator stopped the guest", true
	case resets > maxResets:
		return fmt.Sprintf("the guest has reset %d times", resets), true
	}
	return "", false
}
