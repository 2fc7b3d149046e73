package blueprint

import (
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// keyParts is how many strings follow the name in the public key of each type;
// https://www.rfc-editor.org/rfc/rfc4253#section-6.6, rfc5656, rfc8709 and
// OpenSSH's PROTOCOL.u2f.
var keyParts = map[string]int{
	"ssh-ed25519":                        1,
	"ssh-rsa":                            2,
	"ecdsa-sha2-nistp256":                2,
	"ecdsa-sha2-nistp384":                2,
	"ecdsa-sha2-nistp521":                2,
	"sk-ssh-ed25519@openssh.com":         2,
	"sk-ecdsa-sha2-nistp256@openssh.com": 3,
}

// minRSA is the shortest RSA modulus that current systems accept, in bits.
const minRSA = 2048

// checkPublicKey checks a line of authorized_keys, options included; why is
// empty if it holds a key.
func checkPublicKey(line string) (why, hint string) {
	fields := splitOptions(line)
	at := slices.IndexFunc(fields, func(f string) bool { return keyParts[f] != 0 })
	if at < 0 || at > 1 {
		for _, f := range fields {
			if f == "ssh-dss" {
				return "keys of type ssh-dss are no longer accepted by sshd", "make another: ssh-keygen -t ed25519"
			}
		}
		hint = "write the line of a .pub file, as \"ssh-ed25519 AAAA… name\""
		if len(fields) > 0 {
			if near := nearest(fields[0], slices.Sorted(keysOf(keyParts))); near != "" {
				hint = "did you mean " + strconv.Quote(near) + "?"
			}
		}
		return "this is no public key", hint
	}
	if at+1 >= len(fields) {
		return "the key stops after its type", "copy the whole line"
	}
	blob, err := base64.StdEncoding.DecodeString(fields[at+1])
	if err != nil {
		return "the key is not base64", "copy the whole line"
	}
	return checkBlob(fields[at], blob)
}

// splitOptions splits at blanks outside double quotes.
func splitOptions(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return (r == ' ' || r == '\t') && !quoted
	})
}

func keysOf[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// checkBlob checks the binary form: the type's name and its parts, each with
// its length before it.
func checkBlob(kind string, blob []byte) (why, hint string) {
	var parts [][]byte
	for len(blob) >= 4 {
		n := binary.BigEndian.Uint32(blob)
		if uint64(n) > uint64(len(blob)-4) {
			break
		}
		parts = append(parts, blob[4:4+n])
		blob = blob[4+n:]
	}
	switch {
	case len(blob) != 0 || len(parts) != 1+keyParts[kind]:
		return "the key is cut short or damaged", "copy the whole line"
	case string(parts[0]) != kind:
		return "the line says " + kind + " but the key is another", "copy the whole line"
	case kind == "ssh-ed25519" && len(parts[1]) != 32:
		return "the key is cut short or damaged", "copy the whole line"
	case kind == "ssh-rsa":
		if bits := new(big.Int).SetBytes(parts[2]).BitLen(); bits < minRSA {
			return "the RSA key has " + strconv.Itoa(bits) + " bits, which sshd refuses", "make another: ssh-keygen -t ed25519"
		}
	}
	return "", ""
}
