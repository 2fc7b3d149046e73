package debian

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// maxInRelease bounds the one file whose size nobody has signed.
const maxInRelease = 16 << 20

// A release is the signed list of an archive's index files.
type release struct {
	date   time.Time
	byHash bool
	files  map[string]indexFile // by path under dists/<suite>
}

type indexFile struct {
	sha256 string
	size   int64
}

// release fetches and verifies dists/<suite>/InRelease.
func (f *fetcher) release(ctx context.Context) (*release, error) {
	url := f.url("dists", f.o.Suite, "InRelease")
	signed, err := f.small(ctx, url, maxInRelease)
	if err != nil {
		return nil, err
	}
	text, err := verify(signed, f.o)
	if err != nil {
		return nil, fmt.Errorf("checking the signature of %s: %w", url, err)
	}
	rel, err := parseRelease(text, f.o)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", url, err)
	}
	return rel, nil
}

// verify returns the text that a trusted key signed, and nothing around it.
func verify(signed []byte, o Options) ([]byte, error) {
	keys := o.Keys
	if len(keys) == 0 {
		keys = archiveKeys
	}
	ring, err := readKeys(keys)
	if err != nil {
		return nil, fmt.Errorf("reading the archive's keys: %w", err)
	}
	block, _ := clearsign.Decode(signed)
	if block == nil {
		return nil, fmt.Errorf("%w: no signed text found", ErrVerify)
	}
	at := o.Now
	if o.AllowExpired {
		// A frozen archive is judged as of its own day, which its signature
		// ends. The date is taken from the text before the signature is
		// checked, and used for nothing else.
		if d, err := releaseDate(parseFields(block.Plaintext)); err == nil {
			at = d.Add(24 * time.Hour)
		}
	}
	if _, err := block.VerifySignature(ring, &packet.Config{Time: func() time.Time { return at }}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVerify, err)
	}
	return block.Plaintext, nil
}

// readKeys reads one or several armored blocks.
func readKeys(armored []byte) (openpgp.EntityList, error) {
	const end = "-----END PGP PUBLIC KEY BLOCK-----"
	var ring openpgp.EntityList
	for rest := armored; len(bytes.TrimSpace(rest)) > 0; {
		n := bytes.Index(rest, []byte(end))
		if n < 0 {
			return nil, fmt.Errorf("no armored public key")
		}
		block, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(rest[:n+len(end)]))
		if err != nil {
			return nil, err
		}
		ring = append(ring, block...)
		rest = rest[n+len(end):]
	}
	if len(ring) == 0 {
		return nil, fmt.Errorf("no armored public key")
	}
	return ring, nil
}

// parseFields reads one paragraph of "Key: value" with continuation lines.
func parseFields(text []byte) map[string]string {
	fields := map[string]string{}
	key := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, " \t\r\n")
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[key] += "\n" + strings.TrimSpace(line)
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if !found {
			key = ""
			continue
		}
		key = name
		fields[key] = strings.TrimSpace(value)
	}
	delete(fields, "")
	return fields
}

func releaseDate(fields map[string]string) (time.Time, error) {
	return parseDate(fields["Date"])
}

func parseDate(s string) (time.Time, error) {
	t, err := time.Parse("Mon, 02 Jan 2006 15:04:05 MST", s)
	if err != nil {
		t, err = time.Parse("Mon, _2 Jan 2006 15:04:05 MST", s)
	}
	return t.UTC(), err
}

// parseRelease reads the signed text and holds it against what was asked for:
// a mirror must not answer with another suite.
func parseRelease(text []byte, o Options) (*release, error) {
	fields := parseFields(text)
	date, err := releaseDate(fields)
	if err != nil {
		return nil, fmt.Errorf("%w: date %q: %w", ErrVerify, fields["Date"], err)
	}
	if o.Suite != fields["Suite"] && o.Suite != fields["Codename"] {
		return nil, fmt.Errorf("%w: the archive calls itself %q (%q), not %q", ErrVerify, fields["Suite"], fields["Codename"], o.Suite)
	}
	for _, c := range o.Components {
		if !slices.Contains(strings.Fields(fields["Components"]), c) {
			return nil, fmt.Errorf("no component %q\nthe archive has %s", c, fields["Components"])
		}
	}
	if !slices.Contains(strings.Fields(fields["Architectures"]), o.Arch) {
		return nil, fmt.Errorf("no architecture %q\nthe archive has %s", o.Arch, fields["Architectures"])
	}
	if err := checkValid(fields["Valid-Until"], o); err != nil {
		return nil, err
	}
	files, err := parseHashes(fields["SHA256"])
	if err != nil {
		return nil, err
	}
	return &release{date: date, byHash: fields["Acquire-By-Hash"] == "yes", files: files}, nil
}

func checkValid(until string, o Options) error {
	if until == "" || o.AllowExpired {
		return nil
	}
	end, err := parseDate(until)
	if err != nil {
		return fmt.Errorf("%w: Valid-Until %q: %w", ErrVerify, until, err)
	}
	if o.Now.After(end) {
		return fmt.Errorf("%w: the archive is valid until %s only\nallow an expired archive if this mirror is frozen on purpose", ErrVerify, end.Format(time.RFC3339))
	}
	return nil
}

func parseHashes(section string) (map[string]indexFile, error) {
	files := map[string]indexFile{}
	s := bufio.NewScanner(strings.NewReader(section))
	for s.Scan() {
		words := strings.Fields(s.Text())
		if len(words) == 0 {
			continue
		}
		if len(words) != 3 || !isSHA256(words[0]) {
			return nil, fmt.Errorf("%w: bad SHA256 line %q", ErrVerify, s.Text())
		}
		size, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("%w: bad size in %q", ErrVerify, s.Text())
		}
		files[words[2]] = indexFile{sha256: words[0], size: size}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVerify, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: no SHA256 digests", ErrVerify)
	}
	return files, nil
}

func isSHA256(s string) bool {
	if len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
