package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/pondsocket/pond"

// A goFile is a Go file of the repository, for any platform.
type goFile struct {
	path   string // slash-separated, from the root
	dir    string // the directory of path
	test   bool
	lines  int
	syntax *ast.File
}

// goFiles returns all Go files of the repository.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	files, err := parseGoFiles()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var parseGoFiles = sync.OnceValues(func() (files []goFile, err error) {
	set := token.NewFileSet()
	err = walk(".go", func(name string, text []byte) error {
		syntax, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, goFile{
			path:   name,
			dir:    path.Dir(name),
			test:   strings.HasSuffix(name, "_test.go"),
			lines:  set.File(syntax.FileStart).LineCount(),
			syntax: syntax,
		})
		return nil
	})
	return files, err
})

// walk calls visit with each file of the repository whose name ends in suffix,
// except for generated files, installed packages and test data.
func walk(suffix string, visit func(name string, text []byte) error) error {
	root := os.DirFS(".")
	return fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case d.IsDir():
			if strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"artifacts", "node_modules", "testdata"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(name, suffix):
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return visit(name, text)
	})
}

func (f goFile) imports() []string {
	var paths []string
	for _, spec := range f.syntax.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // the parser checked it
		paths = append(paths, p)
	}
	return paths
}

// uses reports whether f uses name from the package with import path p.
func (f goFile) uses(p, name string) (found bool) {
	for _, spec := range f.syntax.Imports {
		if spec.Path.Value != strconv.Quote(p) {
			continue
		}
		local := path.Base(p)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == name {
				x, ok := s.X.(*ast.Ident)
				found = found || ok && x.Name == local
			}
			return !found
		})
	}
	return found
}

// ours returns the directory of an imported package if it is in this module.
func ours(imported string) (dir string, ok bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// standard reports whether p is a package of the standard library.
func standard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".")
}

// within reports whether p matches one of the patterns. A pattern is a path, or
// matches all paths below it, as in "cmd/...".
func within(p string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		parent, tree := strings.CutSuffix(pattern, "/...")
		return p == parent || tree && strings.HasPrefix(p, parent+"/")
	})
}
