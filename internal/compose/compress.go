package compose

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/internal/atomicfile"
)

// frameSize is how much of a layer one zstd frame holds. Frames are compressed
// side by side, each from nothing, so that the bytes depend on the content
// alone; each states its content size, so that a reader can inflate them side by side too.
const frameSize = 16 << 20

// writeLayer makes a layer blob in the pool from what fill writes.
func (w *workdir) writeLayer(c Compression, epoch time.Time, index *treeIndex, history string, fill func(*layerWriter) error) (_ *Layer, err error) {
	// The name is not known before the content is: a temporary file of the
	// work folder is filled and then moved to its digest.
	tmp, err := os.CreateTemp(w.path("tmp"), "layer-")
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = tmp.Close()
		_ = os.Remove(tmp.Name())
	}()
	out := &counter{h: digest.SHA256.Digester(), w: bufio.NewWriterSize(tmp, 1<<20)}
	z, mediaType, err := c.writer(out)
	if err != nil {
		return nil, err
	}
	raw := &counter{h: digest.SHA256.Digester(), w: z}
	buf := bufio.NewWriterSize(raw, 1<<20)
	tw := tar.NewWriter(buf)
	lw := &layerWriter{w: tw, epoch: epoch, index: index}
	if err := errors.Join(fill(lw), tw.Close(), buf.Flush(), z.Close(), out.w.(*bufio.Writer).Flush()); err != nil {
		return nil, err
	}
	l := &Layer{DiffID: raw.h.Digest(), History: history}
	l.Descriptor = v1.Descriptor{MediaType: mediaType, Digest: out.h.Digest(), Size: out.n}
	if w.pool.Has(l.Descriptor) {
		return l, nil
	}
	p, err := w.pool.BlobPath(l.Digest)
	if err != nil {
		return nil, err
	}
	if err := tmp.Chmod(0o644); err != nil {
		return nil, err
	}
	return l, atomicfile.Adopt(tmp, p)
}

func (c Compression) writer(w io.Writer) (io.WriteCloser, string, error) {
	switch c {
	case Zstd, "":
		return newFrames(w), v1.MediaTypeImageLayerZstd, nil
	case Gzip:
		z, err := gzip.NewWriterLevel(w, 6)
		return z, v1.MediaTypeImageLayerGzip, err
	case Plain:
		return nopCloser{w}, v1.MediaTypeImageLayer, nil
	}
	return nil, "", fmt.Errorf("unknown compression %q: %w\nhint: zstd, gzip or none", c, ErrUsage)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// A counter passes bytes on, counts and hashes them.
type counter struct {
	h digest.Digester
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	_, _ = c.h.Hash().Write(b[:n])
	return n, err
}

// frames compresses in frames of frameSize, several at a time.
type frames struct {
	w     io.Writer
	buf   []byte
	queue chan chan frame
	slots chan struct{}
	done  chan error
}

type frame struct {
	b   []byte
	err error
}

func newFrames(w io.Writer) *frames {
	n := runtime.GOMAXPROCS(0)
	f := &frames{w: w, queue: make(chan chan frame, n), slots: make(chan struct{}, n), done: make(chan error, 1)}
	go f.drain()
	return f
}

func (f *frames) drain() {
	var first error
	for c := range f.queue {
		fr := <-c
		if first == nil {
			first = fr.err
		}
		if first == nil {
			_, first = f.w.Write(fr.b)
		}
		<-f.slots
	}
	f.done <- first
}

// Write implements io.Writer.
func (f *frames) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if f.buf == nil {
			f.buf = make([]byte, 0, frameSize)
		}
		k := min(len(b), frameSize-len(f.buf))
		f.buf = append(f.buf, b[:k]...)
		b = b[k:]
		if len(f.buf) == frameSize {
			f.flush()
		}
	}
	return n, nil
}

func (f *frames) flush() {
	if len(f.buf) == 0 {
		return
	}
	raw := f.buf
	f.buf = nil
	c := make(chan frame, 1)
	f.slots <- struct{}{}
	f.queue <- c
	go func() {
		// A fresh encoder each time: no state of an earlier frame can show.
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
			zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true))
		if err != nil {
			c <- frame{nil, err}
			return
		}
		c <- frame{e.EncodeAll(raw, nil), nil}
	}()
}

// Close writes the rest.
func (f *frames) Close() error {
	f.flush()
	close(f.queue)
	return <-f.done
}

// openLayer reads a layer of the pool uncompressed.
func (w *workdir) openLayer(l Layer) (io.ReadCloser, error) {
	p, err := w.pool.BlobPath(l.Digest)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(file, 1<<20)
	switch l.MediaType {
	case v1.MediaTypeImageLayerGzip:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return readCloser{z, file.Close}, nil
	case v1.MediaTypeImageLayerZstd:
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return readCloser{z, func() error { z.Close(); return file.Close() }}, nil
	}
	return readCloser{in, file.Close}, nil
}

type readCloser struct {
	io.Reader
	close func() error
}

func (r readCloser) Close() error { return r.close() }
