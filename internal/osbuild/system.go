package osbuild

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// A System is what osbuild wants to know of an image.
type System struct {
	ID, VersionID, Name   string // of os-release(5)
	IDLike                []string
	PlatformID, VariantID string
	// Kernel is the version of its one kernel.
	Kernel string
	// UEFIVendor is the folder of its boot loaders: "rocky", "debian".
	UEFIVendor string
	// SELinuxPolicy is the name of its policy: "targeted"; empty for none.
	SELinuxPolicy string
}

// A View is the image's merged tree. Paths are relative.
type View interface {
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]tree.Entry, error)
}

// ReadSystem looks at an image's tree. What is missing stays empty; VersionID
// is "0" for systems that have none, as a rolling release.
func ReadSystem(v View) (System, error) {
	var s System
	b, err := first(v, "usr/lib/os-release", "etc/os-release")
	if err != nil {
		return s, fmt.Errorf("reading the image's os-release: %w", err)
	}
	rel := assignments(b)
	s.ID, s.VersionID, s.Name = rel["ID"], rel["VERSION_ID"], rel["NAME"]
	s.IDLike, s.PlatformID, s.VariantID = strings.Fields(rel["ID_LIKE"]), rel["PLATFORM_ID"], rel["VARIANT_ID"]
	if s.VersionID == "" {
		s.VersionID = "0"
	}
	if b, err := v.ReadFile("etc/selinux/config"); err == nil {
		s.SELinuxPolicy = assignments(b)["SELINUXTYPE"]
	}
	if s.Kernel, err = onlyDir(v, "usr/lib/modules", ""); err != nil {
		return s, err
	}
	s.UEFIVendor, err = onlyDir(v, "usr/lib/bootupd/updates/EFI", "BOOT")
	return s, err
}

func first(v View, names ...string) (b []byte, err error) {
	for _, n := range names {
		if b, err = v.ReadFile(n); err == nil {
			return b, nil
		}
	}
	return nil, err
}

// assignments reads NAME=value lines as a shell would.
func assignments(b []byte) map[string]string {
	m := map[string]string{}
	for l := range strings.Lines(string(b)) {
		k, v, ok := strings.Cut(strings.TrimSpace(l), "=")
		if ok && !strings.HasPrefix(k, "#") {
			m[k] = strings.Trim(v, `"'`)
		}
	}
	return m
}

// onlyDir is the name of the first folder in dir but skip, "" where there is none.
func onlyDir(v View, dir, skip string) (string, error) {
	ents, err := v.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the image's %s: %w", dir, err)
	}
	for _, e := range ents {
		if name := path.Base(e.Path); e.Mode.IsDir() && name != skip {
			return name, nil
		}
	}
	return "", nil
}

func decodeStrictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

func indent(b []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return nil, fmt.Errorf("internal error: osbuild's manifest is no JSON: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
