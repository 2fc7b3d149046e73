package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aitheros/aither-image/internal/tool"
)

// A step is one thing to time: programs that run one after another.
type step struct {
	name  string
	ours  bool
	needs []string // programs
	// speaks is a flag that the help of the first needed program has to show.
	speaks string
	root   bool
	// prepare runs before each run and is not timed; clean after it.
	prepare func() error
	argv    [][]string
	clean   func() error
}

// A result is the median of a step's runs.
type result struct {
	step
	wall time.Duration
	user time.Duration // CPU time of all cores, kernel included
	rss  int64         // peak memory of the largest process, in bytes
	skip string        // why it was not run
	err  error
}

// measure runs s as often as asked. A program that is missing is a skip; one
// that fails is an error of the result.
func measure(ctx context.Context, s step, runs int) result {
	r := result{step: s}
	if s.root && os.Geteuid() != 0 {
		r.skip = "needs root"
		return r
	}
	for _, n := range s.needs {
		if _, err := tool.Look(n); err != nil {
			r.skip = n + " is not installed"
			return r
		}
	}
	if s.speaks != "" {
		help, err := tool.Run(ctx, s.needs[0], "--help")
		if err != nil || !bytes.Contains(help, []byte(s.speaks)) {
			r.skip = "this " + s.needs[0] + " has no " + s.speaks
			return r
		}
	}
	var walls, users []time.Duration
	for range runs {
		wall, user, rss, err := runOnce(ctx, s)
		if err != nil {
			r.err = err
			return r
		}
		walls, users, r.rss = append(walls, wall), append(users, user), max(r.rss, rss)
	}
	slices.Sort(walls)
	slices.Sort(users)
	r.wall, r.user = walls[len(walls)/2], users[len(users)/2]
	return r
}

func runOnce(ctx context.Context, s step) (wall, user time.Duration, rss int64, err error) {
	if s.prepare != nil {
		if err := s.prepare(); err != nil {
			return 0, 0, 0, fmt.Errorf("preparing: %w", err)
		}
	}
	// What an earlier step left to be written is not this step's work.
	syscall.Sync()
	begin := time.Now()
	for _, argv := range s.argv {
		u, m, e := command(ctx, argv)
		user, rss = user+u, max(rss, m)
		if err = e; err != nil {
			break
		}
	}
	wall = time.Since(begin)
	if s.clean != nil {
		err = errors.Join(err, s.clean())
	}
	return wall, user, rss, err
}

// command runs one program and returns what wait4(2) says of it.
func command(ctx context.Context, argv []string) (cpu time.Duration, rss int64, err error) {
	path, err := tool.Look(argv[0])
	if err != nil {
		return 0, 0, err
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("running %s: %w: %s", tool.Quote(argv), err, lastLines(errs.String(), 5))
	}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		rss = ru.Maxrss << 10 // getrusage(2): kilobytes
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), rss, nil
}

func lastLines(s string, n int) string {
	ls := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(ls[max(0, len(ls)-n):], "; ")
}
