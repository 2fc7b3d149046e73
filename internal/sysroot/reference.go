package sysroot

import (
	"fmt"
	"strings"
)

// An ImageReference is where a machine's updates come from.
type ImageReference struct {
	// Transport is "registry", "oci", "oci-archive", "containers-storage" or "dir".
	Transport string
	Name      string
	// Enforce asks for signatures by the machine's policy; otherwise none are.
	Enforce bool
}

// ParseImageReference reads "registry.example.com/os:tag", or a name behind
// one of the transports: "docker://…", "oci:/path".
func ParseImageReference(s string) (ImageReference, error) {
	r := ImageReference{Transport: "registry", Name: s}
	if n, ok := strings.CutPrefix(s, "docker://"); ok {
		r.Name = n
	} else {
		for _, t := range []string{"registry", "oci", "oci-archive", "containers-storage", "dir"} {
			if n, ok := strings.CutPrefix(s, t+":"); ok && !(t == "registry" && isPort(n)) {
				r.Transport, r.Name = t, n
				break
			}
		}
	}
	if r.Name == "" || strings.ContainsAny(r.Name, " \t\n\x00") {
		return r, fmt.Errorf("%q is no image reference", s)
	}
	return r, nil
}

// isPort tells "registry:5000/os" from "registry:name".
func isPort(s string) bool {
	d := strings.TrimLeft(s, "0123456789")
	return d != s && strings.HasPrefix(d, "/")
}

// Bootc is the transport and name in the words of bootc status.
func (r ImageReference) Bootc() (transport, image string) { return r.Transport, r.Name }

// display is the form that names the reference of the image in the repository.
// A name with tag and digest loses its tag.
func (r ImageReference) display() string {
	if r.Transport != "registry" {
		return r.Transport + ":" + r.Name
	}
	name := r.Name
	if at := strings.IndexByte(name, '@'); at >= 0 {
		if c := strings.LastIndexByte(name[:at], ':'); c > strings.LastIndexByte(name[:at], '/') {
			name = name[:c] + name[at:]
		}
	}
	return "docker://" + name
}

// origin is the value of container-image-reference in the origin file (3.2).
func (r ImageReference) origin() string {
	switch {
	case r.Enforce && r.Transport == "registry":
		return "ostree-image-signed:docker://" + r.Name
	case r.Enforce:
		return "ostree-image-signed:" + r.Transport + ":" + r.Name
	case r.Transport == "registry":
		return "ostree-unverified-registry:" + r.Name
	}
	return "ostree-unverified-image:" + r.Transport + ":" + r.Name
}
