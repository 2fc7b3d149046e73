package qcow2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// chunkSize is what one worker takes at a time.
const chunkSize = 16 * ClusterSize

// Options is how a Writer works; the zero value stores clusters as they are.
type Options struct {
	Compression Compression
	// Workers is the number of goroutines that read, compress and write, each
	// with 2 MiB of buffers; 0 keeps all CPUs busy. It has no influence on the bytes.
	Workers int
}

// A Writer makes one image. Clusters lie in the file in the order of the calls
// of Add, whatever the number of workers; clusters of zeros take no space.
type Writer struct {
	out   io.WriterAt
	size  int64
	comp  Compression
	jobs  chan job
	group sync.WaitGroup
	last  chan struct{} // closed when the job added last has its place
	alloc allocator     // belongs to the job whose turn it is

	writing sync.Mutex

	mu     sync.Mutex
	err    error
	closed bool
}

// A job is one chunk of the disk. Its place in the file is settled in turn:
// after the job before it, before the job behind it.
type job struct {
	r        io.ReaderAt
	off      int64
	n        int
	wait, ok chan struct{}
}

// NewWriter starts an image of size bytes (a multiple of 512) in out, which must
// be empty. Close must be called in any case.
func NewWriter(out io.WriterAt, size int64, o Options) (*Writer, error) {
	if size <= 0 || size%512 != 0 || size > maxVirtual {
		return nil, fmt.Errorf("writing qcow2: disk size %d is not a multiple of 512 in 512 to %d", size, maxVirtual)
	}
	if _, err := o.Compression.typeByte(); err != nil {
		return nil, fmt.Errorf("writing qcow2: %w", err)
	}
	n := o.Workers
	if n <= 0 {
		// More than CPUs: who waits for his turn behind a slow one needs none.
		n = runtime.GOMAXPROCS(0)
		n += min(2*n, 16)
	}
	w := &Writer{out: out, size: size, comp: o.Compression, jobs: make(chan job), last: make(chan struct{})}
	close(w.last)
	w.alloc.init(size)
	for range n {
		c, err := newCompressor(o.Compression)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("writing qcow2: %w", err), w.stop())
		}
		w.group.Add(1)
		go w.work(c)
	}
	return w, nil
}

// Add stores the n bytes at off of the disk, read from r at the same offset.
// off must be a multiple of ClusterSize, and so must n unless the range ends
// with the disk. It may return before the bytes are read, so they must not change
// until Close. No cluster may be added twice. One call at a time.
func (w *Writer) Add(ctx context.Context, r io.ReaderAt, off, n int64) error {
	if off < 0 || n < 0 || off > w.size || n > w.size-off {
		return fmt.Errorf("writing qcow2: bytes %d+%d are outside the disk of %d", off, n, w.size)
	}
	if off%ClusterSize != 0 || (n%ClusterSize != 0 && off+n != w.size) {
		return fmt.Errorf("writing qcow2: bytes %d+%d are not whole clusters of %d", off, n, ClusterSize)
	}
	if w.closed {
		return errors.New("internal error: qcow2 writer is used after Close")
	}
	for end := off + n; off < end; off += chunkSize {
		if err := errors.Join(ctx.Err(), w.failed()); err != nil {
			return err
		}
		j := job{r: r, off: off, n: int(min(chunkSize, end-off)), wait: w.last, ok: make(chan struct{})}
		w.last = j.ok
		w.jobs <- j
	}
	return nil
}

// Close waits for the workers and writes the tables and, last, the header. It
// does not close the file. After an error the file is no image.
func (w *Writer) Close() error {
	if w.closed {
		return w.failed()
	}
	if err := w.stop(); err != nil {
		return err
	}
	if err := w.alloc.finish(w.out, w.size, w.comp); err != nil {
		w.fail(fmt.Errorf("writing qcow2: %w", err))
	}
	return w.failed()
}

// Abort waits for the workers and gives the image up.
func (w *Writer) Abort() {
	w.fail(errors.New("writing qcow2: given up"))
	if !w.closed {
		_ = w.stop()
	}
}

func (w *Writer) stop() error {
	w.closed = true
	close(w.jobs)
	w.group.Wait()
	return w.failed()
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Writer) work(c compressor) {
	defer w.group.Done()
	buf := make([]byte, chunkSize)
	var packed []byte
	for j := range w.jobs {
		var err error
		if packed, err = w.do(j, c, buf, packed); err != nil {
			w.fail(fmt.Errorf("writing qcow2: disk bytes %d+%d: %w", j.off, j.n, err))
		}
	}
}

// do reads and compresses a job, takes its place in turn, and writes it. The
// turn is waited for and passed on in any case.
func (w *Writer) do(j job, c compressor, buf, packed []byte) ([]byte, error) {
	packed, cs, err := w.prepare(j, c, buf, packed)
	<-j.wait
	var ps []piece
	if err == nil {
		ps, err = w.alloc.place(j.off/ClusterSize, cs)
	}
	close(j.ok)
	if err != nil {
		return packed, err
	}
	// File systems let one writer into a file at a time and keep the others
	// spinning; those are better off asleep.
	w.writing.Lock()
	defer w.writing.Unlock()
	for _, p := range ps {
		if _, err := w.out.WriteAt(p.data, p.off); err != nil {
			return packed, err
		}
	}
	return packed, nil
}

// prepare reads a job's clusters and compresses them.
func (w *Writer) prepare(j job, c compressor, buf, packed []byte) ([]byte, []cluster, error) {
	if err := w.failed(); err != nil {
		return packed, nil, err
	}
	buf = buf[:(j.n+ClusterSize-1)/ClusterSize*ClusterSize]
	if n, err := j.r.ReadAt(buf[:j.n], j.off); n < j.n {
		return packed, nil, fmt.Errorf("reading: %w", err)
	}
	clear(buf[j.n:])
	return pack(c, buf, packed[:0])
}

// A cluster is one cluster of a job, ready to be placed; without data it is all zeros.
type cluster struct {
	data   []byte
	packed bool
}

// pack finds the clusters of zeros and compresses the others into packed.
func pack(c compressor, buf, packed []byte) ([]byte, []cluster, error) {
	cs := make([]cluster, len(buf)/ClusterSize)
	if cap(packed) < len(buf)+ClusterSize {
		packed = make([]byte, 0, len(buf)+ClusterSize)
	}
	for i := range cs {
		raw := buf[i*ClusterSize : (i+1)*ClusterSize]
		if isZero(raw) {
			continue
		}
		cs[i].data = raw
		if c == nil {
			continue
		}
		at := len(packed)
		out, err := c(packed, raw)
		if err != nil {
			return packed, nil, fmt.Errorf("compressing: %w", err)
		}
		if n := len(out) - at; n < ClusterSize {
			packed = out
			cs[i] = cluster{packed[at:], true}
		}
	}
	return packed, cs, nil
}
