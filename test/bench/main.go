// Command bench times the making of disks beside what other programs take for
// the same bytes, in one run, and prints speed and peak memory as ratios. It is
// no test: it fails only where a program fails, never on a number.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
)

// A config is what the command line says.
type config struct {
	program string // the aither-image under test
	layout  string // an OCI layout with one bootable image
	tag     string
	scratch string
	runs    int
	inflate string // set in the child that is the "inflate" peer
	pack    string // set in the child that recompresses the image: FOLDER of the result
	packing string
}

func main() {
	var c config
	flag.StringVar(&c.program, "aither-image", "build/bin/aither-image", "the program to time")
	flag.StringVar(&c.layout, "layout", "build/oci", "an OCI layout with a bootable image; built from the lab where it is missing")
	flag.StringVar(&c.tag, "tag", "", "the image's tag in the layout, where it holds several")
	flag.StringVar(&c.scratch, "scratch", ".cache/bench", "a folder for everything that is written; emptied at the end")
	flag.IntVar(&c.runs, "runs", 3, "runs of each step; the median counts")
	flag.StringVar(&c.inflate, "inflate", "", "inflate and hash the layers of this layout and end")
	flag.StringVar(&c.pack, "pack", "", "write the image with recompressed layers to this folder and end")
	flag.StringVar(&c.packing, "packing", "gzip", "how -pack compresses: gzip or zstd")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := bench(ctx, c)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, c config) (err error) {
	if c.inflate != "" {
		return inflateAll(ctx, c.inflate, runtime.GOMAXPROCS(0))
	}
	if c.pack != "" {
		return packLayout(ctx, c)
	}
	if c.program, err = filepath.Abs(c.program); err != nil {
		return err
	}
	scratch, err := filepath.Abs(c.scratch)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	if c.scratch, err = os.MkdirTemp(scratch, "run-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.scratch)) }()
	b, err := newBench(ctx, c)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d CPUs; image of %d layers, %.0f MiB compressed, %.0f MiB inflated; median of %d runs\n\n",
		runtime.GOARCH, runtime.NumCPU(), b.layers, mib(b.packed), mib(b.inflated), c.runs)
	results := b.measureAll(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	printTable(os.Stdout, results)
	printGoals(os.Stdout, results)
	for _, r := range results {
		if r.ours && r.err != nil {
			return fmt.Errorf("%s: %w", r.name, r.err)
		}
	}
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
