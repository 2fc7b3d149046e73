// Package tooltest gives tests the programs that judge their results.
package tooltest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tool"
)

// Need returns the path of a program, or skips the test where it is missing.
// In CI (environment variable CI set) a missing program fails the test: a
// check that is silently skipped there is no check. Only programs that the
// system's release does not have, as ci/setup lists them in AITHER_LACKING, are
// excused.
func Need(t testing.TB, name string) string {
	t.Helper()
	p, err := tool.Look(name)
	if err != nil {
		if os.Getenv("CI") != "" && !slices.Contains(strings.Fields(os.Getenv("AITHER_LACKING")), name) {
			t.Fatalf("%s is not installed, and CI must not skip", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return p
}
