package layer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// maxWindow is the largest zstd window accepted: 128 MiB is what zstd --long
// makes, and a frame that asks for more is an attempt on our memory.
const maxWindow = 128 << 20

// chunkSize and chunkCount bound the inflated bytes that wait between the
// goroutine that inflates and the one that walks: 4 MiB a layer.
const (
	chunkSize  = 512 << 10
	chunkCount = 8
)

// compression tells by the first bytes how a blob is compressed, as every
// reader of images does: media types are often wrong.
func compression(head []byte) string {
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		return "gzip"
	case len(head) >= 4 && binary.LittleEndian.Uint32(head) == 0xfd2fb528:
		return "zstd"
	case len(head) >= 4 && binary.LittleEndian.Uint32(head)&^0xf == 0x184d2a50: // skippable frame of zstd:chunked
		return "zstd"
	}
	return "none"
}

// A Blob is layer i while it is read: inflated bytes come out of Read, digests
// are checked by Close.
type Blob struct {
	im     *Image
	i      int
	file   *os.File
	raw    *countingHash
	diff   hash.Hash
	chunks chan []byte
	free   chan []byte
	hashed chan []byte
	done   chan struct{}
	stop   context.CancelFunc
	wg     sync.WaitGroup
	err    error // of the inflater; read after chunks is closed
	cur    []byte
	full   []byte
	limit  int64
}

// ErrTooLarge is wrapped when a layer inflates to more than its limit.
var ErrTooLarge = errors.New("the layer inflates to more bytes than allowed")

// OpenLayer starts to read layer i. At most limit inflated bytes are accepted;
// 0 is no limit. Inflating and hashing run beside the reader.
func (im *Image) OpenLayer(ctx context.Context, i int, limit int64) (*Blob, error) {
	p, err := im.BlobPath(im.Layers[i].Digest)
	if err != nil {
		return nil, err
	}
	if mt := im.Layers[i].MediaType; strings.Contains(mt, "foreign") || strings.Contains(mt, "nondistributable") || strings.Contains(mt, "encrypted") {
		return nil, fmt.Errorf("layer %s is of type %s, which is not supported", im.Layers[i].Digest, mt)
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	b := &Blob{im: im, i: i, file: f, stop: stop, diff: sha256.New(), limit: limit,
		raw:    &countingHash{h: sha256.New()},
		chunks: make(chan []byte, chunkCount), free: make(chan []byte, chunkCount),
		hashed: make(chan []byte, chunkCount), done: make(chan struct{})}
	for range chunkCount {
		b.free <- make([]byte, chunkSize)
	}
	b.wg.Add(2)
	go b.hash()
	go b.inflate(ctx)
	return b, nil
}

// hash takes every inflated chunk before the reader does, so that the digest
// of the inflated layer costs no time of the walk.
func (b *Blob) hash() {
	defer b.wg.Done()
	defer close(b.chunks)
	for c := range b.hashed {
		b.diff.Write(c)
		select {
		case b.chunks <- c:
		case <-b.done:
		}
	}
}

func (b *Blob) inflate(ctx context.Context) {
	defer b.wg.Done()
	defer close(b.hashed)
	src := bufio.NewReaderSize(io.TeeReader(b.file, b.raw), chunkSize)
	head, err := src.Peek(4)
	if err != nil && err != io.EOF {
		b.err = err
		return
	}
	r, closer, err := inflater(src, compression(head))
	if err != nil {
		b.err = err
		return
	}
	defer closer()
	if b.err = b.pump(ctx, r); b.err != nil {
		return
	}
	// What follows the compressed stream is part of the blob's digest.
	_, b.err = io.Copy(io.Discard, src)
}

func (b *Blob) pump(ctx context.Context, r io.Reader) error {
	var total int64
	for {
		var c []byte
		select {
		case c = <-b.free:
		case <-ctx.Done():
			return ctx.Err()
		}
		n, err := io.ReadFull(r, c[:chunkSize])
		total += int64(n)
		if b.limit > 0 && total > b.limit {
			return fmt.Errorf("%w (%d)", ErrTooLarge, b.limit)
		}
		if n > 0 {
			select {
			case b.hashed <- c[:n]:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}

func inflater(r *bufio.Reader, kind string) (io.Reader, func(), error) {
	switch kind {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return strictEOF{z}, func() { _ = z.Close() }, nil
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, nil, err
		}
		return strictEOF{z}, z.Close, nil
	}
	return r, func() {}, nil
}

// strictEOF makes a stream that ends in the middle an error of its own, so
// that io.ReadFull's own short read cannot be taken for it.
type strictEOF struct{ r io.Reader }

func (s strictEOF) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err == io.ErrUnexpectedEOF {
		err = errors.New("the compressed stream ends too early")
	}
	return n, err
}

// Read returns inflated bytes.
func (b *Blob) Read(p []byte) (int, error) {
	for len(b.cur) == 0 {
		if b.full != nil {
			b.free <- b.full[:chunkSize]
			b.full = nil
		}
		c, ok := <-b.chunks
		if !ok {
			if b.err != nil {
				return 0, b.err
			}
			return 0, io.EOF
		}
		b.cur, b.full = c, c
	}
	n := copy(p, b.cur)
	b.cur = b.cur[n:]
	return n, nil
}

// Abort gives the blob up without checking it.
func (b *Blob) Abort() {
	b.stop()
	close(b.done)
	for range b.chunks { //nolint:revive // drains what waits
	}
	b.wg.Wait()
	_ = b.file.Close() // only read from
}

// An AlteredError is a blob that is not the one that was promised.
type AlteredError struct{ text string }

func (e *AlteredError) Error() string { return e.text }

func altered(format string, args ...any) error {
	return &AlteredError{fmt.Sprintf(format, args...)}
}

// Verify reads the blob of layer i and checks its digest alone. It tells what
// was wrong with a layer that could not be read: an altered blob mostly fails
// somewhere in the middle first.
func (im *Image) Verify(i int) (err error) {
	want := im.Layers[i]
	p, err := im.BlobPath(want.Digest)
	if err != nil {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := digest.NewDigestFromBytes(digest.SHA256, h.Sum(nil)); got != want.Digest {
		return altered("layer %s has the digest %s", want.Digest, got)
	}
	return nil
}

// Close reads the rest and checks size, digest and diff id.
func (b *Blob) Close() error {
	_, err := io.Copy(io.Discard, b)
	b.stop()
	b.wg.Wait()
	err = errors.Join(err, b.file.Close())
	if err != nil {
		return err
	}
	want := b.im.Layers[b.i]
	if b.raw.n != want.Size {
		return altered("layer %s has %d bytes, want %d", want.Digest, b.raw.n, want.Size)
	}
	if got := digest.NewDigestFromBytes(digest.SHA256, b.raw.h.Sum(nil)); got != want.Digest {
		return altered("layer %s has the digest %s", want.Digest, got)
	}
	if got := digest.NewDigestFromBytes(digest.SHA256, b.diff.Sum(nil)); got != b.im.DiffIDs[b.i] {
		return altered("layer %s inflates to %s, but the configuration says %s", want.Digest, got, b.im.DiffIDs[b.i])
	}
	return nil
}

type countingHash struct {
	h hash.Hash
	n int64
}

func (c *countingHash) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.h.Write(p)
}
