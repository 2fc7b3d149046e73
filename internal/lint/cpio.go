package lint

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Limits of an initramfs, against archives that grow without end.
const (
	maxInitramfs = 4 << 30 // bytes after decompression
	maxMembers   = 200_000
	maxName      = 4096
)

var errCpio = errors.New("not an initramfs")

// A member is one entry of a cpio archive; Data is valid until the next one.
type member struct {
	Name string
	Mode uint32
	Size int64
	Data io.Reader
}

// readInitramfs calls each for the members of all archives in r, as the kernel
// reads them (Documentation/driver-api/early-userspace/buffer-format.rst):
// uncompressed archives, zero padding, and one compressed archive at the end.
func readInitramfs(r io.Reader, each func(member) error) error {
	counted := &io.LimitedReader{R: r, N: maxInitramfs}
	return readArchives(bufio.NewReaderSize(counted, 64<<10), 0, each)
}

func readArchives(r *bufio.Reader, depth int, each func(member) error) error {
	for {
		if err := skipZeros(r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		magic, err := r.Peek(6)
		if err != nil {
			return fmt.Errorf("%w: it ends within a header", errCpio)
		}
		if string(magic) == "070701" || string(magic) == "070702" {
			if err := readCpio(r, each); err != nil {
				return err
			}
			continue
		}
		if depth > 0 {
			return fmt.Errorf("%w: a compressed part holds % x", errCpio, magic)
		}
		return inflate(r, magic, each)
	}
}

// inflate reads the compressed archive at the end.
func inflate(r *bufio.Reader, magic []byte, each func(member) error) error {
	var plain io.Reader
	var err error
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		plain, err = gzip.NewReader(r)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20)); err == nil {
			defer d.Close()
			plain = d
		}
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ")):
		plain, err = xz.NewReader(r)
	case bytes.HasPrefix(magic, []byte{0x02, 0x21, 0x4c, 0x18}):
		plain, err = newLZ4(r)
	default:
		return fmt.Errorf("%w: a part begins with % x, which is no archive and no known compression", errCpio, magic)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errCpio, err)
	}
	limited := &io.LimitedReader{R: plain, N: maxInitramfs}
	err = readArchives(bufio.NewReaderSize(limited, 64<<10), 1, each)
	switch {
	case limited.N <= 0:
		return fmt.Errorf("%w: it is larger than %d bytes", errCpio, int64(maxInitramfs))
	case err != nil && !errors.Is(err, errCpio): // damaged compressed data
		return fmt.Errorf("%w: %w", errCpio, err)
	}
	return err
}

func skipZeros(r *bufio.Reader) error {
	for {
		b, err := r.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return r.UnreadByte()
		}
	}
}

// readCpio reads one archive in the newc form (cpio(5)) up to its trailer.
func readCpio(r *bufio.Reader, each func(member) error) error {
	for range maxMembers {
		m, err := readMember(r)
		if err != nil {
			return err
		}
		if m.Name == "TRAILER!!!" {
			return nil
		}
		data := &io.LimitedReader{R: r, N: m.Size}
		m.Data = data
		if err := each(m); err != nil {
			return err
		}
		left := data.N + (4-m.Size%4)%4
		if n, err := io.CopyN(io.Discard, r, left); err != nil {
			return fmt.Errorf("%w: %s is cut after %d of %d bytes: %w", errCpio, m.Name, n, left, err)
		}
	}
	return fmt.Errorf("%w: it has more than %d members", errCpio, maxMembers)
}

// readMember reads a header and its name: 110 bytes of hexadecimal fields of
// eight digits after the magic, the name with its NUL, padding to four bytes.
func readMember(r *bufio.Reader) (m member, err error) {
	var h [110]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return m, fmt.Errorf("%w: it ends within a header", errCpio)
	}
	if string(h[:6]) != "070701" && string(h[:6]) != "070702" {
		return m, fmt.Errorf("%w: a header begins with %q", errCpio, h[:6])
	}
	field := func(i int) (v uint64) {
		v, ferr := strconv.ParseUint(string(h[6+8*i:14+8*i]), 16, 32)
		if ferr != nil && err == nil {
			err = fmt.Errorf("%w: field %d of a header is %q", errCpio, i, h[6+8*i:14+8*i])
		}
		return v
	}
	mode, size, nameSize := field(1), field(6), field(11)
	if err != nil {
		return m, err
	}
	if nameSize == 0 || nameSize > maxName {
		return m, fmt.Errorf("%w: a name of %d bytes", errCpio, nameSize)
	}
	name := make([]byte, (nameSize+110+3)&^3-110)
	if _, err := io.ReadFull(r, name); err != nil {
		return m, fmt.Errorf("%w: it ends within a name", errCpio)
	}
	name, _, _ = bytes.Cut(name[:nameSize], []byte{0})
	return member{Name: string(name), Mode: uint32(mode), Size: int64(size)}, nil
}

// lz4Block is the size of a block in lz4's legacy frame, the one that the kernel reads.
const lz4Block = 8 << 20

// lz4Reader inflates lz4's legacy frame (lz4_Frame_format.md, "Legacy frame").
type lz4Reader struct {
	r   *bufio.Reader
	out []byte
	off int
}

func newLZ4(r *bufio.Reader) (io.Reader, error) {
	_, err := r.Discard(4)
	return &lz4Reader{r: r}, err
}

func (l *lz4Reader) Read(p []byte) (int, error) {
	for l.off == len(l.out) {
		var head [4]byte
		if _, err := io.ReadFull(l.r, head[:]); err != nil {
			return 0, io.EOF // the frame has no end mark
		}
		n := binary.LittleEndian.Uint32(head[:])
		if n == 0 || n == 0x184c2102 {
			continue
		}
		if n > lz4Block+lz4Block/255+16 {
			return 0, fmt.Errorf("a lz4 block of %d bytes", n)
		}
		in := make([]byte, n)
		if _, err := io.ReadFull(l.r, in); err != nil {
			return 0, fmt.Errorf("a lz4 block is cut: %w", err)
		}
		var err error
		if l.out, err = inflateLZ4(in, l.out[:0]); err != nil {
			return 0, err
		}
		l.off = 0
	}
	n := copy(p, l.out[l.off:])
	l.off += n
	return n, nil
}

var errLZ4 = errors.New("a lz4 block is damaged")

// inflateLZ4 appends one block (lz4_Block_format.md) to out.
func inflateLZ4(in, out []byte) ([]byte, error) {
	length := func(n int) (int, bool) {
		for n >= 15 {
			if len(in) == 0 {
				return 0, false
			}
			b := in[0]
			in = in[1:]
			if n += int(b); b != 255 || n > lz4Block {
				break
			}
		}
		return n, n <= lz4Block
	}
	for len(in) > 0 {
		token := in[0]
		in = in[1:]
		lit, ok := length(int(token >> 4))
		if !ok || lit > len(in) || len(out)+lit > lz4Block {
			return nil, errLZ4
		}
		out, in = append(out, in[:lit]...), in[lit:]
		if len(in) == 0 {
			return out, nil
		}
		if len(in) < 2 {
			return nil, errLZ4
		}
		offset := int(binary.LittleEndian.Uint16(in))
		in = in[2:]
		match, ok := length(int(token & 15))
		match += 4
		if !ok || offset == 0 || offset > len(out) || len(out)+match > lz4Block {
			return nil, errLZ4
		}
		for range match {
			out = append(out, out[len(out)-offset])
		}
	}
	return out, nil
}
