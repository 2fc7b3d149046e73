package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Replace returns the patches that would give the regular file at path another
// content after Finish, without changing anything else: the content must take
// the same blocks. The device is not written to. All names of the file change.
func (w *Writer) Replace(path string, content []byte) ([]Patch, error) {
	f, err := Open(w.dev)
	if err != nil {
		return nil, err
	}
	return f.Replace(path, content)
}

// Replace returns the patches that would give the regular file at path another
// content of as many blocks.
func (f *FS) Replace(path string, content []byte) ([]Patch, error) {
	n, err := f.find(path)
	if err != nil {
		return nil, err
	}
	patches, err := f.replace(n, content)
	if err != nil {
		return nil, fmt.Errorf("replacing the content of %q: %w", path, err)
	}
	return patches, nil
}

func (f *FS) replace(n *rawInode, content []byte) ([]Patch, error) {
	if n.mode()&modeType != modeRegular || n.flags()&flagVerity != 0 {
		return nil, errors.New("not a regular file that can be changed")
	}
	ext, err := f.extents(n)
	if err != nil {
		return nil, err
	}
	have, next, bs := uint64(0), uint64(0), f.info.BlockSize
	for _, e := range ext {
		if uint64(e.logical) != next {
			return nil, errors.New("the file has holes")
		}
		have, next = have+uint64(e.len), next+uint64(e.len)
	}
	if want := uint64((int64(len(content)) + bs - 1) / bs); want != have {
		return nil, fmt.Errorf("the new content takes %d blocks, the file has %d", want, have)
	}
	inode := append([]byte(nil), n.b...)
	binary.LittleEndian.PutUint32(inode[0x04:], uint32(len(content)))
	binary.LittleEndian.PutUint32(inode[0x6C:], uint32(uint64(len(content))>>32))
	if f.sums {
		if len(inode) < inodeSize {
			return nil, &UnsupportedError{"small inodes with checksums"}
		}
		setInodeSum(inode, n.ino, f.seed)
	}
	padded := append(append([]byte(nil), content...), make([]byte, int64(have)*bs-int64(len(content)))...)
	patches := []Patch{{n.off, inode}}
	for _, e := range ext {
		at := int64(e.logical) * bs
		patches = append(patches, Patch{int64(e.phys) * bs, padded[at : at+int64(e.len)*bs]})
	}
	return patches, nil
}
