package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/build"
	"github.com/aitheros/aither-image/internal/compose"
	"github.com/aitheros/aither-image/internal/debian"
	"github.com/aitheros/aither-image/internal/disk"
	"github.com/aitheros/aither-image/internal/disk/fat"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/registry"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/vm"
)

// The exit codes, as docs/HACKING.md and the man page list them.
const (
	exitOK        = 0
	exitFailed    = 1
	exitUsage     = 2 // the command line or the blueprint is wrong
	exitNoFit     = 3 // something does not fit: a disk, a partition, the free space
	exitVerify    = 4 // what was read is not what was promised
	exitNetwork   = 5 // a registry or the way to it, or its credentials
	exitMissing   = 6 // a program or a privilege is missing
	exitInterrupt = 130
)

// exitRules map errors to codes; the first that matches decides.
var exitRules = []struct {
	is   func(error) bool
	code int
}{
	{is(context.Canceled), exitInterrupt},
	{isType[*usageError], exitUsage},
	{isType[blueprint.Problems], exitUsage},
	{isType[*build.UsageError], exitUsage},
	{is(vm.ErrOptions), exitUsage},
	{is(compose.ErrUsage), exitUsage},
	{isType[*registry.DigestError], exitVerify},
	{isType[*layer.AlteredError], exitVerify},
	{isType[*build.LintError], exitVerify},
	{is(debian.ErrVerify), exitVerify},
	{isType[*fat.FullError], exitNoFit},
	{isType[*plan.FitError], exitNoFit},
	{isType[*disk.FullError], exitNoFit},
	{isType[*disk.TooSmallError], exitNoFit},
	{is(syscall.ENOSPC), exitNoFit},
	{is(debian.ErrNetwork), exitNetwork},
	{is(registry.ErrNetwork), exitNetwork},
	{is(compose.ErrPrivilege), exitMissing},
	{is(tool.ErrMissing), exitMissing},
	{is(fs.ErrPermission), exitMissing},
}

func exitCode(err error) int {
	for _, r := range exitRules {
		if r.is(err) {
			return r.code
		}
	}
	var c interface{ ExitCode() int }
	if errors.As(err, &c) && c.ExitCode() > 0 {
		return c.ExitCode()
	}
	return exitFailed
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func isType[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// A usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage makes err a usage error and says where to look.
func usage(c *cobra.Command, err error) error {
	return &usageError{err: fmt.Errorf("%w\nhint: see %s --help", err, c.CommandPath())}
}

// A silentError ends the program with a code after the answer has said it all.
type silentError struct{ code int }

func (e *silentError) Error() string { return "" }

// ExitCode is the code.
func (e *silentError) ExitCode() int { return e.code }

// exactArgs wants the arguments that are named, in words that a person reads.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage(c, fmt.Errorf("%s is missing", names[len(args)]))
		case len(args) > len(names):
			return usage(c, fmt.Errorf("unexpected argument %q", args[len(names)]))
		}
		return nil
	}
}

// atLeastOne wants one argument or more.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage(c, fmt.Errorf("%s is missing", name))
		}
		return nil
	}
}

// noArgs also names the nearest verb, for the root command.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if c.HasSubCommands() {
		err := fmt.Errorf("unknown verb %q", args[0])
		if s := c.SuggestionsFor(args[0]); len(s) > 0 {
			return &usageError{err: fmt.Errorf("%w\nhint: did you mean %s?", err, s[0])}
		}
		return usage(c, err)
	}
	return usage(c, fmt.Errorf("unexpected argument %q", args[0]))
}
