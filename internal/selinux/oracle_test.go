package selinux

import (
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// policyDir is a folder with a real policy's file_contexts: the machine's own,
// or the one that AITHER_SELINUX_CONTEXTS names.
func policyDir(t testing.TB) string {
	t.Helper()
	dirs, _ := filepath.Glob("/etc/selinux/*/contexts/files")
	if d := os.Getenv("AITHER_SELINUX_CONTEXTS"); d != "" {
		dirs = []string{d}
	}
	for _, d := range dirs {
		if _, err := os.Stat(filepath.Join(d, "file_contexts")); err == nil {
			return d
		}
	}
	t.Skip("no SELinux policy is installed; AITHER_SELINUX_CONTEXTS may name the folder of one's file_contexts")
	return ""
}

func loadDir(t testing.TB, dir string) *Policy {
	t.Helper()
	p, err := Load(func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// samplePaths makes paths that match each expression of a policy, and others
// that miss narrowly.
func samplePaths(t testing.TB, dir string) []string {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	seen := map[string]bool{}
	for _, name := range Files()[:3] {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		err = eachLine(name, string(b), func(f []string) error {
			tree, err := syntax.Parse("(?s)"+f[0], syntax.Perl)
			if err != nil {
				return err
			}
			for range 2 {
				s := sample(r, tree)
				seen[s] = true
				seen[s+"/below"] = true
				seen[strings.TrimSuffix(s, "/")+"x"] = true
				if i := strings.LastIndexByte(s, '/'); i > 0 {
					seen[s[:i]] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var out []string
	for s := range seen {
		if strings.HasPrefix(s, "/") && !strings.ContainsAny(s, "\n\t\x00") && !strings.Contains(s, "//") && s != "/proc" {
			out = append(out, s)
		}
	}
	return out
}

func sample(r *rand.Rand, re *syntax.Regexp) string {
	repeat := func(low, high int) string {
		var b strings.Builder
		for range low + r.IntN(high-low+1) {
			b.WriteString(sample(r, re.Sub[0]))
		}
		return b.String()
	}
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		for range 200 {
			c := rune('-' + r.IntN('z'-'-'))
			for i := 0; i < len(re.Rune); i += 2 {
				if re.Rune[i] <= c && c <= re.Rune[i+1] && c != '/' {
					return string(c)
				}
			}
		}
		return string(re.Rune[0])
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return string("ab/.-0"[r.IntN(6)])
	case syntax.OpStar:
		return repeat(0, 3)
	case syntax.OpPlus:
		return repeat(1, 3)
	case syntax.OpQuest:
		return repeat(0, 1)
	case syntax.OpRepeat:
		return repeat(re.Min, max(re.Min, re.Max))
	case syntax.OpAlternate:
		return sample(r, re.Sub[r.IntN(len(re.Sub))])
	}
	var b strings.Builder
	for _, s := range re.Sub {
		b.WriteString(sample(r, s))
	}
	return b.String()
}

func TestOracleRealPolicy(t *testing.T) {
	dir := policyDir(t)
	paths := samplePaths(t, dir)
	slices.Sort(paths)
	if os.Getenv("AITHER_SELINUX_CONTEXTS") == "" && len(paths) > 4000 {
		// Of the machine's own policy a part must do, to be quick.
		rand.New(rand.NewPCG(7, 8)).Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		paths = paths[:4000]
	}
	if n := compare(t, dir, paths); n < 20000 {
		t.Errorf("only %d labels were compared", n)
	}
}

func TestOracleSmallPolicy(t *testing.T) {
	dir := t.TempDir()
	for name, text := range sample1 {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	paths := append(samplePaths(t, dir), "/lib/a.so", "/lib64", "/lib64x", "/usr/libexec/x", "/srv/tree/bin/x", "/srv/tree/libexec/x",
		"/alias/usr/bin", "/alias", "/var/roothome/.ssh", "/var/x/anything", "/any/end", "/usr//bin/", "/usr/lib/.so")
	compare(t, dir, paths)
}

// compare holds the labels of paths against libselinux, and returns how many.
func compare(t *testing.T, dir string, paths []string) int {
	t.Helper()
	matchpathcon := tooltest.Need(t, "matchpathcon")
	p := loadDir(t, dir)
	modes := map[string]fs.FileMode{
		"file": 0, "dir": fs.ModeDir, "lnk_file": fs.ModeSymlink, "sock_file": fs.ModeSocket,
		"chr_dev": fs.ModeDevice | fs.ModeCharDevice, "blk_dev": fs.ModeDevice, "pipe": fs.ModeNamedPipe,
	}
	checked, wrong := 0, 0
	for name, mode := range modes {
		for batch := range slices.Chunk(paths, 2000) {
			want := ask(t, matchpathcon, filepath.Join(dir, "file_contexts"), name, batch)
			for i, path := range batch {
				got, ok := p.Label(path, mode)
				if !ok {
					got = none
				}
				if checked++; got != want[i] {
					if wrong++; wrong < 20 {
						t.Errorf("%s %s: %s, want %s", name, path, got, want[i])
					}
				}
			}
		}
	}
	t.Logf("%d labels compared, %d wrong", checked, wrong)
	return checked
}

func ask(t *testing.T, matchpathcon, file, kind string, paths []string) []string {
	t.Helper()
	out, err := tool.Run(context.Background(), matchpathcon, append([]string{"-f", file, "-m", kind}, paths...)...)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(paths) {
		t.Fatalf("%d answers to %d paths", len(lines), len(paths))
	}
	for i, l := range lines {
		_, context, _ := strings.Cut(l, "\t")
		lines[i] = context
	}
	return lines
}

func BenchmarkLabel(b *testing.B) {
	dir := policyDir(b)
	p := loadDir(b, dir)
	paths := samplePaths(b, dir)
	for _, s := range paths {
		p.Label(s, 0)
	}
	for i := 0; b.Loop(); i++ {
		p.Label(paths[i%len(paths)], 0)
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := policyDir(b)
	for b.Loop() {
		loadDir(b, dir)
	}
}
