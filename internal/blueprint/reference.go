package blueprint

import (
	"regexp"
	"strconv"
	"strings"
)

// A reference is a registry reference in its parts.
type reference struct{ name, tag, digest string }

// Forms of a reference; https://github.com/opencontainers/distribution-spec
var (
	domainForm = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*(:[0-9]{1,5})?$|^\[[0-9a-fA-F:]+\](:[0-9]{1,5})?$`)
	pathForm   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestForm = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

// transports are prefixes of references that belong to other keys, or to none.
var transports = []struct{ prefix, hint string }{
	{"docker://", "leave out \"docker://\""},
	{"registry:", "leave out \"registry:\""},
	{"https://", "leave out \"https://\""},
	{"http://", "leave out \"http://\""},
	{"oci-archive:", "write base.archive = \"…\""},
	{"oci:", "write base.layout = \"…\""},
	{"containers-storage:", "use build --image for an image of the local storage"},
	{"ostree-", "leave out the transport"},
}

// parseReference takes host/path[:tag][@digest] apart; why and hint are empty
// if it is one. A host is demanded: short names mean another image elsewhere.
func parseReference(s string) (ref reference, why, hint string) {
	for _, t := range transports {
		if strings.HasPrefix(s, t.prefix) {
			return ref, "a reference has no transport", t.hint
		}
	}
	rest, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest && !digestForm.MatchString(digest) {
		return ref, "the digest is not \"sha256:\" and 64 hexadecimal digits", ""
	}
	colon := strings.LastIndexByte(rest, ':')
	tag := ""
	if colon > strings.LastIndexByte(rest, '/') {
		tag = rest[colon+1:]
		rest = rest[:colon]
		if !tagForm.MatchString(tag) {
			return ref, "the tag " + strconv.Quote(tag) + " has letters that a tag cannot have", ""
		}
	}
	domain, path, slash := strings.Cut(rest, "/")
	if !slash || !strings.ContainsAny(domain, ".:") && domain != "localhost" {
		return ref, "it does not begin with the registry's host", "write it in full, as \"quay.io/organisation/name:tag\""
	}
	if !domainForm.MatchString(domain) {
		return ref, strconv.Quote(domain) + " is no host", ""
	}
	if !pathForm.MatchString(path) {
		if lower := strings.ToLower(path); pathForm.MatchString(lower) {
			return ref, "the name has capital letters", "did you mean " + strconv.Quote(domain+"/"+lower) + "?"
		}
		return ref, strconv.Quote(path) + " is no name of an image", ""
	}
	if len(rest) > 255 {
		return ref, "it is longer than 255 letters", ""
	}
	return reference{rest, tag, digest}, "", ""
}
