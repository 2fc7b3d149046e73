package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

type manFlags struct {
	output string
}

func (f *manFlags) register(s *pflag.FlagSet) {
	s.StringVar(&f.output, "output", "man", "the `FOLDER` that gets the pages")
}

func (p *program) manCommand() *cobra.Command {
	var f manFlags
	c := &cobra.Command{
		Use:     "man",
		GroupID: groupHost,
		Short:   "Write the manual pages",
		Example: "  aither-image man --output /usr/local/share/man/man1",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return writePages(c.Root(), f.output, p.epoch())
		},
	}
	f.register(c.Flags())
	return c
}

// epoch is SOURCE_DATE_EPOCH, and 1970 where it is not set.
func (p *program) epoch() time.Time {
	s, err := strconv.ParseInt(p.getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return time.Unix(0, 0).UTC()
	}
	return time.Unix(s, 0).UTC()
}

// writePages writes a page for c and for every verb below it.
func writePages(c *cobra.Command, dir string, date time.Time) error {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			if err := writePages(sub, dir, date); err != nil {
				return err
			}
		}
	}
	c.InitDefaultHelpFlag()
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	return writeFile(filepath.Join(dir, name+".1"), func(w io.Writer) error {
		h := &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Date: &date, Source: "aither-image", Manual: "aither-image"}
		if err := doc.GenMan(c, h, w); err != nil {
			return fmt.Errorf("rendering %s: %w", name, err)
		}
		_, err := io.WriteString(w, manTail)
		return err
	})
}

// manTail is what every page ends with, in roff.
const manTail = `.SH EXIT STATUS
0 done; 1 failed; 2 the command line or the blueprint is wrong; 3 something does
not fit; 4 verification failed; 5 network or credentials; 6 a program or a
privilege is missing; 130 interrupted.
.SH ENVIRONMENT
Every flag may also be given as AITHER_IMAGE_ and its name in capitals, with
underscores for dashes. SOURCE_DATE_EPOCH, REGISTRY_AUTH_FILE, NO_COLOR and the
proxy variables are honoured.
`
