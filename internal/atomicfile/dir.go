package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CommitDir makes the finished folder tmp durable under the name target, which
// must not exist yet. Both must lie on one file system.
func CommitDir(tmp, target string) error {
	if _, err := os.Lstat(target); err == nil {
		return fmt.Errorf("moving %s to %s: %w", tmp, target, fs.ErrExist)
	}
	if err := SyncDir(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, target); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(target))
}

// Adopt makes f, an open file under some other name of the same file system,
// durable under the name target. It is for content that names itself by its
// digest, which nobody knows before the last byte is written.
func Adopt(f *os.File, target string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(target))
}
