package docs_test

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"unicode"
)

// A document has the parts of a Markdown file that tests check.
type document struct {
	anchors []string    // of the headings
	links   []string    // targets of links
	code    []codeBlock // blocks with and without a mark
}

// A codeBlock is the text between two fences, with the mark above it.
type codeBlock struct {
	line     int    // of the mark, or of the fence if there is no mark
	kind     string // of the mark: code, output, ...; empty if there is no mark
	source   string // the text of the mark
	language string
	text     string // empty if no block follows the mark
}

// from returns the file and the names in a mark.
func (b codeBlock) from() (file string, names []string) {
	file, list, some := strings.Cut(b.source, "#")
	if some {
		names = strings.Split(list, ",")
	}
	return file, names
}

var (
	mark    = regexp.MustCompile("^<!-- ([a-z]+): (.*?) -->$")
	fence   = regexp.MustCompile("^ {0,3}(```+)(.*)$")
	heading = regexp.MustCompile(`^#{1,6} +(.*)$`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)|(?:src|href)="([^"]+)"|^\[[^\]]+\]:\s*(\S+)`)
	quoted  = regexp.MustCompile("`[^`]*`")
)

func parseDocument(text string) (doc document) {
	headings := map[string]int{}
	marked := false // the last non-empty line was a mark
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if m := fence.FindStringSubmatch(line); m != nil {
			start := i + 1
			for i = start; i < len(lines) && strings.TrimSpace(lines[i]) != m[1]; i++ {
			}
			if !marked {
				doc.code = append(doc.code, codeBlock{line: start})
			}
			b := &doc.code[len(doc.code)-1]
			b.language, b.text = m[2], strings.Join(lines[start:i], "\n")+"\n"
			marked = false
			continue
		}
		if m := mark.FindStringSubmatch(line); m != nil {
			doc.code = append(doc.code, codeBlock{line: i + 1, kind: m[1], source: m[2]})
			marked = true
			continue
		}
		marked = marked && strings.TrimSpace(line) == ""
		if m := heading.FindStringSubmatch(line); m != nil {
			name := slug(m[1])
			doc.anchors = append(doc.anchors, name)
			if n := headings[name]; n > 0 {
				doc.anchors[len(doc.anchors)-1] = fmt.Sprintf("%s-%d", name, n)
			}
			headings[name]++
		}
		for _, m := range link.FindAllStringSubmatch(quoted.ReplaceAllString(line, ""), -1) {
			doc.links = append(doc.links, m[1]+m[2]+m[3])
		}
	}
	return doc
}

// slug returns the anchor that GitHub gives to a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
}

// section returns the lines of a file between the comments "begin NAME" and "end
// NAME", or the whole file if there is no name. It is for files that are not Go.
func section(source string, names []string) (string, error) {
	if names == nil {
		return source, nil
	}
	var kept []string
	inside, found := false, false
	for line := range strings.Lines(source) {
		switch {
		case strings.Contains(line, "begin "+names[0]):
			inside, found = true, true
		case strings.Contains(line, "end "+names[0]):
			inside = false
		case inside:
			kept = append(kept, line)
		}
	}
	if !found || inside {
		return "", fmt.Errorf("no section %s", names[0])
	}
	return strings.Join(kept, ""), nil
}

// exampleOutput returns the expected output of an Example in a Go file.
func exampleOutput(source, name string) (string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), "", source, parser.ParseComments)
	if err != nil {
		return "", err
	}
	for _, e := range doc.Examples(f) {
		if "Example"+e.Name == name {
			return e.Output, nil
		}
	}
	return "", fmt.Errorf("no example %s", name)
}

// excerpt returns the declarations of names from a Go file, in this order and with a
// blank line between them, or the whole file if there are no names.
func excerpt(source string, names []string) (string, error) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "", source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	offset := func(p token.Pos) int { return set.Position(p).Offset }
	if names == nil {
		return source[offset(f.Package):], nil
	}
	var parts []string
	for _, name := range names {
		d := declaration(f, name)
		if d == nil {
			return "", fmt.Errorf("no declaration of %s", name)
		}
		if fn, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(name, "Example") {
			parts = append(parts, body(source[offset(fn.Body.Lbrace)+1:offset(fn.Body.Rbrace)]))
			continue
		}
		rest := source[offset(d.End()):]
		comment, _, _ := strings.Cut(rest, "\n")
		parts = append(parts, source[offset(start(d)):offset(d.End())]+comment)
	}
	return strings.Join(parts, "\n\n") + "\n", nil
}

// declaration returns the declaration of a name. Methods are named T.M.
func declaration(f *ast.File, name string) ast.Decl {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if methodName(d) == name {
				return d
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.Name == name {
						return d
					}
				case *ast.ValueSpec:
					for _, id := range spec.Names {
						if id.Name == name {
							return d
						}
					}
				}
			}
		}
	}
	return nil
}

func methodName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	receiver := d.Recv.List[0].Type
	if p, ok := receiver.(*ast.StarExpr); ok {
		receiver = p.X
	}
	return fmt.Sprintf("%s.%s", receiver, d.Name)
}

// start returns the position of d, or of its comment if it has one.
func start(d ast.Decl) token.Pos {
	var doc *ast.CommentGroup
	switch d := d.(type) {
	case *ast.FuncDecl:
		doc = d.Doc
	case *ast.GenDecl:
		doc = d.Doc
	}
	if doc != nil {
		return doc.Pos()
	}
	return d.Pos()
}

var output = regexp.MustCompile(`(?im)^// (unordered )?output:`)

// body returns the statements of an Example without its expected output.
func body(block string) string {
	lines := strings.Split(block, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "\t")
	}
	text := strings.Join(lines, "\n")
	if at := output.FindStringIndex(text); at != nil {
		text = text[:at[0]]
	}
	return strings.TrimSpace(text)
}
