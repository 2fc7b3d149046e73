package main

import (
	"fmt"
	"io"
	"time"
)

// base is the step that every other one is compared with.
const base = "inflate + sha256 of the gzip layers, a core each"

func printTable(w io.Writer, rs []result) {
	bound := find(rs, base)
	fmt.Fprintf(w, "%-58s %9s %9s %9s %8s\n", "", "seconds", "CPU s", "peak MiB", "ratio")
	for _, r := range rs {
		mark := " "
		if r.ours {
			mark = "*"
		}
		switch {
		case r.skip != "":
			fmt.Fprintf(w, "%s %-56s skipped: %s\n", mark, r.name, r.skip)
		case r.err != nil:
			fmt.Fprintf(w, "%s %-56s failed: %v\n", mark, r.name, r.err)
		default:
			ratio := "-"
			if bound != nil && bound.wall > 0 {
				ratio = fmt.Sprintf("%.2f", r.wall.Seconds()/bound.wall.Seconds())
			}
			fmt.Fprintf(w, "%s %-56s %9.2f %9.2f %9.0f %8s\n", mark, r.name, r.wall.Seconds(), r.user.Seconds(), mib(r.rss), ratio)
		}
	}
	fmt.Fprintf(w, "\n* ours. ratio: against %q; below 1 is faster. What is written is synced by all.\n\n", base)
}

// find returns the result of that name that has a number.
func find(rs []result, name string) *result {
	for i := range rs {
		if rs[i].name == name && rs[i].skip == "" && rs[i].err == nil {
			return &rs[i]
		}
	}
	return nil
}

// A goal is a bound on how two steps compare.
type goal struct {
	text     string
	ours     string
	peer     string
	atMost   float64 // ours / peer; 0: the other bound counts
	speedup  float64 // peer / ours, at least
	plusPeer string  // a step whose time is added to the peer's
}

var goals = []goal{
	{text: "gzip layers → raw against parallel inflate + sha256: at most 1.5 ×", ours: stepRawGzip, peer: base, atMost: 1.5},
	{text: "zstd layers → raw against the same bound: at most 2 ×", ours: stepRawZstd, peer: stepInflateZstd, atMost: 2},
	{text: "gzip layers → raw + qcow2 against loop + mkfs + tar x (root): at least 2 × faster", ours: stepBothGzip, peer: stepLoop, speedup: 2},
	{text: "the same against systemd-repart --offline: at least 4 × faster", ours: stepBothGzip, peer: stepRepart, plusPeer: stepUnpack, speedup: 4},
	{text: "the same against unpacking + mke2fs -d: faster", ours: stepBothGzip, peer: stepMke2fs, plusPeer: stepUnpack, speedup: 1},
	{text: "compressed qcow2 beside raw against raw + qemu-img -c zstd: faster", ours: stepZstdQcow, peer: stepQemuZstd, plusPeer: stepRawGzip, speedup: 1},
	{text: "plain qcow2 beside raw against raw alone: at most 1.1 ×", ours: stepBothGzip, peer: stepRawGzip, atMost: 1.1},
}

// memoryGoal is the most memory that any of our steps may take, in bytes.
const memoryGoal = 512 << 20

// againGoal is how long a build may take where nothing has changed.
const againGoal = time.Second

func printGoals(w io.Writer, rs []result) {
	for _, g := range goals {
		ours, peer := find(rs, g.ours), find(rs, g.peer)
		if ours == nil || peer == nil || peer.wall <= 0 || ours.wall <= 0 {
			fmt.Fprintf(w, "  -      %s (not measured)\n", g.text)
			continue
		}
		other := peer.wall
		if g.plusPeer != "" {
			plus := find(rs, g.plusPeer)
			if plus == nil {
				fmt.Fprintf(w, "  -      %s (not measured)\n", g.text)
				continue
			}
			other += plus.wall
		}
		ratio := ours.wall.Seconds() / other.Seconds()
		ok, shown := ratio <= g.atMost, ratio
		if g.speedup > 0 {
			ok, shown = 1/ratio >= g.speedup, 1/ratio
		}
		fmt.Fprintf(w, "  %-6s %s: %.2f ×\n", word(ok), g.text, shown)
	}
	var peak int64
	for _, r := range rs {
		if r.ours {
			peak = max(peak, r.rss)
		}
	}
	fmt.Fprintf(w, "  %-6s peak memory of ours: %.0f MiB, at most %d MiB\n", word(peak <= memoryGoal), mib(peak), memoryGoal>>20)
	if again := find(rs, stepAgain); again != nil {
		fmt.Fprintf(w, "  %-6s nothing changed: %.2f s, at most %.0f s\n", word(again.wall <= againGoal), again.wall.Seconds(), againGoal.Seconds())
	}
}

func word(ok bool) string {
	if ok {
		return "met"
	}
	return "MISSED"
}
