// Package debian makes a Debian root file system out of an archive's packages,
// as one tar stream, without root, Debian tools or a mount: the packages are
// unpacked and laid beside it, for dpkg inside the tree to configure them. It
// refuses archives whose signature, freshness, digests or packages' paths do
// not hold.
package debian

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/aitheros/aither-image/internal/progress"
)

// ErrNetwork is wrapped by errors of the archive's server or the way to it.
var ErrNetwork = errors.New("archive or network failed")

// ErrVerify is wrapped by errors about bytes that are not what the archive's
// owners signed, or no longer are.
var ErrVerify = errors.New("verification failed")

// archiveKeys are the public keys of Debian's archive for bookworm and trixie,
// which also sign testing, as the package debian-archive-keyring 2025.1 has
// them, without third parties' signatures.
//
//go:embed archive-keys.asc
var archiveKeys []byte

// Defaults of Options.
const (
	DefaultSuite  = "forky"
	DefaultMirror = "http://deb.debian.org/debian"
	DefaultArch   = "amd64"
)

// Options say what to bootstrap. Cache is required, and Now unless AllowExpired is set.
type Options struct {
	// Suite is a release by suite or codename; empty means DefaultSuite.
	Suite string
	// Mirror is the archive's address, http or https; empty means
	// DefaultMirror. The signature makes plain http safe.
	Mirror string
	// Components of the archive; empty means main.
	Components []string
	// Arch is the architecture in Debian's words; empty means DefaultArch.
	Arch string
	// Include names packages beside the bootstrap's own (Essential, required,
	// apt, ca-certificates), each with what it depends on.
	Include []string
	// Cache is a folder of downloads by digest; it is made when missing, and
	// several runs may share it.
	Cache string
	// Now is the time by which an archive has expired.
	Now time.Time
	// AllowExpired takes an archive after its Valid-Until, as frozen mirrors
	// need it, and its keys as they were on the archive's own date. The
	// signature still counts.
	AllowExpired bool
	// Keys are armored OpenPGP public keys that may sign the archive; empty
	// means Debian's own.
	Keys []byte
	// Client makes the requests; nil means one that honours the proxy
	// variables of the environment.
	Client *http.Client
	// Retries is how often a transient failure is tried again; 0 means 4,
	// negative never.
	Retries int
	// Backoff is the pause before the first retry, doubled each time; 0 means
	// one second.
	Backoff time.Duration
	// Stall is how long a transfer may bring no byte; 0 means one minute.
	Stall time.Duration
	// Parallel is how many packages are fetched side by side; 0 means 6.
	Parallel int
}

// A Package is one package of a bootstrap.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// SHA256 is the digest of the package file, lower-case hex.
	SHA256 string `json:"sha256"`
}

// A Result tells what a bootstrap was made of.
type Result struct {
	// Date is the archive's own: a fit SOURCE_DATE_EPOCH.
	Date time.Time `json:"date"`
	// Packages are sorted by name.
	Packages []Package `json:"packages"`
}

// A Plan is a verified choice of packages that has not been fetched yet.
type Plan struct {
	Result
	// Bytes is the size of the package files.
	Bytes int64

	o       Options
	f       *fetcher
	release *release
	debs    []*stanza
}

// Resolve reads and verifies the archive's index and chooses the packages.
func Resolve(ctx context.Context, o Options) (*Plan, error) {
	o = o.withDefaults()
	if o.Cache == "" {
		return nil, errors.New("internal error: bootstrap without a cache folder")
	}
	if o.Now.IsZero() && !o.AllowExpired {
		return nil, errors.New("internal error: bootstrap without a clock to see by whether the archive has expired")
	}
	f := &fetcher{o: o}
	rel, err := f.release(ctx)
	if err != nil {
		return nil, err
	}
	all, err := f.packages(ctx, rel)
	if err != nil {
		return nil, err
	}
	debs, err := resolve(all, o.Include)
	if err != nil {
		return nil, fmt.Errorf("choosing packages of %s %s: %w", o.Mirror, o.Suite, err)
	}
	p := &Plan{o: o, f: f, release: rel, debs: debs, Result: Result{Date: rel.date}}
	for _, d := range debs {
		p.Packages = append(p.Packages, Package{Name: d.name, Version: d.version, SHA256: d.sha256})
		p.Bytes += d.size
	}
	return p, nil
}

// WriteTo fetches the plan's packages and writes the root file system to w as a
// tar archive. The same plan gives the same bytes.
func (p *Plan) WriteTo(ctx context.Context, w io.Writer) error {
	if err := p.f.debs(ctx, p.debs); err != nil {
		return err
	}
	return p.writeRoot(ctx, w)
}

// Bootstrap resolves, fetches and writes in one go.
func Bootstrap(ctx context.Context, o Options, w io.Writer) (*Result, error) {
	p, err := Resolve(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := p.WriteTo(ctx, w); err != nil {
		return nil, err
	}
	return &p.Result, nil
}

func (o Options) withDefaults() Options {
	o.Suite = cmp.Or(o.Suite, DefaultSuite)
	o.Mirror = cmp.Or(o.Mirror, DefaultMirror)
	o.Arch = cmp.Or(o.Arch, DefaultArch)
	if len(o.Components) == 0 {
		o.Components = []string{"main"}
	}
	o.Include = slices.Clone(o.Include)
	if o.Client == nil {
		o.Client = &http.Client{Transport: http.DefaultTransport}
	}
	if o.Retries == 0 {
		o.Retries = 4
	}
	if o.Backoff == 0 {
		o.Backoff = time.Second
	}
	if o.Stall == 0 {
		o.Stall = time.Minute
	}
	if o.Parallel == 0 {
		o.Parallel = 6
	}
	return o
}

func report(ctx context.Context, e progress.Event) {
	e.Stage = "packages"
	progress.From(ctx).Report(e)
}
