package docs_test

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const catalogue = "docs/errors.md"

// The catalogue of errors is complete: it contains every sentinel, code and text of the
// source that a client or an operator can receive.
func TestCatalogueIsComplete(t *testing.T) {
	text := readCatalogue(t)
	for word, where := range told(t) {
		if !strings.Contains(text, "`"+word+"`") {
			t.Errorf("%s: %q is not in %s", where, word, catalogue)
		}
	}
}

// Everything that the tables of the catalogue quote in their first column is in the
// source.
func TestCatalogueIsTrue(t *testing.T) {
	known := told(t)
	row := regexp.MustCompile("(?m)^\\| `([^`]+)`")
	rows := row.FindAllStringSubmatch(readCatalogue(t), -1)
	if len(rows) < 50 {
		t.Errorf("only %d rows", len(rows))
	}
	for _, m := range rows {
		if known[m[1]] == "" {
			t.Errorf("%s: nothing in the source says %q", catalogue, m[1])
		}
	}
}

func readCatalogue(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(catalogue)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// told returns the strings that the catalogue must contain, with their places in the
// source.
func told(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	codes := constants(t, "internal/ws")
	for _, f := range goFiles(t) {
		if f.test || !slices.Contains([]string{".", "internal/transport", "internal/wire", "internal/ws"}, f.dir) {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			collect(found, codes, f, n)
			return true
		})
	}
	for name, value := range constants(t, "internal/wire") {
		if slices.Contains(errorEvents, name) {
			found[value] = "internal/wire"
		}
	}
	return found
}

// errorEvents are the names of constants in internal/wire for the events and codes
// of errors.
var errorEvents = []string{
	"ChannelError", "ChannelNotFound", "Destroyed", "Evicted", "HandlerNotFound", "InvalidMessage",
	"Kicked", "KickedOut", "Unauthorized", "UnauthorizedJoinRequest",
}

// tellers are functions that take a text for clients or operators, with the index of
// this argument.
var tellers = map[string]int{
	"Close": 1, "Error": 1, "ErrorContext": 1, "Errorf": 0, "Info": 0, "LogAttrs": 2, "New": 0,
	"invalid": 2, "known": 1, "lastFrame": 1, "refuse": 1, "respond": 2, "violation": 1, "log": 2,
}

// unseen are error texts that are never shown.
var unseen = []string{"closed by the client"}

// collect adds the strings of one node of the source.
func collect(found, codes map[string]string, f goFile, n ast.Node) {
	switch n := n.(type) {
	case *ast.ValueSpec:
		for _, name := range n.Names {
			if f.dir == "." && strings.HasPrefix(name.Name, "Err") && name.IsExported() {
				found[name.Name] = f.path
			}
			if name.Name == "text" {
				for _, v := range n.Values {
					if s, ok := literal(v); ok {
						found[s] = f.path
					}
				}
			}
		}
	case *ast.CallExpr:
		name := called(n)
		if i, ok := tellers[name]; ok && i < len(n.Args) {
			if s, ok := literal(n.Args[i]); ok && s != "" && !slices.Contains(unseen, s) {
				found[s] = f.path
			}
			for _, arg := range n.Args {
				closeCode(found, codes, f, arg)
			}
		}
	case *ast.KeyValueExpr:
		key, _ := n.Key.(*ast.Ident)
		if s, ok := literal(n.Value); ok && key != nil && key.Name == "Message" {
			found[s] = f.path
		}
	case *ast.AssignStmt:
		for _, v := range n.Rhs {
			closeCode(found, codes, f, v)
		}
	}
}

// closeCode adds the close code if e is the name of one.
func closeCode(found, codes map[string]string, f goFile, e ast.Expr) {
	var name string
	switch e := e.(type) {
	case *ast.Ident:
		name = e.Name
	case *ast.SelectorExpr:
		name = e.Sel.Name
	}
	if code, ok := codes[name]; ok && strings.HasPrefix(name, "Close") {
		found[code] = f.path
	}
}

// called returns the name of the function or method of a call.
func called(c *ast.CallExpr) string {
	switch fn := c.Fun.(type) {
	case *ast.Ident:
		return fn.Name
	case *ast.SelectorExpr:
		return fn.Sel.Name
	}
	return ""
}

// literal returns the value of a string or number literal.
func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return "", false
	}
	if lit.Kind == token.STRING {
		s, err := strconv.Unquote(lit.Value)
		return s, err == nil
	}
	return lit.Value, true
}

// constants returns the exported constants of a package that have a literal value.
func constants(t *testing.T, dir string) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, f := range goFiles(t) {
		if f.test || path.Dir(f.path) != dir {
			continue
		}
		for _, d := range f.syntax.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			for _, spec := range decl.Specs {
				spec := spec.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if !name.IsExported() || i >= len(spec.Values) {
						continue
					}
					if value, ok := literal(spec.Values[i]); ok {
						values[name.Name] = value
					}
				}
			}
		}
	}
	if len(values) == 0 {
		t.Fatalf("no constants in %s", dir)
	}
	return values
}
