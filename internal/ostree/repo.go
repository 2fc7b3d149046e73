package ostree

import (
	"errors"
	"fmt"
	"strings"
)

// RepoConfig is the file "config" of a repository in mode bare on a physical
// root whose boot loader reads the boot loader specification's entries itself.
const RepoConfig = `[core]
repo_version=1
mode=bare

[sysroot]
bootloader=none
bootprefix=true
readonly=true
`

// RepoDirs lists the directories of a fresh repository, parents first, all with
// mode 0755 and owner root. Directories below "objects" exist as objects need them.
func RepoDirs() []string {
	return []string{
		"extensions", "objects", "refs", "refs/heads", "refs/mirrors", "refs/remotes",
		"state", "tmp", "tmp/cache",
	}
}

// RefFile returns the path of a reference below the repository.
func RefFile(ref string) (string, error) {
	if err := CheckRef(ref); err != nil {
		return "", err
	}
	return "refs/heads/" + ref, nil
}

// RefContent is the content of a reference's file.
func RefContent(commit Checksum) string { return commit.String() + "\n" }

// CheckRef reports whether libostree accepts the name of a reference.
func CheckRef(ref string) error {
	for part := range strings.SplitSeq(ref, "/") {
		ok := part != "" && isWord(part[0])
		for i := range len(part) {
			ok = ok && (isWord(part[i]) || part[i] == '-' || part[i] == '.')
		}
		if !ok {
			return fmt.Errorf("reference %.200q: component %.200q is not allowed", ref, part)
		}
	}
	return nil
}

func isWord(c byte) bool { return isAlnum(c) || c == '_' }

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// DeploymentRef is the reference that keeps the first deployment's commit.
const DeploymentRef = "ostree/1/1/0"

// BlobRef returns the reference of a layer's commit: the digest is that of the
// compressed blob, as the manifest lists it ("sha256:…").
func BlobRef(digest string) (string, error) {
	return containerRef("blob", digest)
}

// ImageRef returns the reference of an image's merge commit: target is the
// reference that upgrades will follow, with its transport ("docker://host/name:tag",
// "oci:/path"). A name with both tag and digest must have lost its tag before.
func ImageRef(target string) (string, error) {
	return containerRef("image", target)
}

func containerRef(kind, name string) (string, error) {
	esc, err := EscapeRef(name)
	if err != nil {
		return "", err
	}
	ref := "ostree/container/" + kind + "/" + esc
	return ref, CheckRef(ref)
}

// EscapeRef spells a text with the characters that references may have, in the
// way of ostree-ext.
func EscapeRef(s string) (string, error) {
	if s == "" {
		return "", errors.New("an empty text cannot be part of a reference")
	}
	if err := checkText("reference", s); err != nil {
		return "", err
	}
	var b strings.Builder
	word := false // the last character was a letter or digit
	for i, r := range s {
		was := word
		word = r < 0x80 && isAlnum(byte(r))
		switch {
		case word, r == '-', r == '/' && was && i+1 < len(s):
			b.WriteRune(r)
		case r == '_':
			b.WriteString("__")
		default:
			fmt.Fprintf(&b, "_%02X_", r)
		}
	}
	return b.String(), nil
}
