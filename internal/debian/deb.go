package debian

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxUnpacked bounds the content of one package; the largest have about 1 GB.
const maxUnpacked = 8 << 30

// dataTar finds the files of a package: a .deb is an ar archive whose member
// data.tar.* holds them (deb(5), ar(5)).
func dataTar(deb io.Reader) (io.ReadCloser, error) {
	r := bufio.NewReaderSize(deb, 256<<10)
	magic := make([]byte, 8)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != "!<arch>\n" {
		return nil, fmt.Errorf("%w: not a package file", ErrVerify)
	}
	for first := true; ; first = false {
		name, size, err := arHeader(r)
		if err != nil {
			return nil, err
		}
		if first && name != "debian-binary" {
			return nil, fmt.Errorf("%w: package starts with %q", ErrVerify, name)
		}
		if base, ext := path.Base(name), path.Ext(name); strings.HasPrefix(base, "data.tar") {
			return decompress(io.LimitReader(r, size), ext)
		}
		if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
			return nil, fmt.Errorf("%w: package ends within %q", ErrVerify, name)
		}
	}
}

// arHeader reads the 60 bytes before a member.
func arHeader(r io.Reader) (name string, size int64, err error) {
	h := make([]byte, 60)
	if _, err := io.ReadFull(r, h); err != nil {
		return "", 0, fmt.Errorf("%w: package without data: %w", ErrVerify, err)
	}
	if !bytes.Equal(h[58:], []byte("`\n")) {
		return "", 0, fmt.Errorf("%w: bad member header in package", ErrVerify)
	}
	size, err = strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
	if err != nil || size < 0 {
		return "", 0, fmt.Errorf("%w: bad member size in package", ErrVerify)
	}
	return strings.TrimRight(strings.TrimSpace(string(h[:16])), "/"), size, nil
}

// decompress opens a stream by the ending of its name.
func decompress(r io.Reader, ext string) (io.ReadCloser, error) {
	switch ext {
	case ".xz":
		// The least window; streams name their own.
		x, err := xz.ReaderConfig{DictCap: 64 << 10}.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrVerify, err)
		}
		return io.NopCloser(x), nil
	case ".gz":
		g, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrVerify, err)
		}
		return g, nil
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(512<<20))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrVerify, err)
		}
		return z.IOReadCloser(), nil
	case ".tar":
		return io.NopCloser(r), nil
	}
	return nil, fmt.Errorf("%w: compression %q is not known", errors.ErrUnsupported, ext)
}
