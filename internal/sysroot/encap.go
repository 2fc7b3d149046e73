package sysroot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/ostree"
)

// layerKind is the role of a layer in the image.
type layerKind int

const (
	derived    layerKind = iota // an ordinary container layer
	baseCommit                  // the first layer of an encapsulated ostree commit
	chunk                       // a further layer of it, content objects only
)

const (
	objectsPrefix = repoPrefix + "objects/"
	xattrsPrefix  = repoPrefix + "xattrs/"
	// maxObject bounds metadata objects, as libostree does; maxObjects all of a layer.
	maxObject  = 128 << 20
	maxObjects = 512 << 20
)

// An encapLayer is the part of an ostree repository that one layer carries.
type encapLayer struct {
	files  map[ostree.Checksum]*file
	metas  map[ostree.Checksum]metaObject
	commit *ostree.Checksum // the base commit, in the first layer
	detach []byte           // its detached metadata, nil for none
	bytes  int64            // of all metas
}

type metaObject struct {
	kind ostree.Kind
	data []byte
}

func newEncapLayer() *encapLayer {
	return &encapLayer{files: map[ostree.Checksum]*file{}, metas: map[ostree.Checksum]metaObject{}}
}

// An encapVisitor takes the objects out of an encapsulated layer's archive
// (on-disk specification 2.2). Attributes of a file travel in a member of
// their own, which all exporters but the oldest write before the file's.
type encapVisitor struct {
	layer  *encapLayer
	put    *putter
	blobs  map[string][]byte          // serialized attributes by archive path
	ofFile map[ostree.Checksum][]byte // … by the file that has them
	late   []ostree.Checksum          // files that came before their attributes
}

func (v *encapVisitor) visit(m *layer.Member, r io.Reader) error {
	if v.blobs == nil {
		v.blobs, v.ofFile = map[string][]byte{}, map[ostree.Checksum][]byte{}
	}
	if strings.HasPrefix(m.Path, xattrsPrefix) && m.Kind == layer.Regular {
		return v.keepXattrs(m, r)
	}
	rest, ok := strings.CutPrefix(m.Path, objectsPrefix)
	if !ok || m.Kind == layer.Directory {
		return nil
	}
	sum, ext, err := objectName(rest)
	if err != nil {
		return err
	}
	switch ext {
	case "file":
		return v.file(m, sum, r)
	case "file-xattrs-link", "file.xattrs":
		return v.xattrsOf(m, sum, r)
	case "file-xattrs":
		return v.keepXattrs(m, r)
	case string(ostree.KindCommit), string(ostree.KindDirTree), string(ostree.KindDirMeta):
		return v.meta(m, sum, ostree.Kind(ext), r)
	case "commitmeta":
		b, err := readSmall(m, r)
		v.layer.detach = b
		return err
	}
	return fmt.Errorf("object of unknown type %q", ext)
}

func objectName(rest string) (ostree.Checksum, string, error) {
	if len(rest) < 3 || rest[2] != '/' {
		return ostree.Checksum{}, "", errors.New("it is not named like an object")
	}
	name, ext, ok := strings.Cut(rest[:2]+rest[3:], ".")
	sum, err := ostree.ParseChecksum(name)
	if !ok || err != nil {
		return ostree.Checksum{}, "", errors.New("it is not named like an object")
	}
	return sum, ext, nil
}

func readSmall(m *layer.Member, r io.Reader) ([]byte, error) {
	if m.Kind != layer.Regular {
		return nil, errors.New("an object that is no regular file")
	}
	if m.Size > maxObject {
		return nil, fmt.Errorf("an object of %d bytes, over the limit of %d", m.Size, maxObject)
	}
	b, err := io.ReadAll(io.LimitReader(r, m.Size))
	if err == nil && int64(len(b)) != m.Size {
		err = io.ErrUnexpectedEOF
	}
	if k, ok := r.(keeper); ok {
		k.rec.body = b
	}
	return b, err
}

func (v *encapVisitor) keepXattrs(m *layer.Member, r io.Reader) error {
	b, err := readSmall(m, r)
	v.blobs[m.Path] = b
	return v.account(len(b), err)
}

func (v *encapVisitor) account(n int, err error) error {
	if v.layer.bytes += int64(n); err == nil && v.layer.bytes > maxObjects {
		err = fmt.Errorf("metadata objects of more than %d bytes in one layer", maxObjects)
	}
	return err
}

func (v *encapVisitor) xattrsOf(m *layer.Member, sum ostree.Checksum, r io.Reader) error {
	if m.Kind == layer.HardLink {
		b, ok := v.blobs[m.Link]
		if !ok {
			return fmt.Errorf("hard link to the attributes %q, which did not come before", m.Link)
		}
		v.ofFile[sum] = b
		return nil
	}
	b, err := readSmall(m, r)
	v.ofFile[sum] = b
	return v.account(len(b), err)
}

func (v *encapVisitor) meta(m *layer.Member, sum ostree.Checksum, kind ostree.Kind, r io.Reader) error {
	b, err := readSmall(m, r)
	if err := v.account(len(b), err); err != nil {
		return err
	}
	if got := ostree.ChecksumOf(b); got != sum {
		return fmt.Errorf("its checksum is %s", got)
	}
	v.layer.metas[sum] = metaObject{kind, b}
	if kind == ostree.KindCommit {
		if v.layer.commit != nil {
			return errors.New("a second commit")
		}
		v.layer.commit = &sum
	}
	return nil
}

func (v *encapVisitor) file(m *layer.Member, sum ostree.Checksum, r io.Reader) error {
	if _, twice := v.layer.files[sum]; twice {
		return nil
	}
	f := &file{uid: m.UID, gid: m.GID, perm: m.Perm, size: m.Size}
	switch m.Kind {
	case layer.Symlink:
		f.symlink, f.target, f.size, f.perm = true, m.Link, 0, 0o777
	case layer.Regular:
	default:
		return errors.New("a file object that is neither a regular file nor a symbolic link")
	}
	v.layer.files[sum] = f
	x, ok := v.ofFile[sum]
	if !ok {
		v.late = append(v.late, sum)
		if f.symlink {
			return nil
		}
		return v.put.stream(f, r)
	}
	if err := f.setXattrs(x); err != nil {
		return err
	}
	f.hashed = true
	if f.symlink {
		return v.check(sum, f)
	}
	if err := v.put.stream(f, r); err != nil {
		return err
	}
	return v.check(sum, f)
}

func (f *file) setXattrs(b []byte) error {
	x, err := ostree.ParseXattrs(b)
	if err != nil {
		return fmt.Errorf("its attributes: %w", err)
	}
	f.xattrs, f.own = splitLabel(x)
	f.guess = f.own
	return nil
}

func (v *encapVisitor) check(sum ostree.Checksum, f *file) error {
	if f.symlink || f.size == 0 {
		f.sum = ostree.SumOf(ostree.NewFileHash(f.header(f.own)))
	}
	if f.sum != sum {
		return fmt.Errorf("its checksum is %s", f.sum)
	}
	return nil
}

// finish checks the files whose attributes came late or never.
func (v *encapVisitor) finish(ctx context.Context, kind layerKind) error {
	for _, sum := range v.late {
		f := v.layer.files[sum]
		if err := f.setXattrs(v.ofFile[sum]); err != nil {
			return fmt.Errorf("object %s: %w", sum, err)
		}
		var err error
		if f.sum, err = f.rehash(ctx, f.own); err != nil {
			return err
		}
		f.hashed = true
		if f.sum != sum {
			return fmt.Errorf("object %s has the checksum %s", sum, f.sum)
		}
	}
	if kind == baseCommit && v.layer.commit == nil {
		return errors.New("no commit in the first layer of an encapsulated image")
	}
	if kind == chunk && len(v.layer.metas) > 0 {
		return errors.New("metadata objects in a chunk of an encapsulated image")
	}
	return nil
}

// rehash computes the object's checksum under a label from the stored content.
func (f *file) rehash(ctx context.Context, label string) (ostree.Checksum, error) {
	h := ostree.NewFileHash(f.header(label))
	if f.data == nil {
		return ostree.SumOf(h), nil
	}
	if err := ctx.Err(); err != nil {
		return ostree.Checksum{}, err
	}
	r, err := f.data.Open()
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("reading stored content back: %w", err)
	}
	n, err := io.Copy(h, r)
	err = errors.Join(err, r.Close())
	if err == nil && n != f.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return ostree.Checksum{}, fmt.Errorf("reading stored content back: %w", err)
	}
	return ostree.SumOf(h), nil
}
