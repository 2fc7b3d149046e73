package output

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

const (
	bmapBlock = 4096
	// bmapPiece is how much of a range one goroutine hashes; longer ranges
	// are listed in pieces, at places that depend on the disk alone.
	bmapPiece = 16 << 20
)

// blockMap is the block map of a disk, version 2.0 of the format of bmaptool:
// every range that must be written, with its SHA-256.
func blockMap(ctx context.Context, s Source, workers int) ([]byte, error) {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var pieces []Range
	for _, r := range grow(append(s.Data[:len(s.Data):len(s.Data)], s.Zero...), bmapBlock, s.Size) {
		for off := r.Off; off < r.End(); {
			n := min(bmapPiece-off%bmapPiece, r.End()-off)
			pieces = append(pieces, Range{off, n})
			off += n
		}
	}
	sums := make([]string, len(pieces))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i, p := range pieces {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			sums[i], err = hashRange(s.R, p)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return renderMap(s.Size, pieces, sums), nil
}

func hashRange(r io.ReaderAt, p Range) (string, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(h, io.NewSectionReader(r, p.Off, p.Len), make([]byte, 256<<10))
	if err == nil && n != p.Len {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("reading disk bytes %d+%d: %w", p.Off, p.Len, errors.Join(err))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// renderMap writes the XML. Its own checksum is taken with zeros in its place.
func renderMap(size int64, pieces []Range, sums []string) []byte {
	var mapped int64
	var list strings.Builder
	for i, p := range pieces {
		first, last := p.Off/bmapBlock, (p.End()-1)/bmapBlock
		mapped += last - first + 1
		if first == last {
			fmt.Fprintf(&list, "        <Range chksum=\"%s\"> %d </Range>\n", sums[i], first)
		} else {
			fmt.Fprintf(&list, "        <Range chksum=\"%s\"> %d-%d </Range>\n", sums[i], first, last)
		}
	}
	own := strings.Repeat("0", 64)
	b := fmt.Appendf(nil, `<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> %d </ImageSize>
    <BlockSize> %d </BlockSize>
    <BlocksCount> %d </BlocksCount>
    <MappedBlocksCount> %d </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> %s </BmapFileChecksum>
    <BlockMap>
%s    </BlockMap>
</bmap>
`, size, bmapBlock, (size+bmapBlock-1)/bmapBlock, mapped, own, list.String())
	sum := sha256.Sum256(b)
	return bytes.Replace(b, []byte(own), []byte(hex.EncodeToString(sum[:])), 1)
}
