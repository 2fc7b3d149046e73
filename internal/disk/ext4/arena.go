package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// An Arena places contents one after the other. One goroutine at a time may
// use it; arenas work side by side.
type Arena struct {
	w     *Writer
	index int
	err   error
	// pos is the block that follows the buffered run, end the end of the
	// room: of the arena's region or, once shared is set, of the device.
	pos, end uint64
	shared   bool
	closed   bool
	spans    []span // blocks written to

	// The buffer collects blocks from base on, across contents. mu guards
	// flushing what lies below fill; only the filling goroutine writes above.
	mu      sync.Mutex
	buf     []byte
	base    uint64
	fill    int
	flushed int
	room    int // how far the buffer may be filled

	one     [1]byte
	scratch []extent
	zeros   bool // the file being placed begins with a block of zeros
	slab    []extent
	datas   []Data
}

// A span is the blocks [start, end).
type span struct{ start, end uint64 }

const (
	arenaBuffer    = 1 << 20
	maxFileBlocks  = 1<<32 - 2
	farAway        = 1 << 47 // beyond the last block that ext4 can name
	extentSlab     = 1024
	dataSlab       = 256
	mergedBlockMax = 1 << 31
)

var zeroBlock [blockSize]byte

// Put streams exactly size bytes of r into the file system; fewer or more are an
// error. Blocks of zeros take no room, but for the first. After an error the arena can still be
// used; what was placed of the content is given back.
func (a *Arena) Put(r io.Reader, size int64) (*Data, error) {
	if err := a.ready(); err != nil {
		return nil, fmt.Errorf("placing content: %w", err)
	}
	if size < 0 || (size+blockSize-1)>>blockBits > maxFileBlocks {
		return nil, fmt.Errorf("placing content of %d bytes: ext4 files have at most 16 TiB", size)
	}
	a.scratch, a.zeros = a.scratch[:0], false
	for done := int64(0); done < size; {
		n, err := a.chunk(r, size-done, uint32(done>>blockBits))
		if err != nil {
			return nil, fmt.Errorf("placing content, at byte %d of %d: %w", done+int64(n), size, err)
		}
		done += int64(n)
	}
	if n, err := io.ReadFull(r, a.one[:]); n > 0 {
		return nil, fmt.Errorf("placing content: more than the %d bytes announced", size)
	} else if err != io.EOF {
		return nil, fmt.Errorf("placing content, at its end: %w", err)
	}
	return a.newData(size), nil
}

func (a *Arena) ready() error {
	if a.err != nil {
		return a.err
	}
	if a.closed {
		return errors.New("internal error: arena is closed")
	}
	return a.w.begin()
}

// chunk reads one buffer's worth of a file, from its block logical on.
func (a *Arena) chunk(r io.Reader, left int64, logical uint32) (int, error) {
	if err := a.makeRoom(); err != nil {
		return 0, err
	}
	n := int(min(int64(a.room-a.fill), left))
	part := a.buf[a.fill : a.fill+n]
	if m, err := io.ReadFull(r, part); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return m, err
	}
	whole := (n + blockSize - 1) &^ (blockSize - 1)
	clear(a.buf[a.fill+n : a.fill+whole])
	a.keep(a.buf[a.fill:a.fill+whole], logical)
	return n, nil
}

// keep closes the gaps that blocks of zeros leave in b, which lies at the end
// of the buffer, and notes what remains as extents of the file.
func (a *Arena) keep(b []byte, logical uint32) {
	fill := a.fill
	for len(b) > 0 {
		n := 0
		if logical == 0 {
			n = blockSize // GRUB 2.06 cannot read a file that begins with a hole
			a.zeros = isZero(b[:blockSize])
		}
		for n < len(b) && !isZero(b[n:n+blockSize]) {
			n += blockSize
		}
		if n > 0 {
			if &b[0] != &a.buf[fill] {
				copy(a.buf[fill:], b[:n])
			}
			a.extend(extent{logical, uint32(n >> blockBits), a.base + uint64(fill>>blockBits)})
			fill += n
			logical += uint32(n >> blockBits)
			b = b[n:]
		}
		for len(b) > 0 && isZero(b[:blockSize]) {
			logical++
			b = b[blockSize:]
		}
	}
	a.mu.Lock()
	a.fill = fill
	a.mu.Unlock()
}

func isZero(b []byte) bool { return bytes.Equal(b, zeroBlock[:]) }

// extend appends to the extents of the file being placed.
func (a *Arena) extend(e extent) {
	if n := len(a.scratch); n > 0 {
		last := &a.scratch[n-1]
		if last.logical+last.len == e.logical && last.phys+uint64(last.len) == e.phys && last.len+e.len < mergedBlockMax {
			last.len += e.len
			return
		}
	}
	a.scratch = append(a.scratch, e)
}

// newData wraps the extents of the file just placed.
func (a *Arena) newData(size int64) *Data {
	n := len(a.scratch)
	if n > extentSlab/8 {
		return &Data{w: a.w, a: a, size: size, ext: append([]extent(nil), a.scratch...), zeros: a.zeros}
	}
	if cap(a.slab)-len(a.slab) < n {
		a.slab = make([]extent, 0, extentSlab)
	}
	a.slab = append(a.slab, a.scratch...)
	if len(a.datas) == cap(a.datas) {
		a.datas = make([]Data, 0, dataSlab)
	}
	end := len(a.slab)
	a.datas = append(a.datas, Data{w: a.w, a: a, size: size, ext: a.slab[end-n : end : end], zeros: a.zeros})
	return &a.datas[len(a.datas)-1]
}

// makeRoom makes sure that the buffer takes at least one more block.
func (a *Arena) makeRoom() error {
	if a.fill < a.room {
		return nil
	}
	if err := a.flush(); err != nil {
		return err
	}
	start, end, err := a.nextRun()
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.buf == nil {
		a.buf = buffers.Get().(*[arenaBuffer]byte)[:]
	}
	a.base, a.fill, a.flushed = start, 0, 0
	a.room = int(min(uint64(len(a.buf)), (end-start)<<blockBits))
	return nil
}

// nextRun returns the free blocks that follow the buffered ones.
func (a *Arena) nextRun() (start, end uint64, err error) {
	if a.buf != nil {
		a.pos = a.base + uint64(a.fill>>blockBits)
	}
	if start, end = a.w.lay.run(a.pos); start < a.end {
		return start, min(end, a.end), nil
	}
	if a.shared {
		return 0, 0, errors.New("the file system would have more than 2^47 blocks")
	}
	pos, err := a.w.takeShared(a)
	if err != nil {
		return 0, 0, fmt.Errorf("waiting for earlier arenas: %w", err)
	}
	a.shared, a.pos, a.end = true, pos, farAway
	start, end = a.w.lay.run(pos)
	return start, end, nil
}

var buffers = sync.Pool{New: func() any { return new([arenaBuffer]byte) }}

// flush writes what is buffered. Any goroutine may call it.
func (a *Arena) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.flushed == a.fill {
		return nil
	}
	off := int64(a.base)<<blockBits + int64(a.flushed)
	if _, err := a.w.dev.WriteAt(a.buf[a.flushed:a.fill], off); err != nil {
		return fmt.Errorf("writing %d bytes at offset %d of the file system: %w", a.fill-a.flushed, off, err)
	}
	s := span{uint64(off) >> blockBits, a.base + uint64(a.fill>>blockBits)}
	if n := len(a.spans); n > 0 && a.spans[n-1].end == s.start {
		a.spans[n-1].end = s.end
	} else {
		a.spans = append(a.spans, s)
	}
	a.flushed = a.fill
	return nil
}

// Close writes what is buffered and gives the rest of the arena's room back.
// Closing twice is harmless.
func (a *Arena) Close() error {
	if a.closed {
		return nil
	}
	err := a.flush()
	if a.buf != nil {
		a.pos = a.base + uint64(a.fill>>blockBits)
		a.mu.Lock()
		buffers.Put((*[arenaBuffer]byte)(a.buf))
		a.buf, a.base, a.fill, a.flushed, a.room = nil, 0, 0, 0, 0
		a.mu.Unlock()
	}
	end := uint64(0)
	if a.shared {
		end = a.pos
	}
	if err != nil {
		a.w.Abort(err)
	}
	a.w.closed(a, end)
	return err
}
