package docs_test

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// Code in the documents is copied from files that are compiled and tested. A comment
// above each block names the source:
//
//	<!-- code: examples/chat/main.go#Message,onMessage,main -->
//
// The path starts at the root of the repository. The names are declarations, in the
// order in which they are shown. Of an Example only the statements are shown, as in
// the package documentation. Without names, the block shows the whole file from its
// package clause. A block from a file in another language shows the whole file, or
// the lines between the comments "begin NAME" and "end NAME". The output of an
// Example is quoted like this:
//
//	<!-- output: example_lobby_test.go#ExampleEndpoint_Lobby -->
func TestDocumentsShowTestedCode(t *testing.T) {
	for name, doc := range documents(t) {
		for _, b := range doc.code {
			if b.kind != "code" && b.kind != "output" {
				continue
			}
			want, err := quotation(b)
			if err != nil {
				t.Errorf("%s:%d: %v", name, b.line, err)
				continue
			}
			if b.text != want {
				t.Errorf("%s:%d: differs from %s, which is:\n%s", name, b.line, b.source, want)
			}
		}
	}
}

// quotation returns the text that a block must show.
func quotation(b codeBlock) (string, error) {
	file, names := b.from()
	source, err := os.ReadFile(file)
	switch {
	case err != nil:
		return "", err
	case b.kind == "output":
		return exampleOutput(string(source), strings.Join(names, ","))
	case path.Ext(file) != ".go":
		return section(string(source), names)
	}
	return excerpt(string(source), names)
}

// unquoted are the languages of blocks that need no mark: commands and texts, and
// blocks that other tests check.
var unquoted = []string{"", "text", "sh", "console", "http", "mermaid", "diff"}

func TestDocumentsQuoteAllCode(t *testing.T) {
	for name, doc := range documents(t) {
		for _, b := range doc.code {
			if b.kind == "" && !slices.Contains(unquoted, b.language) {
				t.Errorf("%s:%d: %s without a mark that names its source", name, b.line, b.language)
			}
		}
	}
}

func TestDocumentsLinkToWhatExists(t *testing.T) {
	docs := documents(t)
	for name, doc := range docs {
		for _, link := range doc.links {
			if strings.Contains(link, ":") { // not in this repository, like https: and mailto:
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link to %s: %v", name, link, err)
				continue
			}
			if heads, ok := docs[target]; ok && anchor != "" && !slices.Contains(heads.anchors, anchor) {
				t.Errorf("%s: link to %s: no such heading", name, link)
			}
		}
	}
}

// documents returns all Markdown files of the repository, by path.
func documents(t *testing.T) map[string]document {
	t.Helper()
	docs := map[string]document{}
	err := walk(".md", func(name string, text []byte) error {
		docs[name] = parseDocument(string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestParseDocument(t *testing.T) {
	doc := parseDocument(strings.Join([]string{
		"# A `Pond` & its users",
		"See [one](a.md#b), ![two](b.png \"title\") and `[none](c.md)`.",
		"<img src=\"d.svg\">",
		"[three]: e.md",
		"## Again",
		"## Again",
		"<!-- code: x.go#F,G -->",
		"",
		"```go",
		"f()",
		"",
		"# no heading, [no link](f.md)",
		"```",
		"```sh",
		"unmarked",
		"```",
		"<!-- output: y.go -->",
		"No block follows.",
	}, "\n"))

	if want := []string{"a-pond--its-users", "again", "again-1"}; !slices.Equal(doc.anchors, want) {
		t.Errorf("anchors = %q, want %q", doc.anchors, want)
	}
	if want := []string{"a.md#b", "b.png", "d.svg", "e.md"}; !slices.Equal(doc.links, want) {
		t.Errorf("links = %q, want %q", doc.links, want)
	}
	want := []codeBlock{
		{7, "code", "x.go#F,G", "go", "f()\n\n# no heading, [no link](f.md)\n"},
		{14, "", "", "sh", "unmarked\n"},
		{17, "output", "y.go", "", ""},
	}
	if !slices.Equal(doc.code, want) {
		t.Errorf("code = %+v, want %+v", doc.code, want)
	}
	if file, names := doc.code[0].from(); file != "x.go" || !slices.Equal(names, []string{"F", "G"}) {
		t.Errorf("from() = %q, %q", file, names)
	}
}

func TestSection(t *testing.T) {
	const source = "a\n# begin one\nb\n# end one\nc\n"
	if got, err := section(source, []string{"one"}); err != nil || got != "b\n" {
		t.Errorf("section = %q, %v", got, err)
	}
	if got, err := section(source, nil); err != nil || got != source {
		t.Errorf("section = %q, %v", got, err)
	}
	if _, err := section(source, []string{"two"}); err == nil {
		t.Error("section finds two, which does not exist")
	}
}

func TestExampleOutput(t *testing.T) {
	const source = "package p\n\nfunc ExampleT_M() {\n\tf()\n\t// Output:\n\t// 1\n\t//   2\n}\n"
	if got, err := exampleOutput(source, "ExampleT_M"); err != nil || got != "1\n  2\n" {
		t.Errorf("exampleOutput = %q, %v", got, err)
	}
	if _, err := exampleOutput(source, "ExampleT"); err == nil {
		t.Error("exampleOutput finds ExampleT, which does not exist")
	}
}

func TestExcerpt(t *testing.T) {
	const source = `// Copyright line.

// Package p is not shown.
package p

// A T is shown with its comment.
type T struct{}

func (T) M() {} // and this

const a, B = 1, 2

func Example_b() {
	if true {
		f()
	}
	// Output:
	// 1
}
`
	for _, test := range []struct {
		names []string
		want  string
	}{
		{nil, source[strings.Index(source, "package p\n"):]},
		{[]string{"B"}, "const a, B = 1, 2\n"},
		{[]string{"T.M", "T"}, "func (T) M() {} // and this\n\n// A T is shown with its comment.\ntype T struct{}\n"},
		{[]string{"Example_b"}, "if true {\n\tf()\n}\n"},
	} {
		got, err := excerpt(source, test.names)
		if err != nil || got != test.want {
			t.Errorf("excerpt(%q) = %q, %v, want %q", test.names, got, err, test.want)
		}
	}
	if _, err := excerpt(source, []string{"C"}); err == nil {
		t.Error("excerpt finds C, which does not exist")
	}
}
