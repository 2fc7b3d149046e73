package compose

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// helperEnv names the folder in which the test binary, started again, builds.
const helperEnv = "AITHER_COMPOSE_TEST_DIR"

// TestHelper is no test: it is what other tests run as another user or in
// another environment.
func TestHelper(t *testing.T) {
	dir := os.Getenv(helperEnv)
	if dir == "" {
		t.Skip("only for the other tests")
	}
	o := testOptions(t)
	o.Work, o.Dst = filepath.Join(dir, "work"), filepath.Join(dir, "image")
	build(t, o)
}

// scratch is a folder that other users can reach, with a copy of the test binary.
func scratch(t *testing.T) (dir, exe string) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "aither-compose-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	exe = filepath.Join(dir, "compose.test")
	// By another program: a child that is forked while we write the file would
	// keep it open for writing, and the kernel runs no such file.
	if _, err := tool.Run(t.Context(), "cp", os.Args[0], exe); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, exe
}

// listing is every file of a layout with its size; blobs are named by their digest.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() {
			return err
		}
		s := fmt.Sprintf("%s %d", strings.TrimPrefix(p, dir), fi.Size())
		if filepath.Base(p) == "index.json" {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s += " " + string(b)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// asUser is a command line that runs the rest as the user nobody, with
// subordinate ids that exist for this command only.
func asUser(t *testing.T, dir string, ranges string) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	for _, n := range []string{"unshare", "setpriv", "newuidmap", "newgidmap"} {
		tooltest.Need(t, n)
	}
	ids := filepath.Join(dir, "subid")
	if err := os.WriteFile(ids, []byte(ranges), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"unshare", "-m", "sh", "-c",
		`mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@"`, ids}
}

// builds runs the helper with a command before it and returns the layout's listing.
func builds(t *testing.T, before []string, exe, dir string, env ...string) string {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 && len(before) > 0 && before[0] == "unshare" {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	argv := append(append([]string{}, before...), exe, "-test.run", "^TestHelper$", "-test.v")
	out, err := tool.Cmd{Name: argv[0], Args: argv[1:], Dir: filepath.Dir(dir), Env: append(env, helperEnv+"="+dir, "HOME="+dir, "TMPDIR="+dir)}.Run(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return listing(t, filepath.Join(dir, "image"))
}

func TestSameBytesEverywhere(t *testing.T) {
	staticBusybox(t)
	dir, exe := scratch(t)
	want := builds(t, nil, exe, filepath.Join(dir, "plain"))
	cases := map[string]struct {
		before []string
		env    []string
	}{
		"time zone":  {env: []string{"TZ=Pacific/Kiritimati", "LANG=de_DE.UTF-8"}},
		"umask":      {before: []string{"sh", "-c", `umask 077; exec "$@"`, "sh"}},
		"one thread": {env: []string{"GOMAXPROCS=1"}},
		"proxy":      {env: []string{"http_proxy=http://user:pw@127.0.0.1:9"}},
	}
	if os.Geteuid() == 0 {
		cases["user"] = struct {
			before []string
			env    []string
		}{before: asUser(t, dir, "nobody:300000:65536\n")}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := builds(t, c.before, exe, filepath.Join(dir, strings.ReplaceAll(name, " ", "-")), c.env...)
			if name == "user" {
				fi, err := os.Stat(filepath.Join(dir, name, "image", "index.json"))
				if err != nil {
					t.Fatal(err)
				}
				if st, ok := fi.Sys().(*syscall.Stat_t); !ok || st.Uid != 65534 {
					t.Errorf("the image belongs to %v, not to the user", fi.Sys())
				}
			}
			if got != want {
				t.Errorf("other bytes:\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestUserWithoutSubordinateIDs(t *testing.T) {
	staticBusybox(t)
	dir, exe := scratch(t)
	for name, ranges := range map[string]string{"none": "other:300000:65536\n", "too few": "nobody:300000:1000\n"} {
		t.Run(name, func(t *testing.T) {
			before := asUser(t, dir, ranges)
			own := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if err := os.Mkdir(own, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(own, 65534, 65534); err != nil {
				t.Fatal(err)
			}
			argv := append(append([]string{}, before...), exe, "-test.run", "^TestHelperError$", "-test.v")
			out, err := tool.Cmd{Name: argv[0], Args: argv[1:], Dir: own, Env: []string{helperEnv + "=" + own, "HOME=" + own, "TMPDIR=" + own}}.Run(t.Context())
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{"privilege: true", "hint: run as root: usermod --add-subuids"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("the output lacks %q:\n%s", want, out)
				}
			}
			if _, err := os.Stat(filepath.Join(own, "image")); !os.IsNotExist(err) {
				t.Errorf("there is an image: %v", err)
			}
		})
	}
}

// TestHelperError is no test either: it builds and prints the error.
func TestHelperError(t *testing.T) {
	dir := os.Getenv(helperEnv)
	if dir == "" {
		t.Skip("only for the other tests")
	}
	o := testOptions(t)
	o.Work, o.Dst = filepath.Join(dir, "work"), filepath.Join(dir, "image")
	_, err := Build(t.Context(), o)
	_, there := os.Stat(o.Dst)
	fmt.Printf("privilege: %v\nfull: %v, output: %v\n%v\n", errors.Is(err, ErrPrivilege), errors.Is(err, syscall.ENOSPC), there == nil, err)
}

// A full disk is an error that says where and how much, and leaves no output.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	staticBusybox(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	tooltest.Need(t, "unshare")
	dir, exe := scratch(t)
	for _, size := range []string{"64k", "512k", "2m", "3m", "4m"} {
		t.Run(size, func(t *testing.T) {
			own := filepath.Join(dir, size)
			if err := os.Mkdir(own, 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := tool.Cmd{Name: "unshare", Args: []string{"-m", "sh", "-c", `mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"`, "sh", size, own,
				exe, "-test.run", "^TestHelperError$", "-test.v"}, Env: []string{helperEnv + "=" + own, "TMPDIR=" + dir}}.Run(t.Context())
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{"full: true, output: false", "no space left on device", "hint: ", "MiB free"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("the output lacks %q:\n%s", want, out)
				}
			}
		})
	}
}

// On a file system that cannot carry an overlay, as inside of many containers,
// there is no image rather than another one.
func TestWorkOnAnOverlay(t *testing.T) {
	t.Parallel()
	staticBusybox(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can mount an overlay without a namespace")
	}
	tooltest.Need(t, "unshare")
	dir, exe := scratch(t)
	own := filepath.Join(dir, "own")
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := tool.Cmd{Name: "unshare", Args: []string{"-m", "sh", "-c", `mkdir "$0/low" "$0/wrk" && mount -t overlay -o lowerdir="$0/low",upperdir="$1",workdir="$0/wrk" overlay "$1" && shift && exec "$@"`,
		dir, own, exe, "-test.run", "^TestHelperError$", "-test.v"}, Env: []string{helperEnv + "=" + own, "TMPDIR=" + dir}}.Run(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"privilege: true", "output: false", "must lie on a file system that overlayfs can use"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

// A work folder may have any name but those that mount options cannot carry.
func TestOddFolderNames(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{"with space": true, "ünï $x`y": true, "a:b": false, "a,b": false} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			dir := filepath.Join(t.TempDir(), name)
			o.Work, o.Dst = filepath.Join(dir, "work"), filepath.Join(dir, "image")
			_, err := Build(t.Context(), o)
			if good && err != nil || !good && (!errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "hint: give another work folder")) {
				t.Errorf("got %v", err)
			}
		})
	}
}
