package pond_test

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// Code in the documents is copied from files that are compiled and tested. A
// comment above the block says from where:
//
//	<!-- code: examples/chat/main.go#Message,onMessage,main -->
//
// The path starts at the root. The names are declarations in the order shown,
// Examples without their frame, as in the package documentation. Without names
// it is the whole file from its package clause.
func TestDocumentsShowTestedCode(t *testing.T) {
	for name, doc := range documents(t) {
		for _, b := range doc.code {
			source, err := os.ReadFile(b.file)
			if err != nil {
				t.Errorf("%s:%d: %v", name, b.line, err)
				continue
			}
			want, err := excerpt(string(source), b.names)
			if err != nil {
				t.Errorf("%s:%d: %s: %v", name, b.line, b.file, err)
				continue
			}
			if b.text != want {
				t.Errorf("%s:%d: is not what %s says:\n%s", name, b.line, b.file, want)
			}
		}
	}
}

func TestDocumentsLinkToWhatExists(t *testing.T) {
	docs := documents(t)
	for name, doc := range docs {
		for _, link := range doc.links {
			if strings.Contains(link, ":") { // https: and mailto: are elsewhere
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
		"```go",
		"unmarked()",
		"```",
		"<!-- code: y.go -->",
		"No block follows.",
	}, "\n"))

	if want := []string{"a-pond--its-users", "again", "again-1"}; !slices.Equal(doc.anchors, want) {
		t.Errorf("anchors = %q, want %q", doc.anchors, want)
	}
	if want := []string{"a.md#b", "b.png", "d.svg", "e.md"}; !slices.Equal(doc.links, want) {
		t.Errorf("links = %q, want %q", doc.links, want)
	}
	want := []codeBlock{
		{line: 7, file: "x.go", names: []string{"F", "G"}, text: "f()\n\n# no heading, [no link](f.md)\n"},
		{line: 17, file: "y.go"},
	}
	if !slices.EqualFunc(doc.code, want, func(a, b codeBlock) bool {
		return a.line == b.line && a.file == b.file && a.text == b.text && slices.Equal(a.names, b.names)
	}) {
		t.Errorf("code = %+v, want %+v", doc.code, want)
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
