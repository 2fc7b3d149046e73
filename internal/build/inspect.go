package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aitheros/aither-image/internal/disk/ext4"
	"github.com/aitheros/aither-image/internal/disk/fat"
	"github.com/aitheros/aither-image/internal/disk/gpt"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/ostree"
	"github.com/aitheros/aither-image/internal/output/qcow2"
	"github.com/aitheros/aither-image/internal/sysroot"
	"github.com/aitheros/aither-image/internal/tree"
)

// An Inspection is what is on a disk image or in an OCI layout.
type Inspection struct {
	// Kind is "disk" or "image".
	Kind   string `json:"kind"`
	Path   string `json:"path"`
	Format string `json:"format"` // "raw", "qcow2", "oci"
	// Size is the disk's in bytes.
	Size        int64                 `json:"size,omitempty"`
	Partitions  []InspectedPartition  `json:"partitions,omitempty"`
	Deployments []InspectedDeployment `json:"deployments,omitempty"`
	Image       *InspectedImage       `json:"image,omitempty"`
}

// An InspectedPartition is one partition; sizes are in bytes.
type InspectedPartition struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Start  int64  `json:"start"`
	Size   int64  `json:"size"`
	FS     string `json:"fs,omitempty"`
	Label  string `json:"label,omitempty"`
	UUID   string `json:"uuid,omitempty"`
	Free   int64  `json:"free,omitempty"`
}

// An InspectedDeployment is one boot entry and the system behind it.
type InspectedDeployment struct {
	Title  string          `json:"title"`
	Entry  string          `json:"entry"`
	Commit string          `json:"commit"`
	Serial string          `json:"serial"`
	Kernel string          `json:"kernel"`
	Kargs  []string        `json:"kernel_arguments"`
	Origin string          `json:"origin"`
	Image  *InspectedImage `json:"image,omitempty"`
}

// An InspectedImage is a container image; sizes are those of the blobs in bytes.
type InspectedImage struct {
	Digest       string            `json:"digest"`
	Architecture string            `json:"architecture"`
	Created      string            `json:"created,omitempty"`
	Version      string            `json:"version,omitempty"`
	Kernel       string            `json:"kernel,omitempty"`
	Kargs        []string          `json:"kernel_arguments,omitempty"`
	OS           string            `json:"os,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Layers       []LayerRecord     `json:"layers"`
	Size         int64             `json:"size"`
}

// Inspect looks at a raw or qcow2 disk image, or at an image of an OCI layout
// (a folder, or FOLDER:TAG). It writes nothing but temporary files in tmp.
func Inspect(ctx context.Context, name, tmp string) (*Inspection, error) {
	dir, tag := name, ""
	if _, err := os.Stat(name); err != nil {
		if i := strings.LastIndexByte(name, ':'); i > 0 {
			dir, tag = name[:i], name[i+1:]
		}
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return inspectLayout(ctx, dir, tag, tmp)
	}
	return inspectDisk(dir)
}

func inspectLayout(ctx context.Context, dir, tag, tmp string) (*Inspection, error) {
	if _, err := os.Stat(filepath.Join(dir, v1.ImageLayoutFile)); err != nil {
		return nil, fmt.Errorf("%s is a folder but no OCI layout: it has no %s", dir, v1.ImageLayoutFile)
	}
	im, err := layer.Open(dir, tag)
	if err != nil {
		return nil, err
	}
	out := &InspectedImage{Digest: im.ManifestDigest.String(), Architecture: im.Architecture, Labels: im.Labels,
		Version: im.Labels[v1.AnnotationVersion], Layers: imageRecord(im).Layers}
	if !im.Created.IsZero() {
		out.Created = im.Created.Format("2006-01-02T15:04:05Z")
	}
	for _, l := range im.Layers {
		out.Size += l.Size
	}
	s := &spool{dir: tmp}
	t, err := sysroot.Read(ctx, im, s, sysroot.ReadOptions{})
	if err == nil {
		err = out.look(t)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	return &Inspection{Kind: "image", Path: dir, Format: "oci", Image: out}, nil
}

func (i *InspectedImage) look(t *sysroot.Tree) error {
	var err error
	if i.Kernel, err = t.KernelVersion(); err != nil {
		return err
	}
	if i.Kargs, err = t.ImageKargs(); err != nil {
		return err
	}
	rel, err := t.OSRelease()
	i.OS = rel["PRETTY_NAME"]
	return err
}

func inspectDisk(name string) (_ *Inspection, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, size, format, err := openDisk(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	out := &Inspection{Kind: "disk", Path: name, Format: format, Size: size}
	t, err := gpt.Read(r, size)
	var damaged *gpt.DamagedError
	if err != nil && !(errors.As(err, &damaged) && t != nil) {
		return nil, fmt.Errorf("reading the partition table of %s: %w", name, err)
	}
	var root, boot *ext4.FS
	for _, p := range t.Partitions {
		ip := InspectedPartition{Number: p.Number, Name: p.Name, Type: p.Type.String(), Start: p.Start, Size: p.Size}
		if fsys, err := ext4.Open(io.NewSectionReader(r, p.Start, p.Size)); err == nil {
			i := fsys.Info()
			ip.FS, ip.Label, ip.UUID, ip.Free = "ext4", i.Label, uuidText(i.UUID), i.FreeBytes
			if _, err := fsys.Lookup("ostree/repo"); err == nil {
				root = fsys
			}
			if _, err := fsys.Follow("loader/entries"); err == nil {
				boot = fsys
			}
		}
		if v, err := fat.Open(io.NewSectionReader(r, p.Start, p.Size)); err == nil {
			i := v.Info()
			ip.FS, ip.Label, ip.UUID = "vfat", i.Label, fmt.Sprintf("%04X-%04X", i.VolumeID>>16, i.VolumeID&0xffff)
		}
		out.Partitions = append(out.Partitions, ip)
	}
	if root == nil {
		return out, nil
	}
	entries := "loader/entries"
	if boot == nil {
		boot, entries = root, "boot/loader/entries"
	}
	out.Deployments, err = deployments(root, boot, entries)
	return out, err
}

func uuidText(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// openDisk reads a disk image of either format.
func openDisk(f *os.File) (r io.ReaderAt, size int64, format string, err error) {
	head := make([]byte, 4)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, 0, "", err
	}
	if qcow2.Is(head) {
		q, err := qcow2.Open(f)
		if err != nil {
			return nil, 0, "", err
		}
		return q, q.Size(), "qcow2", nil
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, "", err
	}
	return f, fi.Size(), "raw", nil
}

func deployments(root, boot *ext4.FS, dir string) ([]InspectedDeployment, error) {
	top, err := boot.Follow(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the boot entries: %w", err)
	}
	entries, err := boot.ReadDir(top.Path)
	if err != nil {
		return nil, fmt.Errorf("reading the boot entries: %w", err)
	}
	var out []InspectedDeployment
	for _, e := range slices.Backward(entries) {
		if !strings.HasSuffix(e.Path, ".conf") {
			continue
		}
		b, err := tree.ReadAll(e.Content, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("reading the boot entry %s: %w", e.Path, err)
		}
		d, err := deployment(root, path.Base(e.Path), string(b))
		if err != nil {
			return nil, fmt.Errorf("reading the deployment of %s: %w", e.Path, err)
		}
		out = append(out, d)
	}
	return out, nil
}

var deployDir = regexp.MustCompile(`^([0-9a-f]{64})\.([0-9]+)$`)

func deployment(root *ext4.FS, name, text string) (InspectedDeployment, error) {
	d := InspectedDeployment{Entry: name}
	target := ""
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch k {
		case "title":
			d.Title = strings.TrimSpace(v)
		case "linux":
			d.Kernel = strings.TrimPrefix(path.Base(v), "vmlinuz-")
		case "options":
			d.Kargs = strings.Fields(v)
		}
	}
	for _, a := range d.Kargs {
		if t, ok := strings.CutPrefix(a, "ostree="); ok {
			target = t
		}
	}
	if target == "" {
		return d, nil
	}
	e, err := root.Follow(strings.TrimPrefix(target, "/"))
	if err != nil {
		return d, err
	}
	m := deployDir.FindStringSubmatch(path.Base(e.Path))
	if m == nil {
		return d, fmt.Errorf("%s is not named like a deployment", e.Path)
	}
	d.Commit, d.Serial = m[1], m[2]
	if b, err := readDisk(root, e.Path+".origin"); err == nil {
		_, ref, _ := strings.Cut(string(b), "container-image-reference=")
		d.Origin, _, _ = strings.Cut(ref, "\n")
	}
	d.Image, err = deployedImage(root, d.Commit)
	return d, err
}

func readDisk(root *ext4.FS, name string) ([]byte, error) {
	e, err := root.Lookup(name)
	if err != nil {
		return nil, err
	}
	return tree.ReadAll(e.Content, 64<<20)
}

// deployedImage is what the merge commit says about the image it was made of.
func deployedImage(root *ext4.FS, commit string) (*InspectedImage, error) {
	sum, err := ostree.ParseChecksum(commit)
	if err != nil {
		return nil, err
	}
	b, err := readDisk(root, "ostree/repo/"+sum.ObjectPath(ostree.KindCommit))
	if err != nil {
		return nil, err
	}
	c, err := ostree.ParseCommit(b)
	if err != nil {
		return nil, err
	}
	text := func(k string) string {
		s, err := c.Metadata[k].Text()
		if err != nil {
			return ""
		}
		return s
	}
	out := &InspectedImage{Digest: text("ostree.manifest-digest")}
	var m v1.Manifest
	var cfg v1.Image
	if err := json.Unmarshal([]byte(text("ostree.manifest")), &m); err != nil {
		return out, nil // a commit that no container is behind
	}
	if err := json.Unmarshal([]byte(text("ostree.container.image-config")), &cfg); err == nil {
		out.Architecture, out.Labels, out.Version = cfg.Architecture, cfg.Config.Labels, cfg.Config.Labels[v1.AnnotationVersion]
		if cfg.Created != nil {
			out.Created = cfg.Created.UTC().Format("2006-01-02T15:04:05Z")
		}
	}
	for i, l := range m.Layers {
		r := LayerRecord{Digest: l.Digest.String(), Type: l.MediaType, Size: l.Size}
		if i < len(cfg.RootFS.DiffIDs) {
			r.DiffID = cfg.RootFS.DiffIDs[i].String()
		}
		out.Layers, out.Size = append(out.Layers, r), out.Size+l.Size
	}
	return out, nil
}
