package repo

import (
	"go/ast"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Limits of size. The numbers of the rules are 400 and 60; a file or function
// that is a few lines over is not worth a worse cut.
const (
	maxFile    = 420
	maxEncoder = 800 // a file that says "Format encoder:" in a comment
	maxTest    = 600
	maxFunc    = 66
	maxDepth   = 4
)

// A gate looks at one file and tells what is wrong with it. bad is a file that
// the gate must refuse: a gate that refuses nothing is none.
type gate struct {
	name    string
	check   func(goFile) []string
	badFile string
	bad     string
}

var gates = []gate{
	{"imports go down", importsUpwards, "internal/tree/x.go", `package tree; import _ "` + module + `/internal/build"`},
	{"no imports sideways", importsUpwards, "internal/ostree/x.go", `package ostree; import _ "` + module + `/internal/selinux"`},
	{"packages are listed", importsUpwards, "internal/nowhere/x.go", `package nowhere`},
	{"only compose knows buildah", only("github.com/containers/buildah", "internal/compose"), "internal/build/x.go", `package build; import _ "github.com/containers/buildah/define"`},
	{"only compose and registry know containers/storage", only("github.com/containers/storage", "internal/compose", "internal/registry"), "cmd/aither-image/x.go", `package main; import _ "github.com/containers/storage"`},
	{"only compose and registry know containers/image", only("github.com/containers/image/v5", "internal/compose", "internal/registry"), "internal/layer/x.go", `package layer; import _ "github.com/containers/image/v5/copy"`},
	{"only tool and vm start programs", only("os/exec", "internal/tool", "internal/vm", "test/bench"), "internal/disk/x.go", `package disk; import _ "os/exec"`},
	{"nothing unsafe", only("unsafe"), "internal/disk/x.go", `package disk; import _ "unsafe"`},
	{"only the agent's gpu package knows NVIDIA", only("github.com/NVIDIA", "firstboot/internal/gpu"), "internal/build/x.go", `package build; import _ "github.com/NVIDIA/go-nvml/pkg/nvml"`},
	{"time is an input", noUse(belowCmd, "time.Now", "time.Since", "time.Until"), "internal/disk/x.go", `package disk; import "time"; var _ = time.Now()`},
	{"identifiers are inputs", noUse(belowCmd, "uuid.New", "uuid.NewString", "uuid.NewRandom", "uuid.NewUUID"), "internal/disk/x.go", `package disk; var _ = uuid.New()`},
	{"chance is an input", where(belowCmd, only("math/rand", "internal/disk/plan"), only("crypto/rand")), "internal/disk/x.go", `package disk; import _ "crypto/rand"`},
	{"outputs are whole or absent", noUse(outsideAtomicfile, "os.WriteFile", "os.Create", "os.Rename"), "internal/output/x.go", `package output; func f() { os.WriteFile("x", nil, 0) }`},
	{"libraries print nothing", noUse(belowCmd, "fmt.Print", "fmt.Println", "fmt.Printf", "log.Print", "log.Println", "log.Printf"), "internal/disk/x.go", `package disk; func f() { fmt.Println() }`},
	{"libraries do not exit", noUse(belowMain, "os.Exit", "log.Fatal", "log.Fatalf"), "internal/disk/x.go", `package disk; func f() { os.Exit(1) }`},
	{"no init", noInit, "internal/disk/x.go", `package disk; func init() {}`},
	{"panics are bugs", panicsSaySo, "internal/disk/x.go", `package disk; func f() { panic("bad input") }`},
	{"exported means documented", exportedDocumented, "internal/disk/x.go", "package disk\n\nfunc Write() {}"},
	{"files stay small", fileSize, "internal/disk/x.go", "package disk" + strings.Repeat("\n", maxFile)},
	{"functions stay small", funcSize, "internal/disk/x.go", "package disk\nfunc f() {" + strings.Repeat("\n", maxFunc+1) + "}"},
	{"nesting stays flat", nesting, "internal/disk/x.go", "package disk\nfunc f() { for { if true { for { if true { for {} } } } } }"},
	{"packages have honest names", packageName, "internal/util/x.go", `package util`},
	{"nothing is left for later", noMarkers, "internal/disk/x.go", "package disk // " + "TO" + "DO: more"},
	{"no silent skips", noSilentSkips, "internal/disk/x_test.go", `package disk; func f(t *testing.T) { t.SkipNow() }`},
}

func TestGates(t *testing.T) {
	files := goFiles(t)
	for _, g := range gates {
		t.Run(g.name, func(t *testing.T) {
			if len(g.check(parseSource(t, g.badFile, g.bad))) == 0 {
				t.Fatal("the gate lets its own bad example through")
			}
			for _, f := range files {
				for _, b := range g.check(f) {
					t.Error(b)
				}
			}
		})
	}
}

// only allows the import of prefix to the folders named.
func only(prefix string, allowed ...string) func(goFile) []string {
	return func(f goFile) (bad []string) {
		if f.test || slices.ContainsFunc(allowed, func(a string) bool { return f.pkg == a || strings.HasPrefix(f.pkg, a+"/") }) {
			return nil
		}
		f.imports(func(p, at string) {
			if p == prefix || strings.HasPrefix(p, prefix+"/") {
				bad = append(bad, at+": imports "+p)
			}
		})
		return bad
	}
}

func belowCmd(f goFile) bool          { return strings.HasPrefix(f.pkg, "internal/") && !f.test }
func belowMain(f goFile) bool         { return f.ast.Name.Name != "main" && !f.test }
func outsideAtomicfile(f goFile) bool { return f.pkg != "internal/atomicfile" && !f.test }

// where joins checks and asks them only about the files that applies chooses.
func where(applies func(goFile) bool, checks ...func(goFile) []string) func(goFile) []string {
	return func(f goFile) (bad []string) {
		for _, c := range checks {
			if applies(f) {
				bad = append(bad, c(f)...)
			}
		}
		return bad
	}
}

// noUse refuses pkg.Name, called or handed on, in the files that applies chooses.
func noUse(applies func(goFile) bool, names ...string) func(goFile) []string {
	return func(f goFile) (bad []string) {
		if !applies(f) {
			return nil
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains(names, x.Name+"."+s.Sel.Name) {
				bad = append(bad, f.at(s)+": uses "+x.Name+"."+s.Sel.Name)
			}
			return true
		})
		return bad
	}
}

func noInit(f goFile) (bad []string) {
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			bad = append(bad, f.at(fn)+": func init")
		}
	}
	return bad
}

// panicsSaySo allows panic only for bugs, in words that say so.
func panicsSaySo(f goFile) (bad []string) {
	if f.test {
		return nil
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if !ok || len(c.Args) != 1 {
			return true
		}
		if id, ok := c.Fun.(*ast.Ident); !ok || id.Name != "panic" {
			return true
		}
		text := f.src[f.fset.Position(c.Lparen).Offset:f.fset.Position(c.Rparen).Offset]
		if !strings.Contains(text, "internal error") {
			bad = append(bad, f.at(c)+": panic that does not say \"internal error\"")
		}
		return true
	})
	return bad
}

func exportedDocumented(f goFile) (bad []string) {
	if f.test || f.ast.Name.Name == "main" {
		return nil
	}
	miss := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(docs, func(d *ast.CommentGroup) bool { return d != nil }) {
			bad = append(bad, f.at(name)+": "+name.Name+" is exported and not documented")
		}
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if needsDoc(d) {
				miss(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					miss(s.Name, d.Doc, s.Doc)
				case *ast.ValueSpec:
					for _, n := range s.Names {
						miss(n, d.Doc, s.Doc, s.Comment)
					}
				}
			}
		}
	}
	return bad
}

// needsDoc leaves out the methods of hidden types, and those that satisfy a
// well-known interface, which documents them.
func needsDoc(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if s, ok := t.(*ast.StarExpr); ok {
		t = s.X
	}
	id, ok := t.(*ast.Ident)
	known := []string{"Error", "String", "Unwrap", "Read", "Write", "Close", "Len", "Less", "Swap", "Is", "As"}
	return ok && id.IsExported() && !slices.Contains(known, d.Name.Name)
}

func fileSize(f goFile) []string {
	limit, lines := maxFile, strings.Count(f.src, "\n")
	switch {
	case f.test:
		limit = maxTest
	case strings.Contains(f.src, "// Format encoder:"):
		limit = maxEncoder
	}
	if lines >= limit {
		return []string{f.path + ": " + strconv.Itoa(lines) + " lines, at most " + strconv.Itoa(limit)}
	}
	return nil
}

func funcSize(f goFile) (bad []string) {
	for _, d := range f.ast.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || f.test {
			continue
		}
		if n := f.fset.Position(fn.Body.End()).Line - f.fset.Position(fn.Body.Pos()).Line; n > maxFunc {
			bad = append(bad, f.at(fn)+": "+fn.Name.Name+" has "+strconv.Itoa(n)+" lines, at most "+strconv.Itoa(maxFunc))
		}
	}
	return bad
}

// nesting counts loops, ifs and selects inside each other. The cases of a
// switch are a table and do not count, a function literal starts anew, and
// "else if" stands beside its "if".
func nesting(f goFile) (bad []string) {
	if f.test {
		return nil
	}
	var walk func(n ast.Node, depth int)
	walk = func(root ast.Node, depth int) {
		ast.Inspect(root, func(n ast.Node) bool {
			if n == root || n == nil {
				return true
			}
			next := depth + 1
			switch n := n.(type) {
			case *ast.FuncLit:
				next = 0
			case *ast.IfStmt:
				if outer, ok := root.(*ast.IfStmt); ok && outer.Else == n {
					next = depth
				}
			case *ast.ForStmt, *ast.RangeStmt, *ast.SelectStmt:
			default:
				return true
			}
			if next > maxDepth {
				bad = append(bad, f.at(n)+": nested deeper than "+strconv.Itoa(maxDepth))
				return false
			}
			walk(n, next)
			return false
		})
	}
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			walk(fn.Body, 0)
		}
	}
	return bad
}

func packageName(f goFile) []string {
	name := strings.TrimSuffix(f.ast.Name.Name, "_test")
	if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "manager", "misc"}, name) {
		return []string{f.path + ": a package named " + name + " says nothing"}
	}
	return nil
}

var marker = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

func noMarkers(f goFile) (bad []string) {
	for _, g := range f.ast.Comments {
		for _, c := range g.List {
			if marker.MatchString(c.Text) {
				bad = append(bad, f.at(c)+": "+c.Text)
			}
		}
	}
	return bad
}

// noSilentSkips refuses tests that skip without a word.
func noSilentSkips(f goFile) (bad []string) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		s, ok := c.Fun.(*ast.SelectorExpr)
		if ok && (s.Sel.Name == "SkipNow" || s.Sel.Name == "Skip" && len(c.Args) == 0 && f.test) {
			bad = append(bad, f.at(c)+": skips without saying why")
		}
		return true
	})
	return bad
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	docs, seen := map[string][]string{}, map[string]bool{}
	for _, f := range goFiles(t) {
		if strings.HasSuffix(f.path, "_test.go") && f.pkg != "." {
			continue
		}
		seen[f.pkg] = true
		if f.ast.Doc != nil {
			docs[f.pkg] = append(docs[f.pkg], strings.Join(strings.Fields(f.ast.Doc.Text()), " "))
		}
	}
	for pkg := range seen {
		switch d := docs[pkg]; {
		case len(d) == 0:
			t.Errorf("%s has no package comment", pkg)
		case len(d) > 1:
			t.Errorf("%s has several package comments: %q", pkg, d)
		case len(d[0]) < 60:
			t.Errorf("%s says too little of itself: %q", pkg, d[0])
		}
	}
}
