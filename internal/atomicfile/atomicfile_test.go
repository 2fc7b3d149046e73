package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	ents, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range ents {
		out = append(out, e.Name())
	}
	return out
}

func content(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWholeOrAsBefore(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "sub", "out")
	if err := WriteFile(target, []byte("one"), 0o640); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(target); err != nil || fi.Mode() != 0o640 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	broken := errors.New("broken")
	err := Write(target, 0o644, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		if got := content(t, target); got != "one" {
			t.Errorf("the target changes before the commit: %q", got)
		}
		return broken
	})
	if !errors.Is(err, broken) || content(t, target) != "one" {
		t.Errorf("a failure gives %v and leaves %q", err, content(t, target))
	}
	if err := WriteFile(target, []byte("two"), 0o644); err != nil || content(t, target) != "two" {
		t.Errorf("replacing: %v, %q", err, content(t, target))
	}
	if got := names(t, filepath.Dir(target)); !slices.Equal(got, []string{"out"}) {
		t.Errorf("left behind: %q", got)
	}
}

func TestCloseGivesUpAndCommitIsOnce(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "x"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("a file that was given up is there: %q", got)
	}
	if f, err = Create(filepath.Join(dir, "x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil || f.Target() != filepath.Join(dir, "x") {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("closing after the commit: %v", err)
	}
	if err := f.Commit(); err == nil {
		t.Error("a second commit passes")
	}
	if got := names(t, dir); !slices.Equal(got, []string{"x"}) {
		t.Errorf("got %q", got)
	}
}

func TestLeftoversOfTheSameTargetAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{".x" + tempMark + "123", ".y" + tempMark + "123", ".x-mine"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFile(filepath.Join(dir, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, dir), []string{".x-mine", ".y" + tempMark + "123", "x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLinksAndFoldersInTheWayAreRefused(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"link", "folder"} {
		if err := WriteFile(filepath.Join(dir, n), []byte("x"), 0o644); err == nil {
			t.Errorf("a %s is overwritten", n)
		}
	}
	if content(t, victim) != "mine" {
		t.Error("the link's target has changed")
	}
}

func TestFoldersAndAdoptedFiles(t *testing.T) {
	dir := t.TempDir()
	tmp, target := filepath.Join(dir, "tmp"), filepath.Join(dir, "done")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := CommitDir(tmp, target); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := CommitDir(tmp, target); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a folder is replaced: %v", err)
	}
	f, err := os.CreateTemp(dir, "blob-")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("blob"); err != nil {
		t.Fatal(err)
	}
	if err := Adopt(f, filepath.Join(dir, "named")); err != nil || content(t, filepath.Join(dir, "named")) != "blob" {
		t.Errorf("adopting: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
