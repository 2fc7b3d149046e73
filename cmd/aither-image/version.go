package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// about is what version answers.
type about struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		GroupID: groupHost,
		Short:   "Print the version of this program",
		Example: "  aither-image version --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			a := about{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
			return p.answer(a, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "aither-image %s (%s, %s/%s)\n", a.Version, a.Go, a.OS, a.Arch)
				return err
			})
		},
	}
}
