package build

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/layer"
)

// recordName is the file beside the outputs that says what they were made from.
const recordName = "build.json"

// A Record is build.json: inputs by digest, what came out, and how long it took.
type Record struct {
	Program string `json:"program"`
	Version string `json:"version"`
	Name    string `json:"name"`
	// Key is the digest of everything that decides about the bytes of the
	// outputs; two builds with one key are the same.
	Key    string          `json:"key"`
	Plan   *blueprint.Plan `json:"plan"`
	Image  ImageRecord     `json:"image"`
	System SystemRecord    `json:"system"`
	Disk   *plan.Layout    `json:"disk,omitempty"`
	// Outputs are in the order of their types.
	Outputs []Output `json:"outputs"`
	// Seconds is what each stage took; it differs from run to run.
	Seconds map[string]float64 `json:"seconds"`
	// Cached is true when the outputs were there already.
	Cached bool `json:"-"`
}

// An ImageRecord names the container image by its digests.
type ImageRecord struct {
	Digest string        `json:"digest"`
	Config string        `json:"config"`
	Arch   string        `json:"architecture"`
	Layers []LayerRecord `json:"layers"`
}

// A LayerRecord is one layer: its size is that of the blob, in bytes.
type LayerRecord struct {
	Digest string `json:"digest"`
	DiffID string `json:"diff_id"`
	Type   string `json:"media_type"`
	Size   int64  `json:"size"`
}

// A SystemRecord is what the disk boots.
type SystemRecord struct {
	Title  string   `json:"title"`
	Commit string   `json:"commit"`
	Boot   string   `json:"boot_checksum"`
	Kernel string   `json:"kernel"`
	Kargs  []string `json:"kernel_arguments"`
	Origin string   `json:"origin"`
	// Content is the size of all files of the tree in bytes.
	Content int64 `json:"content_bytes"`
}

// An Output is one file that was built.
type Output struct {
	Type string `json:"type"`
	// Path is relative to the output folder.
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Stored int64  `json:"stored"` // bytes it takes on the medium
	SHA256 string `json:"sha256"`
	// Modified is the file's time when the build ended, in nanoseconds; a file
	// that was touched since is built anew.
	Modified int64 `json:"modified"`
}

func imageRecord(im *layer.Image) ImageRecord {
	r := ImageRecord{Digest: im.ManifestDigest.String(), Config: im.ConfigDigest.String(), Arch: im.Architecture}
	for i, l := range im.Layers {
		r.Layers = append(r.Layers, LayerRecord{l.Digest.String(), im.DiffIDs[i].String(), l.MediaType, l.Size})
	}
	return r
}

// key is the digest of what decides about the outputs.
func key(parts ...any) (string, error) {
	b, err := json.Marshal(parts)
	if err != nil {
		return "", fmt.Errorf("internal error: %w", err)
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:]), nil
}

// upToDate returns the record of the outputs in dir when they are what a build
// with this key would make: each is there, of its size, and not touched since.
func upToDate(dir, key string, types []string) *Record {
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return nil
	}
	var r Record
	if json.Unmarshal(b, &r) != nil || r.Key != key {
		return nil
	}
	for _, t := range types {
		if !slices.ContainsFunc(r.Outputs, func(o Output) bool { return o.Type == t && o.unchanged(dir) }) {
			return nil
		}
	}
	r.Cached = true
	return &r
}

func (o Output) unchanged(dir string) bool {
	fi, err := os.Stat(filepath.Join(dir, o.Path))
	if err != nil || !fi.Mode().IsRegular() || fi.Size() != o.Size || fi.ModTime().UnixNano() != o.Modified {
		return false
	}
	_, err = os.Stat(filepath.Join(dir, o.Path) + ".sha256")
	return err == nil
}

func (r *Record) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, recordName), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the record of the build: %w", err)
	}
	return nil
}
