package vm

import (
	"io"
	"regexp"
	"strings"
	"sync"
)

// A trouble is something a console says when a boot has gone wrong.
type trouble struct {
	Text string // the console's line
	What string // what it means
	// Crash marks troubles that an emulator may cause in a sound guest: they are worth another attempt.
	Crash bool
}

// troubles are searched in every line of the console, after colours are taken out.
var troubles = []struct {
	re    *regexp.Regexp
	what  string
	crash bool
}{
	{regexp.MustCompile(`Kernel panic - not syncing: VFS: Unable to mount root fs`), "the root file system could not be mounted", false},
	{regexp.MustCompile(`Kernel panic - not syncing`), "kernel panic", true},
	{regexp.MustCompile(`BUG: unable to handle|BUG: kernel NULL pointer|kernel BUG at `), "kernel bug", true},
	{regexp.MustCompile(`\b(Oops|general protection fault.*|invalid opcode|double fault|int3): [0-9a-f]{4}\b`), "kernel oops", true},
	{regexp.MustCompile(`Internal error: Oops`), "kernel oops", true},
	{regexp.MustCompile(`systemd\[1\]: (Caught <|Freezing execution)`), "systemd has crashed", true},
	{regexp.MustCompile(`KVM internal error|!!!! X64 Exception Type`), "the processor has stopped", true},
	{regexp.MustCompile(`You are in [Ee]mergency [Mm]ode|Entering [Ee]mergency [Mm]ode|Reached target (\S+ - )?Emergency Mode`), "emergency mode", false},
	{regexp.MustCompile(`Cannot open access to console, the root account is locked`), "emergency mode with a locked root account", false},
	{regexp.MustCompile(`dracut-initqueue.*(timeout - starting timeout scripts|[Cc]ould not boot)`), "the root device was not found", false},
	{regexp.MustCompile(`ostree-prepare-root(\[\d+\])?: (error|.*[Ff]ailed)|Failed to start ostree-prepare-root`), "ostree-prepare-root failed", false},
	{regexp.MustCompile(`Failed to mount (sysroot\.mount|/sysroot)`), "the root file system could not be mounted", false},
	{regexp.MustCompile(`^error: .*(no such (device|partition)|file .* not found|unknown filesystem|can't find command)|^grub rescue>`), "GRUB cannot go on", false},
	{regexp.MustCompile(`No bootable (device|option)|Boot failed: not a bootable disk`), "the firmware finds nothing to boot", false},
}

// harmless marks lines that only quote such words.
var harmless = regexp.MustCompile(`audit: |[Cc]ommand line: `)

// escapes matches terminal control sequences (ECMA-48 CSI and OSC, two-byte ones).
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[()#][0-9A-B]|\x1b[=>@-Z\\^_]`)

// plain is a console line without colours and control characters.
func plain(line []byte) string {
	s := escapes.ReplaceAllString(strings.ToValidUTF8(string(line), ""), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return -1
		}
		return r
	}, s)
}

// findTrouble looks for trouble in one plain line.
func findTrouble(line string) (trouble, bool) {
	if harmless.MatchString(line) {
		return trouble{}, false
	}
	for _, t := range troubles {
		if t.re.MatchString(line) {
			return trouble{Text: short(line, 300), What: t.what, Crash: t.crash}, true
		}
	}
	return trouble{}, false
}

func short(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// scanLimit is how much of a line is searched: what a boot says of trouble is
// short, and a guest must not be able to keep the host busy with long lines.
const scanLimit = 4 << 10

// tailLines is how much of the console is kept in memory, for error texts.
const tailLines = 200

// logLimit bounds the file that keeps the console: a guest can print for ever.
const logLimit = 64 << 20

// A console follows the guest's first serial port.
type console struct {
	first chan trouble

	log     io.Writer // nil: not kept, or no longer
	written int64

	mu   sync.Mutex
	tail []string
}

func newConsole(log io.Writer) *console {
	return &console{log: log, first: make(chan trouble, 1)}
}

// follow reads r until it ends.
func (c *console) follow(r io.Reader) error {
	return readLines(io.TeeReader(r, (*consoleLog)(c)), func(line []byte, _ bool) bool {
		text := strings.TrimRight(plain(line[:min(len(line), scanLimit)]), " ")
		c.mu.Lock()
		c.tail = append(c.tail, short(text, 500))
		if len(c.tail) > 2*tailLines {
			c.tail = append(c.tail[:0], c.tail[tailLines:]...)
		}
		c.mu.Unlock()
		if t, ok := findTrouble(text); ok {
			select {
			case c.first <- t:
			default: // only the first matters: the rest follows from it
			}
		}
		return true
	})
}

// Tail returns the last lines that the console said, oldest first.
func (c *console) Tail() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.tail[max(0, len(c.tail)-tailLines):]...)
}

// consoleLog writes what passes to the console's log, up to its limit. A log
// that cannot be written does not end the machine.
type consoleLog console

func (l *consoleLog) Write(p []byte) (int, error) {
	if room := logLimit - l.written; l.log != nil && room > 0 {
		n, err := l.log.Write(p[:min(int64(len(p)), room)])
		l.written += int64(n)
		if err != nil {
			l.log = nil
		}
	}
	return len(p), nil
}
