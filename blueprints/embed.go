// Package blueprints carries the blueprints that are shipped with the program,
// as files; it refuses nothing and reads none of them.
package blueprints

import "embed"

// FS holds the shipped blueprints, as "lab.toml".
//
//go:embed *.toml
var FS embed.FS
