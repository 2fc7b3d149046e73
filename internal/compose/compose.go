// Package compose turns a base and a list of steps into a container image in
// an OCI layout. It is the only package that knows buildah. It refuses to record
// anything that differs between two machines: every layer it makes is the same
// bytes for root and for an ordinary user, in any folder, time zone and umask.
package compose

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/internal/registry"
)

// ErrPrivilege is wrapped by errors about a missing privilege or helper: no user
// namespaces, no subordinate ids, no newuidmap (exit code class 6).
var ErrPrivilege = errors.New("a privilege or helper is missing")

// ErrNetwork is wrapped by errors of a registry (exit code class 5).
var ErrNetwork = registry.ErrNetwork

// ErrUsage is wrapped by errors that the caller can mend in the options, a
// Containerfile or an overlay (exit code class 2).
var ErrUsage = errors.New("the request cannot be built as it stands")

// Options say what to build. Work, Dst, Epoch and Base are required.
type Options struct {
	// Work is the folder of caches and of the container store; it is made when
	// missing, belongs to one user, and serves one build at a time.
	Work string
	// Dst is the OCI layout folder that gets the image; other tags in it stay.
	Dst string
	// Tag is the image's name in the layout; empty means "latest".
	Tag string
	// Arch is the architecture in Go's words; empty means the machine's.
	Arch string
	// Epoch is the image's time: nothing in a new layer is younger.
	Epoch time.Time
	// Base is what the first step starts from.
	Base Base
	// Steps are applied in order.
	Steps []Step
	// Labels are set in the image configuration, over those of base and steps.
	Labels map[string]string
	// Annotations are set in the image manifest.
	Annotations map[string]string
	// BuildArgs are given to every Containerfile that declares them.
	BuildArgs map[string]string
	// Secrets are mounted by RUN --mount=type=secret and recorded nowhere.
	Secrets []Secret
	// Compression of the layers made here; empty means Zstd.
	Compression Compression
	// Isolation of RUN; empty means Chroot.
	Isolation Isolation
	// NoCache builds every Containerfile anew.
	NoCache bool
	// Registry says how registries are reached.
	Registry registry.Options
}

// Compression names a compression of layer blobs.
type Compression string

// The compressions.
const (
	Zstd  Compression = "zstd" // frames of 16 MiB, each with its content size
	Gzip  Compression = "gzip"
	Plain Compression = "none"
)

// Isolation names a way to run RUN instructions.
type Isolation string

// The isolations.
const (
	Chroot Isolation = "chroot" // needs no helper, shares the host's network
	OCI    Isolation = "oci"    // needs crun or runc
)

// A Secret is a file that RUN --mount=type=secret,id=ID can read.
type Secret struct {
	ID   string `json:"id"`
	Path string `json:"path"`
}

// A Base is what an image starts from: exactly one field is set.
type Base struct {
	// Ref names an existing image: docker://name@sha256:…, oci:dir[:tag],
	// oci-archive:file, dir:dir or containers-storage:name. Its layer blobs
	// are taken over byte for byte.
	Ref string
	// Containerfile builds the base; its FROM lines name images by digest, or scratch.
	Containerfile *Containerfile
	// Tar is a root file system as a tar archive.
	Tar *RootTar
}

// A RootTar is a root file system that becomes the lowest layer, and that the
// first Containerfile reaches through ARG BASE.
type RootTar struct {
	// Name is shown in the history: "debian stage 0".
	Name string
	// Key identifies the content; the same key must mean the same bytes.
	Key string
	// Open returns the archive, uncompressed. It is not called when a layer
	// for Key is in the cache.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// A Step adds to an image: a *Containerfile or an *Overlay.
type Step interface {
	// label is the step's name for people and for the history.
	label() string
	// stage reads the step's inputs and says by key what it would make.
	stage(p *preparer, prev *stage) (*stage, error)
}

// A Containerfile is run by buildah. As a step it starts with
//
//	ARG BASE
//	FROM ${BASE}
//
// where BASE names the result of the step before; other stages may be FROM any
// image named by digest, or scratch.
type Containerfile struct {
	// Name is shown in the history; empty means Path.
	Name string
	// FS or Dir is the build context: exactly one is set. Files get the modes
	// 0644 or, when executable, 0755, as git would keep them.
	FS  fs.FS
	Dir string
	// Path is the Containerfile inside the context; empty means "Containerfile".
	Path string
	// Target is the stage to build; empty means the last.
	Target string
	// Args are added to Options.BuildArgs.
	Args map[string]string
	// Layers says how many layers come of it.
	Layers LayerMode
}

// LayerMode says how a Containerfile's instructions become layers.
type LayerMode int

// The layer modes.
const (
	// Squashed makes one layer of all instructions, so that a file deleted by
	// a later one is not shipped.
	Squashed LayerMode = iota
	// PerInstruction keeps a layer for each instruction that changes files.
	PerInstruction
)

// An Overlay copies files into the image as one layer: owner 0:0, mode 0644,
// or 0755 for programs (see Executable). Folders that the image has already
// keep their owner and mode; a name under a symbolic link is refused.
type Overlay struct {
	// Name is shown in the history.
	Name string
	// FS or Dir holds the files: exactly one is set.
	FS  fs.FS
	Dir string
	// Prefix is the folder of the image that the files go to; empty means /.
	Prefix string
	// Executable, when set, decides in place of the rule for programs: files
	// under bin, sbin, libexec and generator folders, and *.sh.
	Executable func(name string) bool
}

// A Result is a finished image.
type Result struct {
	// Manifest describes the image manifest in the layout.
	Manifest v1.Descriptor
	// ManifestDigest and ConfigDigest are the digests of manifest and configuration.
	ManifestDigest digest.Digest
	ConfigDigest   digest.Digest
	// Layers are the layers, lowest first.
	Layers []Layer
	// Cached is true when no step had to run.
	Cached bool
}

// A Layer is one layer of a result.
type Layer struct {
	v1.Descriptor
	// DiffID is the digest of the uncompressed layer.
	DiffID digest.Digest `json:"diffID"`
	// History is the line that the image's history keeps for it.
	History string `json:"history,omitempty"`
	// Base marks a blob taken over from the base as it was.
	Base bool `json:"base,omitempty"`
}
