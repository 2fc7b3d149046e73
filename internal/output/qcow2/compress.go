package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// deflateWindow is what QEMU itself uses; the format demands no larger one.
const deflateWindow = 4096

// A compressor appends the compressed form of src to dst.
type compressor func(dst, src []byte) ([]byte, error)

// newCompressor makes a compressor for one goroutine; nil for None.
func newCompressor(c Compression) (compressor, error) {
	switch c {
	case None:
		return nil, nil
	case Zlib:
		return newDeflate()
	case Zstd:
		// A third faster than the default level, 3 % larger files.
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(ClusterSize))
		if err != nil {
			return nil, err
		}
		return func(dst, src []byte) ([]byte, error) { return e.EncodeAll(src, dst), nil }, nil
	}
	_, err := c.typeByte()
	return nil, err
}

func newDeflate() (compressor, error) {
	w, err := flate.NewWriterWindow(io.Discard, deflateWindow)
	if err != nil {
		return nil, err
	}
	return func(dst, src []byte) ([]byte, error) {
		out := bytes.NewBuffer(dst)
		w.Reset(out)
		if _, err := w.Write(src); err != nil {
			return dst, err
		}
		err := w.Close()
		return out.Bytes(), err
	}, nil
}

// A decompressor fills dst, one cluster, from src, which may have bytes behind
// the compressed data.
type decompressor func(dst, src []byte) error

func newDecompressor(kind byte) (decompressor, error) {
	switch kind {
	case 0:
		return inflate, nil
	case 1:
		return unzstd, nil
	}
	return nil, fmt.Errorf("compression type %d is unknown", kind)
}

func inflate(dst, src []byte) error {
	r := flate.NewReader(bytes.NewReader(src))
	_, err := io.ReadFull(r, dst)
	return err
}

// decoders keeps zstd decoders, which are costly to make.
var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return err
	}
	return d
}}

// unzstd streams, since that stops where the cluster is full: what follows
// belongs to other clusters.
func unzstd(dst, src []byte) error {
	d, ok := decoders.Get().(*zstd.Decoder)
	if !ok {
		return errors.New("internal error: no zstd decoder")
	}
	defer decoders.Put(d)
	if err := d.Reset(bytes.NewReader(src)); err != nil {
		return err
	}
	_, err := io.ReadFull(d, dst)
	return err
}
