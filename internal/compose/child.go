package compose

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containers/buildah"
	"github.com/containers/storage/pkg/unshare"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/registry"
)

// childArg is the only argument of the program when it is its own child.
const childArg = "--aither-compose-child"

// nsEnv marks the process that has its own mount namespace already.
const nsEnv = "AITHER_COMPOSE_NAMESPACE"

// A job is what the parent asks of the child: the first line of its input. The
// input then stays open for as long as the parent wants the job done.
type job struct {
	Work        string      `json:"work"`
	Arch        string      `json:"arch"`
	Epoch       int64       `json:"epoch"`
	Isolation   Isolation   `json:"isolation"`
	Compression Compression `json:"compression"`
	NoCache     bool        `json:"noCache,omitempty"`
	Secrets     []Secret    `json:"secrets,omitempty"`
	// Stage is the Containerfile to run; ContainerfilePath its snapshot.
	Stage     *stage `json:"stage,omitempty"`
	Instructs string `json:"containerfile,omitempty"`
	// Fetch is a containers-storage: reference to copy to the pool.
	Fetch string `json:"fetch,omitempty"`
	// Clean asks for the store to be removed.
	Clean bool `json:"clean,omitempty"`
}

// A reply is one line of the child's output.
type reply struct {
	Event    *progress.Event `json:"event,omitempty"`
	Error    string          `json:"error,omitempty"`
	Class    string          `json:"class,omitempty"`
	Manifest *v1.Descriptor  `json:"manifest,omitempty"`
	Record   *record         `json:"record,omitempty"`
	Done     bool            `json:"done,omitempty"`
}

// The classes of errors that survive the way to the parent.
var classes = map[string]error{"privilege": ErrPrivilege, "network": ErrNetwork, "usage": ErrUsage}

// Init must be called first in main, and first in every TestMain of a test
// that reaches [Build]: buildah and this package run their parts as children of
// the program, by running it again. When it returns true the process was such
// a child, its work is done, and main must return at once.
func Init() bool {
	if buildah.InitReexec() {
		return true
	}
	if len(os.Args) != 2 || os.Args[1] != childArg {
		return false
	}
	if os.Getenv(nsEnv) == "" {
		enterNamespace()
		return true
	}
	childMain()
	return true
}

// enterNamespace runs the program once more in its own mount namespace and, for
// an ordinary user, in a user namespace with all subordinate ids: mounts vanish
// with the process whatever ends it.
func enterNamespace() {
	setpgid := syscall.Setpgid(0, 0) // terminal signals are the parent's business
	out := &replies{w: os.Stdout}
	if err := os.Setenv(nsEnv, "1"); err != nil || setpgid != nil {
		out.fail(errors.Join(err, setpgid))
		return
	}
	cmd := unshare.Command(os.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.UnshareFlags = syscall.CLONE_NEWNS
	if os.Geteuid() != 0 || !hasSysAdmin() {
		uids, gids, err := idMappings()
		if err != nil {
			out.fail(err)
			return
		}
		cmd.UnshareFlags |= syscall.CLONE_NEWUSER
		cmd.UidMappings, cmd.GidMappings = uids, gids
		cmd.UseNewuidmap, cmd.UseNewgidmap = os.Geteuid() != 0, os.Geteuid() != 0
		cmd.GidMappingsEnableSetgroups = true
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		out.fail(fmt.Errorf("entering a user namespace: %w: %w\nhint: does the machine allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)?", err, ErrPrivilege))
		return
	}
	// The child says by itself what went wrong.
	_ = cmd.Wait()
}

// childMain does the job inside the namespaces.
func childMain() {
	out := &replies{w: os.Stdout}
	in := bufio.NewReaderSize(os.Stdin, 1<<16)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return // the parent is gone already
	}
	var j job
	if err := json.Unmarshal(line, &j); err != nil {
		out.fail(fmt.Errorf("internal error: reading the job: %w", err))
		return
	}
	// What RUN leaves behind must not outlive the build.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	ctx, cancel := context.WithCancel(progress.With(context.Background(), out))
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
		select {
		case <-done:
		case <-time.After(2 * time.Second):
			killAll() // a RUN instruction does not listen to contexts
		}
	}()
	logrus.SetOutput(logLines(out, progress.Warn))
	logrus.SetFormatter(bareMessage{})
	logrus.SetLevel(logrus.WarnLevel)
	unix.Umask(0o022)
	rep, err := j.run(ctx)
	close(done)
	reapAll()
	if err != nil {
		out.fail(err)
		return
	}
	rep.Done = true
	out.send(*rep)
}

func (j *job) run(ctx context.Context) (*reply, error) {
	w, err := openWorkdir(j.Work)
	if err != nil {
		return nil, err
	}
	switch {
	case j.Clean:
		return &reply{}, w.removeStore()
	case j.Fetch != "":
		res, err := registry.FetchStorage(ctx, j.Fetch, w.pool, registry.Options{Arch: j.Arch})
		return &reply{Manifest: &res.Manifest}, err
	}
	s, err := openStore(j, w)
	if err != nil {
		return nil, err
	}
	rec, err := s.containerfile(ctx)
	return &reply{Record: rec}, errors.Join(err, s.close())
}

// replies writes lines to the parent.
type replies struct {
	mu sync.Mutex
	w  io.Writer
}

func (r *replies) send(m reply) {
	b, err := json.Marshal(m)
	if err != nil {
		b = []byte(`{"error":"internal error: a reply that cannot be written"}`)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.w.Write(append(b, '\n'))
}

// Report implements progress.Reporter.
func (r *replies) Report(e progress.Event) { r.send(reply{Event: &e}) }

func (r *replies) fail(err error) {
	m := reply{Error: err.Error()}
	for c, sentinel := range classes {
		if errors.Is(err, sentinel) {
			m.Class = c
		}
	}
	r.send(m)
}

// bareMessage prints of a log entry what it says and nothing else.
type bareMessage struct{}

// Format implements logrus.Formatter.
func (bareMessage) Format(e *logrus.Entry) ([]byte, error) { return []byte(e.Message + "\n"), nil }

// logLines makes events of the lines that are written to it.
func logLines(r progress.Reporter, k progress.Kind) io.Writer { return &lineWriter{r: r, kind: k} }

type lineWriter struct {
	mu   sync.Mutex
	r    progress.Reporter
	kind progress.Kind
	rest []byte
}

// maxLine is where a line without an end is cut.
const maxLine = 16 << 10

func (l *lineWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		i := slices.IndexFunc(l.rest, func(c byte) bool { return c == '\n' || c == '\r' })
		if i < 0 && len(l.rest) > maxLine {
			i = maxLine
		}
		if i < 0 {
			return len(b), nil
		}
		if t := strings.TrimRight(string(l.rest[:i]), "\r\n "); t != "" {
			l.r.Report(progress.Event{Stage: stageName, Kind: l.kind, Text: t})
		}
		l.rest = l.rest[min(i+1, len(l.rest)):]
	}
}
