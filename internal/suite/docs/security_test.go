package docs_test

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const securityDocument = "docs/security.md"

// attack matches the names of tests of attacks in other packages.
var attack = regexp.MustCompile("^(TestAttack|TestProbe|Fuzz)[A-Z]")

// The limits in docs/security.md are the same as in the code, the tests that it
// names exist, and it names all tests of attacks: those of internal/suite/attack, and all
// fuzz targets.
func TestSecurityDocument(t *testing.T) {
	text, err := os.ReadFile(securityDocument)
	if err != nil {
		t.Fatal(err)
	}
	document := string(text)
	tests := map[string]bool{}
	attacks := map[string]bool{}
	options := map[string]string{} // the comments of options
	for _, f := range goFiles(t) {
		for _, d := range f.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if f.test && (strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz")) {
					tests[name] = true
					if strings.HasPrefix(f.path, "internal/suite/attack/") || attack.MatchString(name) {
						attacks[name] = true
					}
				}
				if f.path == "option.go" && strings.HasPrefix(name, "With") && returns(d, "EndpointOption") {
					options[name] = strings.Join(strings.Fields(d.Doc.Text()), " ")
				}
			case *ast.GenDecl:
				if f.path == "observer.go" && d.Tok == token.CONST {
					for _, limit := range stringValues(d) {
						if !strings.Contains(document, "| `"+limit+"` |") {
							t.Errorf("limit %s is missing", limit)
						}
					}
				}
			}
		}
	}
	named := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(document, -1)
	for _, name := range named {
		if !tests[name] {
			t.Errorf("there is no %s", name)
		}
	}
	for name := range attacks {
		if !slices.Contains(named, name) {
			t.Errorf("%s is missing", name)
		}
	}
	row := regexp.MustCompile("(?m)^\\|[^|]+\\| ([^|]+) \\| `(With\\w+)` \\|")
	for _, m := range row.FindAllStringSubmatch(document, -1) {
		if value, comment := m[1], options[m[2]]; !strings.Contains(comment, "The default is "+value) {
			t.Errorf("%s: the default is not %s: %s", m[2], value, comment)
		}
	}
	for name := range options {
		if !strings.Contains(document, "`"+name+"`") {
			t.Errorf("%s is missing", name)
		}
	}
	if len(tests) < 100 || len(options) < 10 {
		t.Errorf("%d tests and %d options were found", len(tests), len(options))
	}
}

// returns reports whether a function returns one value of a type.
func returns(d *ast.FuncDecl, name string) bool {
	if d.Type.Results == nil || len(d.Type.Results.List) != 1 {
		return false
	}
	id, ok := d.Type.Results.List[0].Type.(*ast.Ident)
	return ok && id.Name == name
}

// stringValues returns the values of constants that are strings.
func stringValues(d *ast.GenDecl) (values []string) {
	for _, spec := range d.Specs {
		for _, v := range spec.(*ast.ValueSpec).Values {
			if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					values = append(values, s)
				}
			}
		}
	}
	return values
}
