// Package overlays carries the files that go into images as they are. It holds
// regular files only: modes, links and empty folders do not survive embedding;
// presets, tmpfiles.d and sysusers.d do the rest.
package overlays

import "embed"

// FS has one folder for each overlay, laid out as the root of an image.
//
//go:embed all:base all:selfcheck
var FS embed.FS
