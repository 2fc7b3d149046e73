package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxAhead is the size of a package file up to which it is unpacked into memory
// ahead of its turn; larger ones are unpacked as they are written. Packages grow
// to about five times their size, so the runs ahead stay within 200 MB.
const maxAhead = 8 << 20

// An opened package is its data archive, or why there is none.
type opened struct {
	data io.ReadCloser
	err  error
}

// ahead opens packages in order, a few of them before they are asked for:
// unpacking takes most of the time, and each package can be on a core of its
// own. Each channel gives one value. The returned function lets the next
// package begin; it must be called once for each one that is done with.
func (p *Plan) ahead(ctx context.Context, debs []*stanza) (<-chan chan opened, func()) {
	slots := make(chan struct{}, max(p.o.Parallel, 1))
	queue := make(chan chan opened)
	go func() {
		defer close(queue)
		for _, d := range debs {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			one := make(chan opened, 1)
			go func() {
				data, err := p.data(d)
				one <- opened{data, err}
			}()
			select {
			case queue <- one:
			case <-ctx.Done():
				return
			}
		}
	}()
	return queue, func() { <-slots }
}

// data opens a package's files: in memory if it is small, else as a stream.
func (p *Plan) data(d *stanza) (_ io.ReadCloser, err error) {
	f, err := p.f.file(d)
	if err != nil {
		return nil, err
	}
	data, err := dataTar(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if d.size > maxAhead {
		return both{data, f}, nil
	}
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(data, 64*maxAhead))
	if err := errors.Join(wrapVerify(err), data.Close(), f.Close()); err != nil {
		return nil, err
	}
	if b.Len() == 64*maxAhead {
		return nil, fmt.Errorf("%w: package of %d bytes unpacks to %d or more", ErrVerify, d.size, b.Len())
	}
	return io.NopCloser(&b), nil
}

func wrapVerify(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVerify, err)
	}
	return nil
}

// both closes the file below a stream with it.
type both struct {
	io.ReadCloser
	file io.Closer
}

func (b both) Close() error { return errors.Join(b.ReadCloser.Close(), b.file.Close()) }
