package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"

	"github.com/aitheros/aither-image/internal/atomicfile"
)

// maxScreen bounds width and height of a screenshot, in pixels.
const maxScreen = 8192

// Screenshot writes what the guest's screen shows to path, as PNG.
func (m *Machine) Screenshot(ctx context.Context, path string) (err error) {
	ppm := m.board.socket("screen.ppm")
	if _, err := m.qmp.call(ctx, "screendump", map[string]any{"filename": ppm}); err != nil {
		return fmt.Errorf("taking a screenshot: %w", err)
	}
	f, err := os.Open(ppm)
	if err != nil {
		return fmt.Errorf("taking a screenshot: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(ppm)) }()
	img, err := readPPM(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("reading the emulator's screenshot: %w", err)
	}
	err = atomicfile.Write(path, 0o644, func(w io.Writer) error { return png.Encode(w, img) })
	if err != nil {
		return fmt.Errorf("writing screenshot %s: %w", path, err)
	}
	return nil
}

// readPPM reads a binary PPM (netpbm "P6", 8 bits a channel), the form in which
// every version of QEMU writes screens.
func readPPM(r *bufio.Reader) (image.Image, error) {
	var magic string
	var w, h, depth int
	if _, err := fmt.Fscan(r, &magic, &w, &h, &depth); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if magic != "P6" || depth != 255 {
		return nil, fmt.Errorf("not an 8-bit P6 file but %.16q with depth %d", magic, depth)
	}
	if w < 1 || h < 1 || w > maxScreen || h > maxScreen {
		return nil, fmt.Errorf("%d × %d pixels are outside 1 to %d", w, h, maxScreen)
	}
	if _, err := r.ReadByte(); err != nil { // the one white space after the header
		return nil, fmt.Errorf("header: %w", err)
	}
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	row := make([]byte, 3*w)
	for y := range h {
		if _, err := io.ReadFull(r, row); err != nil {
			return nil, fmt.Errorf("row %d of %d: %w", y, h, err)
		}
		for x := range w {
			img.SetRGBA(x, y, color.RGBA{R: row[3*x], G: row[3*x+1], B: row[3*x+2], A: 255})
		}
	}
	return img, nil
}
