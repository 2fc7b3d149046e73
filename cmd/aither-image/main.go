// Command aither-image makes a flashable machine out of one blueprint: it
// composes a bootable container image and writes it as disk images. What it
// refuses, it refuses before it writes anything.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aitheros/aither-image/internal/compose"
)

// version is set by the linker.
var version = "unknown"

func main() {
	// compose starts this program again for its work; see internal/compose.
	if compose.Init() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Environ(), now: time.Now}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
