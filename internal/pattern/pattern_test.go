package pattern

import (
	"strconv"
	"strings"
	"testing"
)

func TestCompileErrors(t *testing.T) {
	for _, tc := range []struct{ source, want string }{
		{"/a?b", "no '?'"},
		{`/a\?b`, "no '?'"},
		{"/a/:", `"" is not a parameter name`},
		{"/:1a", `"1a" is not a parameter name`},
		{"/:a-b", `"a-b" is not a parameter name`},
		{"/:é", `"é" is not a parameter name`},
		{"a:b:c", `"b:c" is not a parameter name`},
		{"/:*", `"*" is not a parameter name`},
		{"/:a*", `"a*" is not a parameter name`},
		{"/part*", "a '*' must be a whole segment"},
		{"/*part", "a '*' must be a whole segment"},
		{"/**", "a '*' must be a whole segment"},
		{"/*/*", `"*" appears twice`},
		{"/*/job:*", `"*" appears twice`},
		{"/a:*/b:*", `"*" appears twice`},
		{"/:a/:a", `"a" appears twice`},
		{"/:a/b:a", `"a" appears twice`},
		{"/{room}", "write :name"},
		{"/a{room...}", "write :name"},
		{`/a\`, "backslash"},
		{`/a\/b`, "backslash"},
		{`/\d`, "backslash"},
	} {
		_, err := Compile(tc.source)
		if err == nil {
			t.Errorf("Compile(%q) succeeded", tc.source)
			continue
		}
		if got := err.Error(); !strings.Contains(got, tc.want) || !strings.Contains(got, strconv.Quote(tc.source)) {
			t.Errorf("Compile(%q): %v; want the pattern and %q", tc.source, err, tc.want)
		}
	}
}

func TestString(t *testing.T) {
	for _, source := range []string{"", "/", "/chat/:room", "presence:update", `a\:b`, "/*"} {
		if got := mustCompile(t, source).String(); got != source {
			t.Errorf("String of %q: %q", source, got)
		}
	}
}

func TestEscape(t *testing.T) {
	for _, literal := range []string{"", "presence:update", "/a/*/b", `c:\dir`, "{room}", "/:a/:a", `\\:`, "é{"} {
		p := mustCompile(t, Escape(literal))
		if params, ok := p.Match(literal); !ok || params != nil {
			t.Errorf("Escape(%q) = %q: %v, %t", literal, p, params, ok)
		}
		if _, ok := p.Match(literal + "x"); ok {
			t.Errorf("Escape(%q) = %q matches more", literal, p)
		}
	}
	if _, err := Compile(Escape("a?b")); err == nil {
		t.Error("a '?' can be escaped, but no path contains one")
	}
}

func TestEscapedSegments(t *testing.T) {
	p := mustCompile(t, `/a\:b/x\*:id/\{room}`)
	params, ok := p.Match("/a:b/x*7/{room}")
	if !ok || params.Get("id") != "7" {
		t.Errorf("%v, %t", params, ok)
	}
}
