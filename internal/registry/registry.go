// Package registry brings images from registries and local stores into OCI
// layouts, and pushes them, without changing a byte of what was served. It
// refuses to recompress, to trust a size or digest that it has not checked, and
// to read the machine's own container configuration unless it is told to.
package registry

import (
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNetwork is wrapped by errors of a registry or the way to it: not reached,
// refused, unauthorised, or answering with something other than what was asked.
var ErrNetwork = errors.New("registry or network failed")

// Options say how registries are reached. The zero value reaches registries
// over verified TLS as nobody in particular.
type Options struct {
	// AuthFile is a containers-auth.json (as REGISTRY_AUTH_FILE names); empty: no credentials.
	AuthFile string
	// CertDir holds <host[:port]>/*.{crt,cert,key} as /etc/containers/certs.d does; empty: the system's CAs only.
	CertDir string
	// Insecure lists hosts ("127.0.0.1:5000") that may be reached over plain http or unverified TLS.
	Insecure []string
	// Arch is the architecture in Go's words ("amd64") that is taken of an image for several; empty: the machine's.
	Arch string
	// Retries is how often a transient failure is tried again; 0 means 3, negative never.
	Retries int
	// Backoff is the pause before the first retry, doubled each time; 0 means one second.
	Backoff time.Duration
	// Stall is how long a transfer may bring no byte; 0 means one minute.
	Stall time.Duration
	// Parallel is how many blobs are fetched side by side; 0 means 4.
	Parallel int
	// TempDir holds what oci-archive: files unpack to; empty means TMPDIR or /var/tmp.
	TempDir string

	have *Layout // blobs that need not be fetched
}

// A Result is an image as it was served.
type Result struct {
	// Manifest describes the image manifest of the wanted architecture, as served.
	Manifest v1.Descriptor
	// Index is the digest of the index that led to it, empty where there was none.
	Index digest.Digest
	// Config describes the image's configuration.
	Config v1.Descriptor
	// Layers describes the layer blobs, lowest first.
	Layers []v1.Descriptor
	// Bytes is how many bytes of blobs were fetched; those that were there already do not count.
	Bytes int64
}

func (o Options) withDefaults() Options {
	if o.Retries == 0 {
		o.Retries = 3
	}
	if o.Backoff == 0 {
		o.Backoff = time.Second
	}
	if o.Stall == 0 {
		o.Stall = time.Minute
	}
	if o.Parallel == 0 {
		o.Parallel = 4
	}
	return o
}

// networkError marks err as the fault of a registry or of the way to it.
func networkError(err error) error {
	if err == nil || errors.Is(err, ErrNetwork) {
		return err
	}
	return &netError{err}
}

type netError struct{ err error }

func (e *netError) Error() string   { return e.err.Error() }
func (e *netError) Unwrap() []error { return []error{ErrNetwork, e.err} }
