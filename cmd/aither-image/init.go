package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/aitheros/aither-image/internal/blueprint"
)

func (p *program) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init [FILE]",
		GroupID: groupWrite,
		Short:   "Start a blueprint, with comments",
		Long: `init prints a commented blueprint that builds as it is, or writes it to a file
that does not exist yet.`,
		Example: "  aither-image init my.toml\n  aither-image init > my.toml",
		Args:    atMostOne("file"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := p.stdout.Write(blueprint.Example())
				return err
			}
			if _, err := os.Lstat(args[0]); err == nil {
				return &usageError{err: fmt.Errorf("%s exists already\nhint: choose another name, or remove it first", args[0])}
			} else if !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return writeFile(args[0], func(w io.Writer) error {
				_, err := w.Write(blueprint.Example())
				return err
			})
		},
	}
}
