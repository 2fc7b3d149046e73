package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aitheros/aither-image/internal/tool"
)

// A Machine is a running guest.
type Machine struct {
	// Argv is the emulator's command line.
	Argv []string
	// SSHPort is the port of 127.0.0.1 that leads to the guest's port 22; 0 without network.
	SSHPort int
	// Method is how the processors run: "kvm", "tcg" or "tcg-single".
	Method string

	board   board
	cmd     *exec.Cmd
	stderr  capped
	qmp     *qmp
	console *console
	check   net.Conn // nil without CheckPort
	conns   []net.Conn
	log     *os.File // nil without SerialLog

	ended   chan struct{} // closed when the emulator has ended
	waitErr error         // valid then
	reading sync.WaitGroup
	closing sync.Once
}

// startLimit bounds the time from starting the emulator to its answer on QMP.
const startLimit = time.Minute

// Start starts a machine. The caller must Close it.
func Start(ctx context.Context, o Options) (*Machine, error) {
	o.defaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Accel == "" {
		o.Accel = Probe(ctx, o.Arch).Accel()
	}
	return start(ctx, o, methods(o.Accel)[0])
}

func start(ctx context.Context, o Options, how method) (*Machine, error) {
	b, err := prepare(ctx, o, how)
	if err != nil {
		return nil, err
	}
	m := &Machine{Argv: argv(o, b), SSHPort: b.SSHPort, Method: how.Name, board: b, ended: make(chan struct{})}
	if err := m.launch(ctx, o); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// launch starts the emulator, connects its sockets and lets the guest run.
func (m *Machine) launch(ctx context.Context, o Options) error {
	if err := m.openLog(o); err != nil {
		close(m.ended)
		return err
	}
	m.cmd = exec.Command(m.Argv[0], m.Argv[1:]...)
	// QEMU keeps the overlays of snapshot=on in TMPDIR: ours is removed at the end.
	m.cmd.Env = append(os.Environ(), "LC_ALL=C", "TMPDIR="+m.board.Dir)
	m.cmd.Stderr = &m.stderr
	if o.Console == Terminal {
		m.cmd.Stdin, m.cmd.Stdout, m.cmd.Stderr = os.Stdin, os.Stdout, io.MultiWriter(os.Stderr, &m.stderr)
	}
	// An emulator must not outlive a program that was killed.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go m.tend(started)
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", tool.Quote(m.Argv), err)
	}
	if err := m.connect(ctx, o); err != nil {
		return m.explain(err)
	}
	return nil
}

// tend starts the emulator and waits for its end on one thread of its own: the
// kernel sends the death signal when the thread that started it ends
// (prctl(2), PR_SET_PDEATHSIG).
func (m *Machine) tend(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(m.ended)
	err := m.cmd.Start()
	started <- err
	if err == nil {
		m.waitErr = m.cmd.Wait()
	}
}

func (m *Machine) openLog(o Options) (err error) {
	if o.SerialLog == "" || o.Console == Terminal {
		return nil
	}
	// The log is evidence of a running machine, so it is not an atomic file.
	m.log, err = os.OpenFile(o.SerialLog, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the console's log: %w", err)
	}
	return nil
}

func (m *Machine) connect(ctx context.Context, o Options) error {
	limit, stop := context.WithTimeout(ctx, startLimit)
	defer stop()
	ctl, err := m.dial(limit, "qmp")
	if err != nil {
		return err
	}
	if m.qmp, err = newQMP(limit, ctl); err != nil {
		return err
	}
	if o.Console == Scanned {
		con, err := m.dial(limit, "console")
		if err != nil {
			return err
		}
		var log io.Writer
		if m.log != nil {
			log = m.log
		}
		m.console = newConsole(log)
		m.reading.Go(func() { _ = m.console.follow(con) })
	}
	if o.CheckPort {
		if m.check, err = m.dial(limit, "check"); err != nil {
			return err
		}
	}
	_, err = m.qmp.call(limit, "cont", nil)
	return err
}

// dial connects to one of the emulator's sockets as soon as it exists.
func (m *Machine) dial(ctx context.Context, name string) (net.Conn, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("unix", m.board.socket(name))
		if err == nil {
			m.conns = append(m.conns, c)
			return c, nil
		}
		select {
		case <-m.ended:
			return nil, errors.New("the emulator has ended at once")
		case <-ctx.Done():
			return nil, fmt.Errorf("connecting to the emulator's %s socket: %w", name, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// explain adds the command line and what the emulator said to an error.
func (m *Machine) explain(err error) error {
	var ended error
	select {
	case <-m.ended:
		ended = m.waitErr
	case <-time.After(200 * time.Millisecond): // an emulator that is just ending
	}
	said := m.stderr.String()
	failed := &tool.Error{Argv: m.Argv, Stderr: said, Err: errors.Join(err, ended)}
	for words, hint := range excuses {
		if strings.Contains(said, words) {
			return &UserError{Err: failed, Hint: hint}
		}
	}
	return failed
}

// excuses are what to do about the emulator's commonest refusals.
var excuses = map[string]string{
	"network backend 'user' is not":    "this emulator was built without user networking (EL10): boot without network",
	"Failed to get \"write\" lock":     "another machine keeps its changes in this disk: end it first",
	"Cannot set up guest memory":       "give the machine less memory",
	"cannot set up guest memory":       "give the machine less memory",
	"No space left on device":          "free some space, or set TMPDIR to a folder with room",
	"Could not set up host forwarding": "use another ssh port",
}

// Powerdown presses the guest's power button.
func (m *Machine) Powerdown(ctx context.Context) error {
	_, err := m.qmp.call(ctx, "system_powerdown", nil)
	return err
}

// Quit ends the emulator at once, as if the power was cut, and waits for its end.
func (m *Machine) Quit(ctx context.Context) error {
	_, err := m.qmp.call(ctx, "quit", nil)
	select {
	case <-m.ended:
		return nil
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}

// Done is closed when the emulator has ended.
func (m *Machine) Done() <-chan struct{} { return m.ended }

// Wait waits for the emulator's end. A guest that powers off ends it without error.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.waitErr != nil {
		return &tool.Error{Argv: m.Argv, Stderr: m.stderr.String(), Err: m.waitErr}
	}
	return nil
}

// ConsoleTail returns the console's last lines, oldest first; nil with Terminal.
func (m *Machine) ConsoleTail() []string {
	if m.console == nil {
		return nil
	}
	return m.console.Tail()
}

// Close ends the machine if it still runs and removes everything that it used.
func (m *Machine) Close() (err error) {
	m.closing.Do(func() {
		if m.cmd != nil && m.cmd.Process != nil {
			_ = m.cmd.Process.Kill()
		}
		<-m.ended
		for _, c := range m.conns {
			_ = c.Close() // readers have read what there was: the peer is gone
		}
		m.reading.Wait()
		if m.log != nil {
			err = m.log.Close()
		}
		err = errors.Join(err, os.RemoveAll(m.board.Dir))
	})
	return err
}
