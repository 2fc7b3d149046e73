package build

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/disk/ext4"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/sysroot"
	"github.com/aitheros/aither-image/internal/tree"
)

// previous is what an earlier build left: its raw disk holds the content of
// its layers, so that a layer that is used again need not be inflated. It takes
// no room but for the names and places. Every content is hashed when it is
// placed again, so that a disk that was changed in between does no harm.
type previous struct {
	file *os.File
	root int64 // where the root file system starts
	// layers are by the digest of the blob.
	layers map[string]*placedLayer
}

// placed is the file that remembers it.
type placed struct {
	Version int
	Disk    stamp
	Root    int64
	Layers  map[string]*placedLayer
}

// placedVersion grows when the file's meaning changes.
const placedVersion = 1

// stamp tells one state of a file from another.
type stamp struct {
	Size, Modified int64
	Inode          uint64
}

type placedLayer struct {
	Members []placedMember
}

type placedMember struct {
	Member  layer.Member
	Body    []byte
	Stored  bool
	Guess   string
	Sum     [32]byte
	Extents []ext4.Extent
}

func stampOf(f *os.File) (stamp, error) {
	fi, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	s := stamp{Size: fi.Size(), Modified: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Inode = st.Ino
	}
	return s, nil
}

// placedPath is where the cache remembers the disk at path.
func placedPath(cache, path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "placed", digestName(abs)+".gob.zst"), nil
}

// openPrevious opens what an earlier build left at path; nil where there is
// nothing that can be used.
func openPrevious(cache, path string) *previous {
	name, err := placedPath(cache, path)
	if err != nil {
		return nil
	}
	p, err := readPlaced(name)
	if err != nil || p.Version != placedVersion {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	if s, err := stampOf(f); err != nil || s != p.Disk {
		_ = f.Close() // only read from
		return nil
	}
	return &previous{file: f, root: p.Root, layers: p.Layers}
}

func readPlaced(name string) (_ *placed, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := zstd.NewReader(bufio.NewReader(f), zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	var p placed
	if err := gob.NewDecoder(z).Decode(&p); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return &p, nil
}

// Close gives the earlier disk up.
func (p *previous) Close() error {
	if p == nil {
		return nil
	}
	return p.file.Close()
}

// known are the listings of the image's layers that the earlier disk holds.
func (p *previous) known(im *layer.Image) []*sysroot.Listing {
	if p == nil {
		return nil
	}
	out := make([]*sysroot.Listing, len(im.Layers))
	for i, d := range im.Layers {
		l := p.layers[d.Digest.String()]
		if l == nil {
			continue
		}
		out[i] = &sysroot.Listing{Members: make([]sysroot.ListedMember, len(l.Members))}
		for k, m := range l.Members {
			lm := sysroot.ListedMember{Member: m.Member, Body: m.Body}
			if m.Stored {
				lm.Stored = &sysroot.ListedContent{Guess: m.Guess, Sum: m.Sum, Content: &placedContent{p: p, size: m.Member.Size, extents: m.Extents}}
			}
			out[i].Members[k] = lm
		}
	}
	return out
}

// placedContent is content on an earlier disk.
type placedContent struct {
	p       *previous
	size    int64
	extents []ext4.Extent
}

func (c *placedContent) Size() int64 { return c.size }

func (c *placedContent) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(c, 0, c.size)), nil
}

// ReadAt reads extents from the disk and zeros between them.
func (c *placedContent) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	for _, e := range c.extents {
		from, to := max(off, e.At), min(off+int64(len(b)), e.At+e.Len)
		if from >= to {
			continue
		}
		if _, err := c.p.file.ReadAt(b[from-off:to-off], c.p.root+e.Off+from-e.At); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

var _ tree.Content = (*placedContent)(nil)

// remember writes down where the layers of a finished disk lie. Nothing depends
// on it: a cache that cannot be written makes the next build slower.
func remember(cache, path string, im *layer.Image, d *Disk) error {
	name, err := placedPath(cache, path)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	s, err := stampOf(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	p := placed{Version: placedVersion, Disk: s, Root: d.Layout.Find(plan.Root).Start, Layers: map[string]*placedLayer{}}
	for i, l := range d.listings {
		if pl, ok := placeLayer(l); ok {
			p.Layers[im.Layers[i].Digest.String()] = pl
		}
	}
	return atomicfile.Write(name, 0o600, func(w io.Writer) error {
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			return err
		}
		return errors.Join(gob.NewEncoder(z).Encode(&p), z.Close())
	})
}

func placeLayer(l *sysroot.Listing) (*placedLayer, bool) {
	if l == nil {
		return nil, false
	}
	out := &placedLayer{Members: make([]placedMember, len(l.Members))}
	for i, m := range l.Members {
		pm := placedMember{Member: m.Member, Body: m.Body}
		if m.Stored != nil {
			data, ok := m.Stored.Content.(*ext4.Data)
			if !ok {
				return nil, false
			}
			pm.Stored, pm.Guess, pm.Sum = true, m.Stored.Guess, m.Stored.Sum
			if pm.Extents, ok = data.Extents(); !ok {
				return nil, false
			}
		}
		out.Members[i] = pm
	}
	return out, true
}
