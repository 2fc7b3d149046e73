package main

import (
	"github.com/spf13/cobra"

	"github.com/aitheros/aither-image/internal/blueprint"
)

func (p *program) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		GroupID: groupHost,
		Short:   "Print the JSON Schema of blueprints, for editors",
		Example: "  aither-image schema > blueprint.schema.json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := p.stdout.Write(blueprint.SchemaJSON())
			return err
		},
	}
}
