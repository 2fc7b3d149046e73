package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/atomicfile"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/registry"
)

// storeName is the name of images in the store, which nobody else uses.
const storeName = "localhost/aither-compose"

// A store is the container store of one work folder, open for one job.
type store struct {
	storage.Store
	job  *job
	work *workdir
	sys  *types.SystemContext
}

// openStore opens the store and removes what a killed build left in it. Only
// our own configuration counts: the machine's and the user's are not read.
func openStore(j *job, w *workdir) (*store, error) {
	w.sweep()
	conf := w.path("storage.conf")
	if err := atomicfile.WriteFile(conf, []byte("[storage]\ndriver = \"overlay\"\n"), 0o644); err != nil {
		return nil, err
	}
	for env, file := range map[string]string{"CONTAINERS_CONF": os.DevNull, "CONTAINERS_STORAGE_CONF": conf, "CONTAINERS_REGISTRIES_CONF": os.DevNull} {
		if err := os.Setenv(env, file); err != nil {
			return nil, err
		}
	}
	for _, env := range []string{"CONTAINERS_CONF_OVERRIDE", "STORAGE_DRIVER", "STORAGE_OPTS", "BUILDAH_ISOLATION", "BUILDAH_LAYERS", "BUILD_REGISTRY_SOURCES"} {
		if err := os.Unsetenv(env); err != nil {
			return nil, err
		}
	}
	if err := os.Setenv("TMPDIR", w.path("tmp")); err != nil {
		return nil, err
	}
	policy := w.path("policy.json")
	if err := atomicfile.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
		return nil, err
	}
	s := &store{job: j, work: w, sys: registry.SystemContext(registry.Options{Arch: j.Arch})}
	s.sys.OSChoice = "linux"
	s.sys.SignaturePolicyPath = policy
	s.sys.BlobInfoCacheDir = w.path("tmp")
	s.sys.BigFilesTemporaryDir = w.path("tmp")
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, s.sweep()
}

// open opens the store with the overlay driver. Where the kernel or the file
// system refuses that there is no second choice: a store of plain copies loses
// hard links between instructions, and the image would be another one.
func (s *store) open() error {
	// Mounts of an earlier run are gone with its namespace, so its notes are void.
	if err := os.RemoveAll(s.work.path("run")); err != nil {
		return err
	}
	graph := s.work.path("store", "overlay")
	if strings.ContainsAny(graph, ",:\\") {
		return fmt.Errorf("opening the container store: the path %q holds a comma, colon or backslash, which mount options cannot carry: %w\nhint: give another work folder", graph, ErrUsage)
	}
	st, err := storage.GetStore(storage.StoreOptions{
		GraphRoot: graph, RunRoot: s.work.path("run", "overlay"), GraphDriverName: "overlay",
	})
	switch {
	case err == nil:
		s.Store = st
		return s.checkDiff(graph)
	case noSpace(err):
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		err = fmt.Errorf("%w: %w\nhint: the work folder belongs to one user; give another one with its own folder", err, ErrPrivilege)
	default:
		err = fmt.Errorf("%w: %w\n%s", err, ErrPrivilege, overlayHint(graph))
	}
	return fmt.Errorf("opening the container store: %w", err)
}

func overlayHint(dir string) string {
	return "hint: " + dir + " must lie on a file system that overlayfs can use fully (ext4, xfs, btrfs, tmpfs), not on an overlay or a network share, and the kernel must not follow redirects (module option redirect_dir)"
}

// checkDiff makes sure that layers are what overlayfs wrote. Otherwise the
// driver compares trees, which loses hard links too.
func (s *store) checkDiff(graph string) error {
	status, err := s.Status()
	if err != nil {
		return fmt.Errorf("opening the container store: %w", err)
	}
	for _, st := range status {
		if st[0] == "Native Overlay Diff" && st[1] != "true" {
			return fmt.Errorf("opening the container store: the overlay driver cannot tell changes apart here: %w\n%s", ErrPrivilege, overlayHint(graph))
		}
	}
	return nil
}

// sweep removes containers of killed builds and their temporary files.
func (s *store) sweep() error {
	list, err := s.Containers()
	if err != nil {
		return fmt.Errorf("reading the container store: %w", err)
	}
	for _, c := range list {
		if err := s.DeleteContainer(c.ID); err != nil {
			return fmt.Errorf("removing the container of an earlier build: %w", err)
		}
	}
	return nil
}

func (s *store) close() error {
	_, err := s.Shutdown(false)
	return err
}

// removeStore removes the container store with all its files.
func (w *workdir) removeStore() error {
	return errors.Join(os.RemoveAll(w.path("store")), os.RemoveAll(w.path("run")))
}

// imageName is the name under which a record's image is in the store.
func imageName(r *record) string { return storeName + ":" + r.id()[:40] }

// ensureImage puts a record's image into the store unless it is there.
func (s *store) ensureImage(ctx context.Context, r *record) (string, error) {
	name := imageName(r)
	if _, err := s.Lookup(name); err == nil {
		return name, nil
	}
	progress.From(ctx).Report(progress.Event{Stage: stageName, Kind: progress.Update, Text: "unpacking " + r.Name})
	tmp, err := os.MkdirTemp(s.work.path("tmp"), "import-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	l, err := registry.CreateLayout(tmp)
	if err != nil {
		return "", err
	}
	conf, err := l.PutBytes(v1.MediaTypeImageConfig, r.Image)
	if err != nil {
		return "", err
	}
	for _, layer := range r.Layers {
		if err := l.LinkBlob(s.work.pool, layer.Descriptor); err != nil {
			return "", err
		}
	}
	m, err := l.PutJSON(v1.MediaTypeImageManifest, r.manifest(conf, nil))
	if err != nil {
		return "", err
	}
	if err := l.Tag(m, "import"); err != nil {
		return "", err
	}
	src, err := layout.NewReference(tmp, "import")
	if err != nil {
		return "", err
	}
	return name, s.copyIn(ctx, src, name)
}

func (s *store) copyIn(ctx context.Context, src types.ImageReference, name string) error {
	dst, err := istorage.Transport.ParseStoreReference(s.Store, name)
	if err != nil {
		return err
	}
	pc, err := acceptAnything()
	if err != nil {
		return err
	}
	_, err = copy.Image(ctx, pc, dst, src, &copy.Options{SourceCtx: s.sys, DestinationCtx: s.sys})
	if err != nil && strings.Contains(err.Error(), "insufficient UIDs or GIDs") {
		err = fmt.Errorf("%w: %w\nhint: files of the image belong to ids beyond the subordinate ones in /etc/subuid and /etc/subgid", err, ErrPrivilege)
	}
	return errors.Join(err, pc.Destroy())
}

// acceptAnything is the policy for images that we made or verified by digest.
func acceptAnything() (*signature.PolicyContext, error) {
	return signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
}

// limits keeps buildah from raising limits that this process may not raise.
func limits() ([]string, error) {
	var out []string
	for name, id := range map[string]int{"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC} {
		var l unix.Rlimit
		if err := unix.Getrlimit(id, &l); err != nil {
			return nil, fmt.Errorf("reading the limit %s: %w", name, err)
		}
		out = append(out, fmt.Sprintf("%s=%d:%d", name, int64(l.Cur), int64(l.Max)))
	}
	return out, nil
}
