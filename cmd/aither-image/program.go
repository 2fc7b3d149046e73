package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/aitheros/aither-image/internal/progress"
)

// A program is the command line with everything it may touch.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            []string // of "NAME=value"
	now            func() time.Time

	global globalFlags
}

// envPrefix is put before a flag's name in capitals, dashes as underscores.
const envPrefix = "AITHER_IMAGE_"

// globalFlags are understood by every verb.
type globalFlags struct {
	progress string
	logLevel string
	json     bool
	trace    string
}

func (g *globalFlags) register(f *pflag.FlagSet) {
	f.StringVar(&g.progress, "progress", "auto", "how to tell what goes on: "+strings.Join(progress.Names(), ", "))
	f.StringVar(&g.logLevel, "log-level", "info", "least weight of what is told: debug, info, warn, error")
	f.BoolVar(&g.json, "json", false, "print the answer as JSON")
	f.StringVar(&g.trace, "trace", "", "write a trace of the stages to `FILE` (Chrome trace format)")
}

// run parses args, does what they say and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.command()
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted: %w", context.Canceled)
	}
	code := exitCode(err)
	if text := err.Error(); text != "" {
		if code == exitMissing && !strings.Contains(text, "hint: ") {
			text += "\nhint: aither-image doctor tells what is missing and how to get it"
		}
		_, _ = fmt.Fprintln(p.stderr, "aither-image: "+text)
	}
	return code
}

// The groups of verbs, in the order in which help prints them.
const (
	groupWrite = "write"
	groupLook  = "look"
	groupHost  = "host"
)

// command makes the tree of verbs.
func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "aither-image",
		Short: "One blueprint to a flashable machine",
		Long: `aither-image composes a bootable container (bootc) operating system out of one
blueprint and writes it as disk images, without root, loop devices or mounts.`,
		Example: `  aither-image build --type raw,qcow2 lab    the built-in lab machine, into build/
  aither-image vm run build/qcow2/disk.qcow2 boot it
  aither-image init > my.toml                start a blueprint of your own`,
		Version:           version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		Args:              noArgs,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return p.setFromEnv(c.Flags()) },
	}
	root.SuggestionsMinimumDistance = 2
	root.AddGroup(&cobra.Group{ID: groupWrite, Title: "Blueprint to image:"},
		&cobra.Group{ID: groupLook, Title: "Look and try:"},
		&cobra.Group{ID: groupHost, Title: "This machine and this program:"})
	p.global.register(root.PersistentFlags())
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	root.SetHelpCommandGroupID(groupHost)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetVersionTemplate("aither-image {{.Version}}\n")
	for _, v := range verbs {
		root.AddCommand(v(p))
	}
	return root
}

// verbs make the verbs, in the order help prints them within their group.
var verbs = []func(*program) *cobra.Command{
	(*program).initCommand, (*program).validateCommand, (*program).planCommand, (*program).buildCommand, (*program).manifestCommand,
	(*program).inspectCommand, (*program).lintCommand, (*program).vmCommand,
	(*program).doctorCommand, (*program).schemaCommand, (*program).versionCommand, (*program).completionCommand, (*program).manCommand,
}

// getenv returns the value of name, which may be empty.
func (p *program) getenv(name string) string {
	v, _ := p.lookupenv(name)
	return v
}

// lookupenv returns the last value of name, as the C library's getenv does not
// but every shell makes sure of.
func (p *program) lookupenv(name string) (string, bool) {
	for _, kv := range slices.Backward(p.env) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// setFromEnv gives every flag that was not given its value from the environment.
func (p *program) setFromEnv(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		v, ok := p.lookupenv(name)
		if !ok || f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		if err := flags.Set(f.Name, v); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s=%q: %w", name, v, err))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return &usageError{err: err}
	}
	return nil
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// story starts telling what goes on. The returned context carries the reporter;
// end must be called before anything else is written to stderr.
func (p *program) story(ctx context.Context) (_ context.Context, end func() error, err error) {
	o := progress.Options{Out: p.stderr, Now: p.now}
	_, o.NoColor = p.lookupenv("NO_COLOR")
	if f, ok := p.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) && p.getenv("TERM") != "dumb" {
		o.Width = func() int {
			w, _, err := term.GetSize(int(f.Fd()))
			if err != nil || w <= 0 {
				return 80
			}
			return w
		}
	}
	face, err := progress.New(p.global.progress, o)
	if err != nil {
		return ctx, nil, &usageError{err: err}
	}
	least, err := level(p.global.logLevel)
	if err != nil {
		return ctx, nil, err
	}
	var r progress.Reporter = progress.Func(func(e progress.Event) {
		if weight(e.Kind) >= least {
			face.Report(e)
		}
	})
	if p.global.trace == "" {
		return progress.With(ctx, r), face.Close, nil
	}
	trace := progress.NewTrace(p.now)
	end = func() error {
		return errors.Join(face.Close(), writeFile(p.global.trace, trace.Write))
	}
	return progress.With(ctx, progress.Tee(r, trace)), end, nil
}

// The weights of events, as --log-level names them.
var levels = []string{"debug", "info", "warn", "error"}

func level(name string) (int, error) {
	i := slices.Index(levels, name)
	if i < 0 {
		return 0, &usageError{err: fmt.Errorf("unknown log level %q\nhint: one of %s", name, strings.Join(levels, ", "))}
	}
	return i, nil
}

// weight places a kind of event among levels. What a face hides or shows beyond
// that is its own choice, so that "info" loses nothing.
func weight(k progress.Kind) int {
	if k == progress.Warn {
		return 2
	}
	return 1
}
