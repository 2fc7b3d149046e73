// Package containerfiles carries the build recipes of bases and layers inside
// the program. It holds regular files only: modes, links and empty folders do
// not survive embedding, so recipes set what they need themselves.
package containerfiles

import "embed"

// FS has one folder for each build context: "base/debian", "layers/…". Its
// Containerfile lies at the top of the folder.
//
//go:embed all:base all:layers
var FS embed.FS
