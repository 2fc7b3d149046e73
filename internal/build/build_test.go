package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/compose"
	"github.com/aitheros/aither-image/internal/disk"
	"github.com/aitheros/aither-image/internal/disk/plan"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/layer/layertest"
	"github.com/aitheros/aither-image/internal/lint"
	"github.com/aitheros/aither-image/internal/output"
	"github.com/aitheros/aither-image/internal/progress"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// childEnv makes the test binary a builder: its value is the options as JSON.
const childEnv = "AITHER_TEST_BUILD"

func TestMain(m *testing.M) {
	if compose.Init() {
		return
	}
	if s := os.Getenv(childEnv); s != "" {
		var p string
		if err := json.Unmarshal([]byte(s), &p); err != nil {
			panic(err)
		}
		layout, out, _ := strings.Cut(p, "\n")
		if _, err := Run(context.Background(), options(layout, out)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is this test's binary as a program that builds layout into out.
func child(layout, out string) *exec.Cmd {
	v, _ := json.Marshal(layout + "\n" + out)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"="+string(v))
	return c
}

func options(layout, out string) Options {
	var skip []string
	for _, l := range lint.Lints() {
		skip = append(skip, l.Name)
	}
	return Options{Output: out, Cache: filepath.Join(out, "cache"), SkipLints: skip, Version: "test", Clock: time.Now,
		Plan: &blueprint.Plan{Version: 1, Name: "test", Arch: "x86_64",
			Base:   blueprint.PlanBase{Kind: blueprint.BaseLayout, Path: layout},
			Update: blueprint.PlanUpdate{Source: "registry.example.com/os:1"},
			Disk:   blueprint.PlanDisk{Layout: blueprint.LayoutUnified, RootFS: "ext4"},
			Output: blueprint.PlanOutput{Types: []string{"raw", "qcow2"}, SerialConsole: true, Compress: "none"}}}
}

// fixture writes a small bootable image: several layers, one that replaces the
// policy late, so that files have to be hashed again, and content that lies double.
func fixture(t testing.TB, dir string, more ...layertest.Layer) {
	t.Helper()
	file, d := layertest.File, layertest.Dir
	noise := func(n int, seed string) string {
		var b bytes.Buffer
		for i := 0; b.Len() < n; i++ {
			s := sha256.Sum256([]byte(fmt.Sprint(seed, i)))
			b.Write(s[:])
		}
		return b.String()[:n]
	}
	base := []layertest.Entry{d("usr", 0o755), d("etc", 0o755), d("var", 0o755), d("boot", 0o755), d("sysroot", 0o755), d("run", 0o755), d("tmp", 0o1777), d("proc", 0o755), d("sys", 0o755), d("dev", 0o755),
		layertest.Link("ostree", "sysroot/ostree"), d("usr/lib/tmpfiles.d", 0o755),
		file("usr/lib/os-release", 0o644, "ID=test\nPRETTY_NAME=\"Test 1\"\n"), file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n"),
		file("usr/lib/modules/6.1.0/vmlinuz", 0o755, noise(200_000, "kernel")), file("usr/lib/modules/6.1.0/initramfs.img", 0o600, noise(900_000, "initramfs")),
		file("usr/lib/bootupd/updates/EFI/BOOT/BOOTX64.EFI", 0o755, noise(9000, "shim")), file("usr/lib/bootupd/updates/EFI/test/shimx64.efi", 0o755, noise(9000, "shim")),
		file("usr/lib/bootupd/updates/EFI.json", 0o644, `{"timestamp":"2024-01-01T00:00:00Z","version":"grub-2.14"}`),
		file("usr/lib/bootupd/grub2-static/grub-static-efi.cfg", 0o644, "efi\n"), file("usr/lib/bootupd/grub2-static/grub-static-pre.cfg", 0o644, "pre\n")}
	var many []layertest.Entry
	for i := range 300 {
		many = append(many, file(fmt.Sprintf("usr/share/many/%03d", i), 0o644, noise(i*37%9000, fmt.Sprint(i%200))))
	}
	policy := []layertest.Entry{file("etc/selinux/config", 0o644, "SELINUX=permissive\nSELINUXTYPE=t\n"),
		file("etc/selinux/t/contexts/files/file_contexts", 0o644, "/.*	system_u:object_r:default_t:s0\n/usr/share/many/1.*	system_u:object_r:one_t:s0\n")}
	again := []layertest.Entry{file("usr/share/many/007", 0o755, noise(5000, "x")), file("usr/share/.wh.nothing", 0, ""), file("usr/share/big", 0o644, noise(3<<20, "big")), file("usr/share/zeros", 0o644, strings.Repeat("\x00", 5<<20))}
	im := layertest.Image{Labels: map[string]string{"containers.bootc": "1"}, Created: time.Unix(1700000000, 0).UTC()}
	for i, es := range [][]layertest.Entry{base, many, policy, again, many[100:200]} {
		im.Layers = append(im.Layers, layertest.Layer{Tar: layertest.Tar(t, es...), Compression: []string{"gzip", "zstd", ""}[i%3]})
	}
	im.Layers = append(im.Layers, more...)
	layertest.Write(t, dir, im)
}

func sum(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func sums(t testing.TB, out string) string {
	t.Helper()
	return sum(t, filepath.Join(out, "image/disk.raw")) + " " + sum(t, filepath.Join(out, "qcow2/disk.qcow2")) + " " + sum(t, filepath.Join(out, "image/disk.raw.bmap"))
}

// layoutIn writes the fixture into a new folder.
func layoutIn(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	fixture(t, dir)
	return dir
}

func build(t testing.TB, o Options) *Record {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTwiceTheSameBytes(t *testing.T) {
	layout, out := layoutIn(t), t.TempDir()
	build(t, options(layout, out))
	want := sums(t, out)
	for i, procs := range []int{1, 2, 7} {
		old := runtime.GOMAXPROCS(procs)
		mask := syscall.Umask([]int{0, 0o22, 0o77}[i])
		out := filepath.Join(t.TempDir(), strings.Repeat("deep/", i*5)+"er")
		o := options(layoutIn(t), out)
		o.Workers = []int{1, 3, 9}[i]
		build(t, o)
		runtime.GOMAXPROCS(old)
		syscall.Umask(mask)
		if got := sums(t, out); got != want {
			t.Errorf("with %d processors and %d workers: %s, want %s", procs, o.Workers, got, want)
		}
	}
	elsewhere := filepath.Join(t.TempDir(), "tz")
	c := child(layoutIn(t), elsewhere)
	c.Env = append(c.Env, "TZ=Asia/Kathmandu", "LC_ALL=tr_TR.UTF-8", "GOMAXPROCS=3")
	if b, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if got := sums(t, elsewhere); got != want {
		t.Errorf("in another time zone and language: %s, want %s", got, want)
	}
}

func TestSeedAndEpochChangeTheDisk(t *testing.T) {
	t.Parallel()
	layout, out := layoutIn(t), t.TempDir()
	build(t, options(layout, out))
	seen := map[string]string{sums(t, out): "the first"}
	for name, change := range map[string]func(*Options){
		"seed":          func(o *Options) { o.Plan.Seed = "other" },
		"epoch":         func(o *Options) { o.Epoch = time.Unix(1600000000, 0) },
		"kernel":        func(o *Options) { o.Plan.Kernel.Append = []string{"quiet"} },
		"update source": func(o *Options) { o.Plan.Update.Source = "registry.example.com/os:2" },
		"host name":     func(o *Options) { o.Plan.Customizations.Hostname = "here" },
		"separate boot": func(o *Options) { o.Plan.Disk.Layout = blueprint.LayoutSeparateBoot },
		"label":         func(o *Options) { o.Plan.Disk.RootLabel = "other" },
		"root size":     func(o *Options) { o.Plan.Disk.RootSize = 3 << 30 },
	} {
		o := options(layout, out)
		change(&o)
		r := build(t, o)
		if r.Cached {
			t.Errorf("%s: the older outputs were taken for new ones", name)
		}
		s := sums(t, out)
		if other, ok := seen[s]; ok {
			t.Errorf("%s gives the same bytes as %s", name, other)
		}
		seen[s] = name
	}
}

func TestSecondBuildTouchesNothing(t *testing.T) {
	t.Parallel()
	layout, out := layoutIn(t), t.TempDir()
	build(t, options(layout, out))
	raw := filepath.Join(out, "image/disk.raw")
	before, err := os.Stat(raw)
	if err != nil {
		t.Fatal(err)
	}
	r := build(t, options(layout, out))
	after, err := os.Stat(raw)
	if err != nil || !r.Cached || !os.SameFile(before, after) || after.ModTime() != before.ModTime() {
		t.Errorf("cached %v, %v before and %v after", r.Cached, before, after)
	}
	want := sums(t, out)
	for name, spoil := range map[string]func() error{
		"a changed disk":       func() error { return os.WriteFile(raw, []byte("x"), 0o644) },
		"a missing qcow2":      func() error { return os.Remove(filepath.Join(out, "qcow2/disk.qcow2")) },
		"a missing checksum":   func() error { return os.Remove(raw + ".sha256") },
		"a record of junk":     func() error { return os.WriteFile(filepath.Join(out, recordName), []byte("{"), 0o644) },
		"a touched disk":       func() error { return os.Chtimes(raw, time.Unix(1, 0), time.Unix(1, 0)) },
		"a disk of other size": func() error { return os.Truncate(raw, 1<<20) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if r := build(t, options(layout, out)); r.Cached || sums(t, out) != want {
			t.Errorf("after %s: cached %v, the same bytes %v", name, r.Cached, sums(t, out) == want)
		}
	}
}

// A changed image is placed from the earlier disk as far as it can be: its old
// layers are not read, which is shown by spoiling their blobs.
func TestOnlyNewLayersAreRead(t *testing.T) {
	t.Parallel()
	layout, out, ref := layoutIn(t), t.TempDir(), t.TempDir()
	build(t, options(layout, out))
	more := layertest.Layer{Tar: layertest.Tar(t, layertest.File("usr/share/added", 0o644, "added"), layertest.File("etc/selinux/t/contexts/files/file_contexts", 0o644, "/.*	system_u:object_r:new_t:s0\n"))}
	second := t.TempDir()
	fixture(t, second, more)
	build(t, options(second, ref))
	want := sums(t, ref)

	raw := filepath.Join(out, "image/disk.raw")
	for name, spoil := range map[string]func(){
		"as it was": func() {},
		"changed": func() {
			f, err := os.OpenFile(raw, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			fi, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, 24<<20), 548<<20); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(raw, fi.ModTime(), fi.ModTime()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		build(t, options(layout, out))
		spoil()
		var told []string
		ctx := progress.With(context.Background(), progress.Func(func(e progress.Event) {
			if e.Kind == progress.Warn {
				told = append(told, e.Text)
			}
		}))
		if _, err := Run(ctx, options(second, out)); err != nil {
			t.Fatal(err)
		}
		if got := sums(t, out); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if again := len(told) > 0 && strings.Contains(told[len(told)-1], "earlier build was changed"); again != (name == "changed") {
			t.Errorf("%s: started over %v: %q", name, again, told)
		}
	}
	p := openPrevious(options(second, out).Cache, raw)
	if p == nil {
		t.Fatal("nothing is remembered of the last disk")
	}
	defer p.Close()
	im, err := layer.Open(second, "")
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range p.known(im) {
		if l == nil {
			t.Errorf("layer %d would be read again", i)
		}
	}
}

// A /boot that proves too small for its kernel is made larger, in one more pass.
func TestLargeInitramfsMakesALargerBoot(t *testing.T) {
	t.Parallel()
	layout, out := t.TempDir(), t.TempDir()
	fixture(t, layout, layertest.Layer{Compression: "zstd", Tar: layertest.Tar(t,
		layertest.File("usr/lib/modules/6.1.0/initramfs.img", 0o600, strings.Repeat("\x00", 450<<20)))})
	o := options(layout, out)
	o.Plan.Disk.Layout, o.Plan.Output.Types = blueprint.LayoutSeparateBoot, []string{"raw"}
	r := build(t, o)
	boot := r.Disk.Find(plan.Boot)
	if boot.Size < 2250<<20 || !strings.Contains(boot.Why, "initramfs") {
		t.Errorf("/boot has %d bytes: %s", boot.Size, boot.Why)
	}
	i, err := Inspect(context.Background(), filepath.Join(out, "image/disk.raw"), t.TempDir())
	if err != nil || len(i.Deployments) != 1 {
		t.Errorf("%+v, %v", i, err)
	}
}

// finals are the names that users take for finished outputs.
var finals = []string{"image/disk.raw", "qcow2/disk.qcow2", "image/disk.raw.sha256", "image/disk.raw.bmap", "qcow2/disk.qcow2.sha256", recordName}

func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	layout, ref := layoutIn(t), t.TempDir()
	start := time.Now()
	if b, err := child(layout, ref).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	whole := time.Since(start)
	want := map[string]string{}
	for _, f := range finals[:5] {
		want[f] = sum(t, filepath.Join(ref, f))
	}
	out := t.TempDir()
	cuts := 24
	if os.Getenv("AITHER_SLOW") != "" {
		cuts = 300
	}
	killed := 0
	for i := range cuts {
		c := child(layout, out)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(whole * time.Duration(i) / time.Duration(cuts))
		if err := c.Process.Signal(syscall.SIGKILL); err == nil {
			killed++
		}
		_ = c.Wait()
		for f, s := range want {
			if _, err := os.Stat(filepath.Join(out, f)); err == nil && sum(t, filepath.Join(out, f)) != s {
				t.Errorf("cut %d: %s is not whole", i, f)
			}
		}
		if i%5 == 4 {
			for _, f := range finals {
				_ = os.Remove(filepath.Join(out, f))
			}
		}
	}
	if killed < cuts/2 {
		t.Errorf("only %d of %d builds were killed", killed, cuts)
	}
	build(t, options(layout, out))
	for f, s := range want {
		if sum(t, filepath.Join(out, f)) != s {
			t.Errorf("the build after the cuts made another %s", f)
		}
	}
	checkLeftovers(t, out)
}

// checkLeftovers finds names that no finished build has.
func checkLeftovers(t *testing.T, out string) {
	t.Helper()
	err := filepath.WalkDir(out, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), "partial") {
			t.Errorf("%s was left behind", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFullMedium(t *testing.T) {
	t.Parallel()
	layout := layoutIn(t)
	dir := t.TempDir()
	for _, mib := range []int{1, 4, 8, 12} {
		if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
			t.Skipf("no small file system to fill: %v", err)
		}
		_, err := Run(context.Background(), options(layout, filepath.Join(dir, "out")))
		for _, f := range finals {
			if _, serr := os.Stat(filepath.Join(dir, "out", f)); err != nil && serr == nil && f != finals[0] && !strings.HasPrefix(f, finals[0]) {
				t.Errorf("%d MiB: %s stands there after %v", mib, f, err)
			}
		}
		if uerr := unix.Unmount(dir, 0); uerr != nil {
			t.Fatal(uerr)
		}
		var space *SpaceError
		var full *disk.FullError
		var outFull *output.FullError
		switch {
		case err == nil && mib < 8:
			t.Errorf("%d MiB were enough", mib)
		case err != nil && !errors.As(err, &space) && !errors.As(err, &full) && !errors.As(err, &outFull) && !errors.Is(err, syscall.ENOSPC):
			t.Errorf("%d MiB: the error does not tell of missing room: %v", mib, err)
		case err != nil && !strings.Contains(err.Error(), dir):
			t.Errorf("%d MiB: the error names no path: %v", mib, err)
		}
	}
}

func TestTwoBuildsOfOneFolder(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	unlock, err := lock(filepath.Join(out, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := Run(context.Background(), options(layoutIn(t), out)); err == nil || !strings.Contains(err.Error(), "another build") {
		t.Errorf("got %v", err)
	}
}

// An ordinary user gets the same bytes, and the program asks the kernel for
// nothing that only root may do.
func TestOrdinaryUserTraced(t *testing.T) {
	t.Parallel()
	strace, setpriv := tooltest.Need(t, "strace"), tooltest.Need(t, "setpriv")
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	layout, out := layoutIn(t), t.TempDir()
	build(t, options(layout, out))
	want := sums(t, out)
	home, err := os.MkdirTemp("", "aither-user-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	exe := filepath.Join(home, "build.test")
	if _, err := tool.Run(context.Background(), "cp", os.Args[0], exe); err != nil {
		t.Fatal(err)
	}
	if _, err := tool.Run(context.Background(), "cp", "-r", layout, filepath.Join(home, "layout")); err != nil {
		t.Fatal(err)
	}
	if _, err := tool.Run(context.Background(), "chown", "-R", "65534:65534", home); err != nil {
		t.Fatal(err)
	}
	v, _ := json.Marshal(filepath.Join(home, "layout") + "\n" + filepath.Join(home, "out"))
	trace := filepath.Join(home, "trace")
	_, err = tool.Cmd{Name: setpriv, Args: []string{"--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
		strace, "-f", "-qq", "-o", trace, "-e", "trace=mount,umount2,fsopen,fsmount,move_mount,mknod,mknodat,ioctl,execve,setuid,unshare,clone3,clone,openat", exe},
		Env: []string{childEnv + "=" + string(v), "HOME=" + home, "TMPDIR=" + home}, Dir: home}.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := sums(t, filepath.Join(home, "out")); got != want {
		t.Errorf("an ordinary user gets other bytes: %s, want %s", got, want)
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	execs := 0
	for line := range strings.Lines(string(b)) {
		for _, bad := range []string{" mount(", "umount2(", "fsopen(", "fsmount(", "move_mount(", "mknod", "LOOP_", "/dev/loop", "CLONE_NEWUSER", "unshare(", "setuid("} {
			if strings.Contains(line, bad) {
				t.Errorf("the trace has %s", line)
			}
		}
		if strings.Contains(line, "execve(") {
			execs++
		}
	}
	if execs != 1 {
		t.Errorf("%d programs were started, want the builder alone", execs)
	}
}

func TestFatalLintsEndTheBuild(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	o := options(layoutIn(t), out)
	o.SkipLints = nil
	_, err := Run(context.Background(), o)
	var l *LintError
	if !errors.As(err, &l) || len(l.Findings) == 0 {
		t.Fatalf("got %v", err)
	}
	for _, f := range finals {
		if _, err := os.Stat(filepath.Join(out, f)); err == nil {
			t.Errorf("%s is there", f)
		}
	}
	o.SkipLints = []string{"no-such-lint"}
	if _, err := Run(context.Background(), o); err == nil || errors.As(err, &l) {
		t.Errorf("an unknown lint to skip: %v", err)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	layout, out := layoutIn(t), t.TempDir()
	for _, l := range []string{blueprint.LayoutUnified, blueprint.LayoutSeparateBoot} {
		o := options(layout, out)
		o.Plan.Disk.Layout, o.Plan.Kernel.Append = l, []string{"quiet"}
		r := build(t, o)
		for _, f := range []string{"image/disk.raw", "qcow2/disk.qcow2"} {
			i, err := Inspect(context.Background(), filepath.Join(out, f), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if len(i.Deployments) != 1 || len(i.Partitions) != len(r.Disk.Partitions) || i.Size != r.Disk.DiskSize {
				t.Fatalf("%s %s: %+v", l, f, i)
			}
			d := i.Deployments[0]
			if d.Commit != r.System.Commit || d.Image.Digest != r.Image.Digest || d.Kernel != "6.1.0" || d.Title != "Test 1 (ostree:0)" ||
				d.Origin != "ostree-unverified-registry:registry.example.com/os:1" || !slices.Contains(d.Kargs, "quiet") || len(d.Image.Layers) != 5 {
				t.Errorf("%s %s: %+v %+v", l, f, d, d.Image)
			}
			if serial := slices.Contains(d.Kargs, "console=ttyS0"); serial != strings.HasSuffix(f, "qcow2") {
				t.Errorf("%s %s: serial console %v", l, f, serial)
			}
		}
	}
	i, err := Inspect(context.Background(), layout, t.TempDir())
	if err != nil || i.Image == nil || i.Image.Kernel != "6.1.0" || i.Image.OS != "Test 1" || len(i.Image.Layers) != 5 {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := Inspect(context.Background(), filepath.Join(out, "nothing"), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// The oracles see what is on the disk, for both layouts.
func TestOracles(t *testing.T) {
	t.Parallel()
	layout, out := layoutIn(t), t.TempDir()
	for _, l := range []string{blueprint.LayoutUnified, blueprint.LayoutSeparateBoot} {
		o := options(layout, out)
		o.Plan.Disk.Layout, o.Plan.Output.SerialConsole = l, false
		r := build(t, o)
		raw := filepath.Join(out, "image/disk.raw")
		if b, err := tool.Run(context.Background(), tooltest.Need(t, "sgdisk"), "-v", raw); err != nil || !strings.Contains(string(b), "No problems found") {
			t.Errorf("%s: sgdisk says %s, %v", l, b, err)
		}
		if b, err := tool.Run(context.Background(), tooltest.Need(t, "qemu-img"), "compare", raw, filepath.Join(out, "qcow2/disk.qcow2")); err != nil {
			t.Errorf("%s: qemu-img compare says %s, %v", l, b, err)
		}
		for _, p := range r.Disk.Partitions {
			if p.FS == "" {
				continue
			}
			part := filepath.Join(t.TempDir(), "part")
			if _, err := tool.Run(context.Background(), "dd", "if="+raw, "of="+part, "bs=1M", "conv=sparse", fmt.Sprintf("skip=%d", p.Start>>20), fmt.Sprintf("count=%d", p.Size>>20)); err != nil {
				t.Fatal(err)
			}
			check := []string{tooltest.Need(t, "e2fsck"), "-fn", part}
			if p.FS == "vfat" {
				check = []string{tooltest.Need(t, "fsck.fat"), "-n", part}
			}
			if b, err := tool.Run(context.Background(), check[0], check[1:]...); err != nil {
				t.Errorf("%s: %s: %v\n%s", l, p.Name, err, b)
			}
		}
	}
}
