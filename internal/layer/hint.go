package layer

import (
	"encoding/binary"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// SizeHint guesses the inflated size of layer i in bytes without inflating it:
// exact for plain layers and for zstd frames that tell, the low 32 bits for
// gzip. It is a function of the blob's bytes alone, and 0 when nothing is known.
func (im *Image) SizeHint(i int) (int64, error) {
	p, err := im.BlobPath(im.Layers[i].Digest)
	if err != nil {
		return 0, err
	}
	f, err := os.Open(p)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read from
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return sizeHint(f, fi.Size())
}

// guess is the size taken for a blob that tells nothing, and believable the
// largest that a blob can claim: what is reserved for a layer becomes part of
// the disk, so a lie must stay cheap.
func guess(size int64) int64      { return 4 * size }
func believable(size int64) int64 { return 32*size + 64<<20 }

func sizeHint(r io.ReaderAt, size int64) (int64, error) {
	var head [4]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	hint := size
	switch compression(head[:n]) {
	case "gzip":
		var t [4]byte
		if _, err := r.ReadAt(t[:], max(0, size-4)); err != nil && err != io.EOF {
			return 0, err
		}
		hint = int64(binary.LittleEndian.Uint32(t[:]))
		for hint < size { // deflate never makes more than a few bytes more
			hint += 1 << 32
		}
		if hint > believable(size) { // the end of one of several members
			hint = guess(size)
		}
	case "zstd":
		if hint = zstdSize(r, size); hint < size/2 {
			hint = guess(size)
		}
	}
	return min(hint, believable(size)), nil
}

// zstdSize adds up what the frames of a blob say (RFC 8878, 3.1.1); 0 when one
// of them says nothing. Only headers of frames and blocks are read.
func zstdSize(r io.ReaderAt, size int64) int64 {
	var total int64
	for off := int64(0); off < size; {
		buf := make([]byte, zstd.HeaderMaxSize)
		n, err := r.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return 0
		}
		var h zstd.Header
		if h.Decode(buf[:n]) != nil {
			return 0
		}
		if h.Skippable {
			off += int64(h.HeaderSize) + int64(h.SkippableSize)
			continue
		}
		if !h.HasFCS || h.FrameContentSize > 1<<40 {
			return 0
		}
		if total += int64(h.FrameContentSize); total > 1<<42 {
			return 0
		}
		if off = frameEnd(r, off+int64(h.HeaderSize), h.HasCheckSum); off == 0 {
			return 0
		}
	}
	return total
}

// frameEnd walks the blocks from off on; 0 where the frame is cut short.
func frameEnd(r io.ReaderAt, off int64, checksum bool) int64 {
	for {
		var b [3]byte
		if n, _ := r.ReadAt(b[:], off); n < len(b) {
			return 0
		}
		h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		length := int64(h >> 3)
		if h>>1&3 == 1 { // one byte, repeated
			length = 1
		}
		off += 3 + length
		if h&1 == 0 {
			continue
		}
		if checksum {
			off += 4
		}
		return off
	}
}
