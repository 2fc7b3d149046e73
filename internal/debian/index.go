package debian

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// maxIndex bounds an index after decompression: main has about 60 MB.
const maxIndex = 1 << 30

// A stanza is what the index says of one package.
type stanza struct {
	name, version, arch string
	essential           bool
	priority            string
	depends             string // Pre-Depends and Depends
	provides            string
	filename            string // relative to the mirror
	size                int64
	sha256              string
}

// deb is the file name that apt gives the package in its own cache.
func (s *stanza) deb() string {
	return s.name + "_" + strings.ReplaceAll(s.version, ":", "%3a") + "_" + s.arch + ".deb"
}

// packages fetches and reads the index of every wanted component.
func (f *fetcher) packages(ctx context.Context, rel *release) ([]*stanza, error) {
	var all []*stanza
	for _, c := range f.o.Components {
		part, err := f.component(ctx, rel, c)
		if err != nil {
			return nil, fmt.Errorf("reading the packages of %s %s/%s: %w", f.o.Mirror, f.o.Suite, c, err)
		}
		all = append(all, part...)
	}
	return all, nil
}

func (f *fetcher) component(ctx context.Context, rel *release, component string) ([]*stanza, error) {
	dir := path.Join(component, "binary-"+f.o.Arch)
	for _, name := range []string{"Packages.xz", "Packages.gz"} {
		file, ok := rel.files[path.Join(dir, name)]
		if !ok {
			continue
		}
		url := f.url("dists", f.o.Suite, dir, name)
		if rel.byHash {
			// The plain name may be replaced while we look; this one never is.
			url = f.url("dists", f.o.Suite, dir, "by-hash/SHA256", file.sha256)
		}
		r, err := f.open(ctx, url, file)
		if err != nil {
			return nil, err
		}
		stanzas, err := readIndex(r, name, f.o.Arch)
		return stanzas, errors.Join(err, r.Close())
	}
	return nil, fmt.Errorf("%w: the archive signs no index for %s", ErrVerify, dir)
}

func readIndex(r io.Reader, name, arch string) ([]*stanza, error) {
	plain, err := decompress(r, path.Ext(name))
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", name, err)
	}
	defer plain.Close()
	limited := &io.LimitedReader{R: plain, N: maxIndex}
	stanzas, err := parseIndex(limited, arch)
	if err == nil && limited.N == 0 {
		err = fmt.Errorf("%w: index of more than %d bytes", ErrVerify, int64(maxIndex))
	}
	return stanzas, err
}

// parseIndex reads the paragraphs of a Packages file, one package each.
func parseIndex(r io.Reader, arch string) ([]*stanza, error) {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), 16<<20)
	var all []*stanza
	cur := &stanza{}
	flush := func() error {
		if cur.name == "" {
			cur = &stanza{}
			return nil
		}
		if err := cur.check(arch); err != nil {
			return err
		}
		all = append(all, cur)
		cur = &stanza{}
		return nil
	}
	for s.Scan() {
		line := s.Text()
		if line == "" {
			if err := flush(); err != nil {
				return nil, err
			}
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		if err := cur.set(key, strings.TrimSpace(value)); err != nil {
			return nil, err
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVerify, err)
	}
	return all, flush()
}

func (s *stanza) set(key, value string) error {
	switch key {
	case "Package":
		s.name = value
	case "Version":
		s.version = value
	case "Architecture":
		s.arch = value
	case "Essential":
		s.essential = value == "yes"
	case "Priority":
		s.priority = value
	case "Depends", "Pre-Depends":
		s.depends = joinList(s.depends, value)
	case "Provides":
		s.provides = value
	case "Filename":
		s.filename = value
	case "SHA256":
		s.sha256 = value
	case "Size":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: package %q: size %q", ErrVerify, s.name, value)
		}
		s.size = n
	}
	return nil
}

func joinList(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}

// check holds the fields that later become file names against what they may be.
func (s *stanza) check(arch string) error {
	bad := ""
	switch {
	case !plainWord(s.name):
		bad = "name"
	case !plainWord(s.version):
		bad = "version"
	case s.arch != arch && s.arch != "all":
		bad = "architecture " + s.arch
	case !isSHA256(s.sha256):
		bad = "SHA256"
	case s.size <= 0:
		bad = "size"
	case s.filename == "" || path.Clean("/"+s.filename) != "/"+s.filename:
		bad = "filename"
	}
	if bad != "" {
		return fmt.Errorf("%w: package %q in the index: bad %s", ErrVerify, s.name, bad)
	}
	return nil
}

// plainWord holds for the characters that names and versions are made of.
func plainWord(s string) bool {
	if s == "" || len(s) > 200 {
		return false
	}
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("+-.~:_", c)) {
			return false
		}
	}
	return s != "." && s != ".."
}
