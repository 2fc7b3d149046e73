package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/aitheros/aither-image/internal/atomicfile"
)

// answer prints v on stdout: as JSON where --json asks for it, else by text.
func (p *program) answer(v any, text func(io.Writer) error) error {
	if !p.global.json {
		return text(p.stdout)
	}
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	return nil
}

// writeFile writes a file, whole or not at all.
func writeFile(name string, fill func(io.Writer) error) error {
	if err := atomicfile.Write(name, 0o644, fill); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// size renders bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 || v == float64(int64(v)) {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
