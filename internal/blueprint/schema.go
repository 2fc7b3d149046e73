package blueprint

import _ "embed"

//go:embed schema.json
var schemaJSON []byte

//go:embed example.toml
var exampleTOML []byte

// SchemaJSON is the JSON Schema (draft 2020-12) of a Blueprint, for editors.
// It knows keys, types and forms; what needs other values or files only
// Validate knows.
func SchemaJSON() []byte { return append([]byte(nil), schemaJSON...) }

// Example is a blueprint that builds as it is and shows every key, with
// comments, as "init" writes it.
func Example() []byte { return append([]byte(nil), exampleTOML...) }
