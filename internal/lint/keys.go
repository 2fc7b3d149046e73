package lint

import (
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// privateKey finds key material. A key is the header and at least a line of
// data: programs and manuals name the header alone.
func privateKey() lint {
	return lint{
		Info: Info{Name: "private-key", Severity: Fatal, Text: "there are no private keys"},
		each: func(p *pass, e tree.Entry) {
			if !mayHoldKey(e) {
				return
			}
			head, err := readHead(e.Content)
			if err != nil {
				p.fail(e.Path, err)
				return
			}
			if keyMaterial.Match(head) {
				p.report(e.Path, "this holds a private key that everyone with the image has", "make keys on the machine, or hand them over as a secret")
			}
		},
	}
}

// keyMaterial matches PEM and OpenSSH keys, PuTTY's and age's.
var keyMaterial = regexp.MustCompile(`(?m)^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\r?\n(?:[A-Za-z-]+: .*\r?\n|\r?\n)*[A-Za-z0-9+/=]{16,}|^PuTTY-User-Key-File-[23]: |\bAGE-SECRET-KEY-1[0-9A-Z]{20,}`)

// keyLimit is the size from which files outside of /usr are not taken for keys.
const keyLimit = 64 << 10

// keyNames are the endings of files that are looked at in /usr, too.
var keyNames = []string{".pem", ".key", ".p8", ".pk8", ".ppk", ".asc", ".crt", "id_rsa", "id_ed25519", "id_ecdsa", "id_dsa", ".priv"}

// publicFolders hold keys that are published on purpose: documentation and tests.
var publicFolders = regexp.MustCompile(`^usr/share/(doc|man|info|gtk-doc)/|/(tests?|testdata|testing|examples?|fixtures|demos?)/`)

func mayHoldKey(e tree.Entry) bool {
	if !e.Mode.IsRegular() || e.IsHardLink() || size(e) < 48 || size(e) > keyLimit || publicFolders.MatchString(e.Path) {
		return false
	}
	if !under(e.Path, "usr") || under(e.Path, "usr/local") || under(e.Path, "usr/etc") {
		return true
	}
	name := path.Base(e.Path)
	for _, end := range keyNames {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

func readHead(c tree.Content) (b []byte, err error) {
	r, err := c.Open()
	if err != nil {
		return nil, err
	}
	b, err = io.ReadAll(io.LimitReader(r, keyLimit))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return b, err
}
