package pattern

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// mustCompilePath compiles a pattern of request paths that is part of a test.
func mustCompilePath(t testing.TB, source string) *Pattern {
	t.Helper()
	p, err := CompilePath(source)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// parsed returns a URL as net/http does for a request line.
func parsed(t testing.TB, target string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A text in an endpoint's path matches equivalent texts (RFC 3986 section 6.2.2), and
// nothing else.
func TestFault24_EquivalentPaths(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		matches map[string]Params // nil for none, as without parameters
		others  []string
	}{
		{
			"/socket",
			map[string]Params{"/socket": nil, "/s%6Fcket": nil, "/s%6fcket": nil, "/%73%6F%63%6b%65%74": nil},
			[]string{"/Socket", "/s%4Fcket", "/socket/", "%2Fsocket", "/s%256Fcket", "/./socket", "/a/../socket", "/%2e/socket", "//socket"},
		},
		{
			"/größe",
			map[string]Params{"/gr%C3%B6%C3%9Fe": nil, "/gr%c3%b6%c3%9fe": nil, "/größe": nil, "/gr%C3%B6%C3%9F%65": nil},
			[]string{"/gr%F6%DFe", "/groesse", "/gro\u0308ße"},
		},
		{"/gr%c3%B6%c3%9fe", map[string]Params{"/größe": nil, "/gr%C3%B6%C3%9Fe": nil}, []string{"/gr%25c3%25B6%25c3%259fe"}},
		{"/чат", map[string]Params{"/%D1%87%D0%B0%D1%82": nil, "/чат": nil}, []string{"/%d1%87%d0%b0"}},
		{"/a|b", map[string]Params{"/a|b": nil, "/a%7Cb": nil, "/a%7cb": nil}, []string{"/a%257Cb"}},
		{"/a b\"<>^`\\{", map[string]Params{"/a%20b%22%3C%3E%5E%60%7B": nil, "/a%20b\"<>^`{": nil}, nil},
		{"/[x]#", map[string]Params{"/[x]%23": nil, "/%5Bx%5D%23": nil}, nil},
		{"/100%", map[string]Params{"/100%25": nil}, []string{"/100", "/100%2525"}},
		{"/%zz%4", map[string]Params{"/%25zz%254": nil}, nil},
		{"/a%2Fb", map[string]Params{"/a%2Fb": nil, "/a%2fb": nil}, []string{"/a/b", "/a%252Fb"}},
		{"/a/b", map[string]Params{"/a/b": nil}, []string{"/a%2Fb", "/a%2fb", "/a|%2Fb"}},
		// Reserved characters have a different meaning when they are encoded.
		{"/a!b$c&d'e(f)g+h,i;j=k@l", map[string]Params{"/a!b$c&d'e(f)g+h,i;j=k@l": nil}, []string{"/a%21b$c&d'e(f)g+h,i;j=k@l"}},
		{`/a\:b\*c`, map[string]Params{"/a:b*c": nil}, []string{"/a%3Ab*c"}},
		{"/.well-known/../x", map[string]Params{"/.well-known/../x": nil, "/%2Ewell%2Dknown/%2e%2E/x": nil}, []string{"/x"}},
		{"/:tenant/größe", map[string]Params{
			"/a/gr%c3%b6%C3%9Fe": {{"tenant", "a"}}, "/%C3%A9%2F%2e%25/größe": {{"tenant", "é/.%"}}, "/%41/größe": {{"tenant", "A"}},
			"/%ff%41/größe": {{"tenant", "%FFA"}}, // not UTF-8: unchanged, in normalized form
		}, []string{"//größe", "/größe", "/a/b/größe"}},
		{"/room-ö:id", map[string]Params{"/room-%C3%B6%37": {{"id", "7"}}, "/%72oom-%c3%b67": {{"id", "7"}}}, []string{"/room-%C3%B6", "/room-%C37"}},
		{"/room%:id", map[string]Params{"/room%2541": {{"id", "41"}}}, []string{"/room%41", "/room%25"}},
		{"/j%6Fb:*", map[string]Params{"/job%3a%2f%7e": {{"*", "%3A%2F~"}}}, []string{"/job"}},
		{"/f/*", map[string]Params{"/f/%61//%2e%2e%2F%c3": {{"*", "/a/..%2F%C3"}}, "/%66/": {{"*", "/"}}}, []string{"/f", "/f%2F"}},
		{"/a/*/ö", map[string]Params{"/a/b/c/%c3%b6": {{"*", "/b/c"}}}, []string{"/a/%c3%b6%c3%b6"}},
	} {
		p := mustCompilePath(t, tc.pattern)
		for path, want := range tc.matches {
			if params, ok := p.Match(RequestPath(parsed(t, path))); !ok || !reflect.DeepEqual(params, want) {
				t.Errorf("%q on %q: %q, %t; want %q", tc.pattern, path, params, ok, want)
			}
		}
		for _, path := range tc.others {
			u := &url.URL{Path: path}
			if strings.HasPrefix(path, "/") {
				u = parsed(t, path)
			}
			if params, ok := p.Match(RequestPath(u)); ok {
				t.Errorf("%q matches %q: %q", tc.pattern, path, params)
			}
		}
		if p.String() != tc.pattern {
			t.Errorf("String of %q: %q", tc.pattern, p)
		}
	}
}

// If a middleware changed only Path, Path counts.
func TestRequestPath(t *testing.T) {
	for _, tc := range []struct {
		u    url.URL
		want string
	}{
		{url.URL{Path: "/a b"}, "/a%20b"},
		{url.URL{Path: "/a/b", RawPath: "/a%2Fb"}, "/a%2Fb"},
		{url.URL{Path: "/a|/b", RawPath: "/a|%2fb"}, "/a|%2Fb"},
		{url.URL{Path: "/other", RawPath: "/a%2Fb"}, "/other"},
		{url.URL{Path: "/other", RawPath: "/%zz"}, "/other"},
		{url.URL{Path: "", RawPath: ""}, ""},
		{url.URL{Opaque: "/a"}, ""},
	} {
		if got := RequestPath(&tc.u); got != strings.ReplaceAll(tc.want, "|", "%7C") {
			t.Errorf("%+v: %q, want %q", tc.u, got, tc.want)
		}
	}
}

func TestEqual(t *testing.T) {
	for _, same := range [][]string{
		{"/größe/:id", "/gr%c3%b6%C3%9Fe/:id"},
		{"/s%6Fcket", "/socket"},
		{"/a|b/*/x", "/a%7Cb/*/x"},
		{"/*/a", "/*/%61"},
	} {
		if !mustCompilePath(t, same[0]).Equal(mustCompilePath(t, same[1])) {
			t.Errorf("%q differ", same)
		}
	}
	for _, differ := range [][]string{
		{"/a", "/A"}, {"/a%2Fb", "/a/b"}, {"/:a", "/:b"}, {"/*/a", "/*/b"}, {"/*", "/:a"}, {"/a/*", "/*/a"}, {"/a", "/:a"}, {"/a:b", "/:b"},
	} {
		if mustCompilePath(t, differ[0]).Equal(mustCompilePath(t, differ[1])) {
			t.Errorf("%q are the same", differ)
		}
	}
}

func TestNormalizeAllocations(t *testing.T) {
	for path, want := range map[string]float64{"/socket": 0, "/a/b:c@d!": 0, "/a%2Fb": 1, strings.Repeat("/%41", 1<<18): 1, strings.Repeat("|", 1<<18): 1} {
		if got := testing.AllocsPerRun(10, func() { normalize(path) }); got > want {
			t.Errorf("%.20q: %v allocations, want %v", path, got, want)
		}
	}
}

// respell returns an equivalent spelling of a path, which depends on seed.
func respell(path string, seed uint64) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		seed = seed*6364136223846793005 + 1442695040888963407
		choice := seed >> 61
		switch c := path[i]; {
		case c == '%' && choice < 4:
			b.WriteString(strings.ToLower(path[i : i+3]))
			i += 2
		case c == '%':
			b.WriteString(strings.ToUpper(path[i : i+3]))
			i += 2
		case unreserved(c) && choice < 2:
			fmt.Fprintf(&b, "%%%02X", c)
		case unreserved(c) && choice < 4:
			fmt.Fprintf(&b, "%%%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// FuzzMatchPath checks that equivalent paths match in the same way and with the same
// values, that no value is empty, and that an encoded slash does not become a slash.
func FuzzMatchPath(f *testing.F) {
	f.Add("/größe/:id", "/gr%c3%b6%C3%9Fe/7", uint64(1))
	f.Add("/:tenant/socket", "/%61%2f%FF/s%6Fcket", uint64(2))
	f.Add("/a|b/*/x", "/a|b/%2e%2e/c/x", uint64(3))
	f.Add("/100%:n", "/100%2541", uint64(4))
	f.Add("*", "//%0a", uint64(5))
	f.Fuzz(func(t *testing.T, source, target string, seed uint64) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		p, err := CompilePath(source)
		if _, plain := Compile(source); (err == nil) != (plain == nil) {
			t.Fatalf("%q: %v as a path, else %v", source, err, plain)
		}
		if err != nil {
			return
		}
		path := RequestPath(u)
		if again := normalize(path); again != path {
			t.Fatalf("%q is %q, and then %q", target, path, again)
		}
		sent, _, _ := strings.Cut(target, "?")
		if strings.Count(path, "/") != strings.Count(sent, "/") {
			t.Errorf("%q is %q: another number of slashes", target, path)
		}
		if decoded, err := url.PathUnescape(path); err != nil || decoded != u.Path {
			t.Errorf("%q is %q, which stands for %q, %v; want %q", target, path, decoded, err, u.Path)
		}
		params, ok := p.Match(path)
		for _, param := range params {
			if param.Value == "" {
				t.Errorf("%q on %q: %s is empty", source, target, param.Name)
			}
		}
		other, err := url.ParseRequestURI(respell(path, seed))
		if err != nil {
			t.Fatal(err)
		}
		if again, okAgain := p.Match(RequestPath(other)); okAgain != ok || !reflect.DeepEqual(again, params) {
			t.Errorf("%q on %q: %q, %t; on %q: %q, %t", source, path, params, ok, other.EscapedPath(), again, okAgain)
		}

		// A character that must be encoded in a URL is equivalent to its encoding.
		encoded, err := CompilePath(respell(normalize(source), seed))
		if err != nil || strings.ContainsAny(source, special) {
			return // the encoding removed or added a meaning
		}
		if again, okAgain := encoded.Match(path); okAgain != ok || !reflect.DeepEqual(again, params) || !p.Equal(encoded) {
			t.Errorf("%q on %q: %q, %t; as %q: %q, %t", source, path, params, ok, encoded, again, okAgain)
		}
	})
}
