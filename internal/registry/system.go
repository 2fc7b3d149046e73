package registry

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	ociarchive "github.com/containers/image/v5/oci/archive"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
)

// SystemContext makes the settings of the container libraries that stand for
// o. The machine's own registries.conf, certs.d and login files are not read:
// what counts is what the caller names.
func SystemContext(o Options) *types.SystemContext {
	quiet()
	s := &types.SystemContext{
		SystemRegistriesConfPath:    os.DevNull,
		SystemRegistriesConfDirPath: "/nonexistent",
		DockerPerHostCertDirPath:    "/nonexistent",
		OSChoice:                    "linux",
		ArchitectureChoice:          o.Arch,
		BigFilesTemporaryDir:        o.TempDir,
		DockerRegistryUserAgent:     "aither-image",
	}
	if s.ArchitectureChoice == "" {
		s.ArchitectureChoice = runtime.GOARCH
	}
	if o.CertDir != "" {
		s.DockerPerHostCertDirPath = o.CertDir
	}
	if o.AuthFile != "" {
		s.AuthFilePath = o.AuthFile
	} else {
		s.DockerAuthConfig = &types.DockerAuthConfig{} // as nobody, without a look at the user's logins
	}
	return s
}

// quiet keeps the container libraries from writing to the terminal: what matters
// comes back as an error. A logger that somebody has set up already stays.
func quiet() {
	if l := logrus.StandardLogger(); l.Out == os.Stderr {
		l.SetOutput(io.Discard)
	}
}

// A source is a parsed reference.
type source struct {
	ref types.ImageReference
	sys *types.SystemContext
	// named is set for references to registries.
	named reference.Named
	// local is the digest that a layout's index gives.
	local digest.Digest
	// layout is set for layouts on this machine.
	layout *Layout
}

// parse understands docker://, oci:, oci-archive: and dir: references.
func parse(ref string, o Options) (*source, error) {
	transport, rest, ok := strings.Cut(ref, ":")
	if !ok {
		return nil, fmt.Errorf("%q is no image reference\nhint: docker://name@sha256:…, oci:dir:tag, oci-archive:file, dir:dir or containers-storage:name", ref)
	}
	s := &source{sys: SystemContext(o)}
	var err error
	switch transport {
	case "docker":
		if s.ref, err = docker.ParseReference(rest); err == nil {
			s.named = s.ref.DockerReference()
			if slices.Contains(o.Insecure, reference.Domain(s.named)) {
				s.sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
			}
		}
	case "oci":
		if s.ref, err = layout.ParseReference(rest); err == nil {
			// The library does not compare the manifest with the index.
			var d v1.Descriptor
			d, err = layout.LoadManifestDescriptor(s.ref)
			s.local = d.Digest
			dir, _, _ := strings.Cut(rest, ":")
			if l, lerr := OpenLayout(dir); lerr == nil {
				s.layout = l
			}
		}
	case "oci-archive":
		s.ref, err = ociarchive.ParseReference(rest)
	case "dir":
		s.ref, err = directory.NewReference(rest)
	default:
		err = fmt.Errorf("transport %q is not supported\nhint: docker://name@sha256:…, oci:dir:tag, oci-archive:file, dir:dir or containers-storage:name", transport)
	}
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w", ref, err)
	}
	return s, nil
}

// redact removes what a URL in an error text may carry beyond its place:
// registries hand out short-lived signatures in query strings.
func redact(text string) string {
	words := strings.Split(text, " ")
	for i, w := range words {
		t := strings.Trim(w, `"':,;`)
		if !strings.HasPrefix(t, "http://") && !strings.HasPrefix(t, "https://") {
			continue
		}
		u, err := url.Parse(t)
		if err != nil || u.RawQuery == "" && u.User == nil {
			continue
		}
		u.User, u.RawQuery = nil, ""
		words[i] = strings.Replace(w, t, u.String(), 1)
	}
	return strings.Join(words, " ")
}
