// Package repo holds the rules of this repository as tests: what may import
// what, what may be called where, and what every file must say of itself. It
// parses the files in-process and has no product code.
package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/aitheros/aither-image"

// layers is the order of the packages: one may import only what stands on a
// lower line. A line may name several packages, which then do not know each
// other. A trailing "/..." stands for the whole subtree, whose packages may
// import their siblings.
var layers = [][]string{
	{"test/..."},
	{"cmd/..."},
	{"internal/build"},
	{"internal/vm", "internal/doctor", "internal/osbuild"},
	{"internal/compose"},
	{"internal/lint"},
	{"internal/sysroot", "internal/debian"},
	{"internal/customize"},
	{"internal/inspect"},
	{"internal/disk"},
	{"internal/output/..."},
	{"internal/disk/..."},
	{"internal/registry"},
	{"internal/layer/..."},
	{"internal/composefs", "internal/erofs", "internal/selinux", "internal/ostree"},
	{"internal/blueprint"},
	{"internal/machine"},
	{"internal/tree/..."},
	{"containerfiles/...", "blueprints", "overlays", "kickstart"},
	{"internal/tool/..."},
	{"internal/atomicfile"},
	{"internal/progress"},
}

// A goFile is a parsed file and where it stands.
type goFile struct {
	path string // slash-separated, relative to the repository
	pkg  string // its folder
	test bool
	src  string
	ast  *ast.File
	fset *token.FileSet
}

// at is the place of a node as file:line.
func (f goFile) at(n ast.Node) string {
	p := f.fset.Position(n.Pos())
	return p.Filename + ":" + strconv.Itoa(p.Line)
}

// imports yields the import paths of f and their places.
func (f goFile) imports(yield func(path, at string)) {
	for _, i := range f.ast.Imports {
		yield(strings.Trim(i.Path.Value, `"`), f.at(i))
	}
}

func parseSource(t testing.TB, name, src string) goFile {
	t.Helper()
	fset := token.NewFileSet()
	a, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	f := goFile{path: name, pkg: path.Dir(name), src: src, ast: a, fset: fset}
	// Packages such as tool/tooltest are the tests' own.
	f.test = strings.HasSuffix(name, "_test.go") || strings.HasSuffix(f.pkg, "test")
	return f
}

// goFiles parses every Go file of the module.
func goFiles(t testing.TB) []goFile {
	t.Helper()
	var files []goFile
	for _, name := range repoFiles(t) {
		if strings.HasSuffix(name, ".go") && !strings.HasPrefix(name, "ci/tools/") && !strings.Contains(name, "/testdata/") {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, parseSource(t, name, string(src)))
		}
	}
	if len(files) < 10 {
		t.Fatalf("found only %d Go files: the walk is broken", len(files))
	}
	return files
}

// repoFiles lists the regular files of the tree, build products left out.
func repoFiles(t testing.TB) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() && slices.Contains([]string{".git", ".cache", "build"}, name) {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// rank returns the line of layers that pkg (relative to the module) is on, and
// the subtree it belongs to where that line names one.
func rank(pkg string) (line int, subtree string) {
	for i, names := range layers {
		if slices.Contains(names, pkg) {
			return i, ""
		}
	}
	for i, names := range layers {
		for _, n := range names {
			root, ok := strings.CutSuffix(n, "/...")
			if ok && (pkg == root || strings.HasPrefix(pkg, root+"/")) {
				return i, root
			}
		}
	}
	return -1, ""
}

// importsUpwards reports imports that break the order of layers.
func importsUpwards(f goFile) (bad []string) {
	if f.pkg == "." || strings.HasPrefix(f.pkg, "firstboot") || strings.HasPrefix(f.pkg, "lab/") {
		return nil
	}
	from, tree := rank(f.pkg)
	if from < 0 {
		return []string{f.path + ": package " + f.pkg + " is not in the list of layers_test.go"}
	}
	f.imports(func(p, at string) {
		p, ok := strings.CutPrefix(p, module+"/")
		if !ok || p == f.pkg || f.test && strings.HasPrefix(p, "internal/tool") {
			return
		}
		to, sub := rank(p)
		switch {
		case to < 0:
			bad = append(bad, at+": imports "+p+", which is not in the list of layers_test.go")
		case to > from, to == from && tree != "" && tree == sub:
		case f.test && to != from:
			// A test may look up at what uses its package; the compiler refuses circles.
		default:
			bad = append(bad, at+": "+f.pkg+" imports "+p+", which is not below it")
		}
	})
	return bad
}
