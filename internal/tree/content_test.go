package tree

import (
	"errors"
	"io"
	"testing"
)

// liar is content that has more bytes than it says.
type liar struct{ Bytes }

func (liar) Size() int64 { return 1 }

func TestReadAllIsBounded(t *testing.T) {
	for _, c := range []struct {
		name string
		c    Content
		want string
		fits bool
	}{
		{"none", nil, "", true},
		{"bytes", Bytes("four"), "four", true},
		{"text", Text("four"), "four", true},
		{"too large", Text("fives"), "", false},
		{"larger than it says", liar{Bytes("fives")}, "", false},
	} {
		got, err := ReadAll(c.c, 4)
		var large *TooLargeError
		if c.fits != (err == nil) || !c.fits && !errors.As(err, &large) || c.fits && string(got) != c.want {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
	}
}

func TestContentOpensMoreThanOnce(t *testing.T) {
	for _, c := range []Content{Bytes("ab"), Text("ab")} {
		for range 2 {
			r, err := c.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil || string(b) != "ab" || c.Size() != 2 {
				t.Errorf("%T: got %q, %v", c, b, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestIsHardLink(t *testing.T) {
	if e := (Entry{Link: "x"}); !e.IsHardLink() {
		t.Error("a further name is not seen")
	}
	if e := (Entry{}); e.IsHardLink() {
		t.Error("a first name is taken for a further one")
	}
}
