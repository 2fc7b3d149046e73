package sysroot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/tree"
)

// A Listing is what one layer held: enough to place it again without its blob,
// as long as its content can be had from somewhere else.
type Listing struct {
	Members []ListedMember
}

// A ListedMember is one member of the layer's archive.
type ListedMember struct {
	Member layer.Member
	// Body is the content of members that are read and not stored.
	Body []byte
	// Stored is the content of files; nil for members without any.
	Stored *ListedContent
}

// ListedContent is a file's content and how to know it again: the checksum of
// its object under the label Guess.
type ListedContent struct {
	Guess   string
	Sum     ostree.Checksum
	Content tree.Content

	file *file
}

// ErrStale is wrapped when content is not what a listing says.
var ErrStale = errors.New("the content of an earlier build has changed")

// A recorder notes the members of a layer while they are visited; body is what
// readSmall read of the one at hand.
type recorder struct {
	list *Listing
	body []byte
}

// A keeper is a member's reader that leads readSmall to the recorder.
type keeper struct {
	io.Reader
	rec *recorder
}

// note adds the member that was just visited; f is the file that it stored, if any.
func (r *recorder) note(m *layer.Member, f *file) {
	l := ListedMember{Member: *m, Body: r.body}
	if f != nil {
		l.Stored = &ListedContent{file: f}
	}
	r.list.Members = append(r.list.Members, l)
	r.body = nil
}

// Listings returns the listings of the layers by index, after Deploy. A layer
// with content that cannot be known again has none.
func (t *Tree) Listings() []*Listing {
	under := make(map[*file]labelled)
	for l := range t.sums {
		under[l.f] = l
	}
	out := make([]*Listing, len(t.layers))
	for i, l := range t.layers {
		if t.complete(l.listing, under) {
			out[i] = l.listing
		}
	}
	return out
}

func (t *Tree) complete(l *Listing, under map[*file]labelled) bool {
	for i := range l.Members {
		s := l.Members[i].Stored
		if s == nil {
			continue
		}
		f := s.file
		s.Content, s.Guess, s.Sum = f.data, f.guess, f.sum
		if f.hashed {
			continue
		}
		u, ok := under[f]
		if !ok {
			return false
		}
		s.Guess, s.Sum = u.label, t.sums[u]
	}
	return true
}

// replay visits the members of a listing as if its layer were read.
func (p *putter) replay(ctx context.Context, l *Listing, visit func(*layer.Member, io.Reader) error) error {
	for i := range l.Members {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := l.Members[i]
		var r io.Reader = bytes.NewReader(m.Body)
		p.known = m.Stored
		if m.Stored != nil {
			c, err := m.Stored.Content.Open()
			if err != nil {
				return fmt.Errorf("%w: %w", ErrStale, err)
			}
			r = c
			err = visit(&m.Member, r)
			if err = errors.Join(err, c.Close()); err != nil {
				return fmt.Errorf("%w: %s: %w", ErrStale, m.Member.Path, err)
			}
			continue
		}
		if err := visit(&m.Member, r); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrStale, m.Member.Path, err)
		}
	}
	p.known = nil
	return nil
}
