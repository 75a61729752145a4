package pattern

import (
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// reference returns a pattern as a regular expression, which is how the rules
// are defined: the wildcard is the only expression that crosses a slash.
func reference(t *testing.T, source string) (re *regexp.Regexp, names []string) {
	t.Helper()
	var segments []string
	for part := range strings.SplitSeq(source, "/") {
		switch text, name, isParam := strings.Cut(part, ":"); {
		case part == "*":
			names = append(names, "*")
			segments = append(segments, "(.*)")
		case isParam:
			names = append(names, name)
			segments = append(segments, regexp.QuoteMeta(text)+"([^/]+)")
		default:
			segments = append(segments, regexp.QuoteMeta(part))
		}
	}
	re, err := regexp.Compile(`\A` + strings.Join(segments, "/") + `\z`)
	if err != nil {
		t.Skip() // too large
	}
	return re, names
}

func FuzzMatch(f *testing.F) {
	f.Add("/chat/:room", "/chat/a%20b")
	f.Add("/a/*/:id", "/a/x//y/9")
	f.Add("presence:update", "presence:update")
	f.Add("job:*", "job:42")
	f.Add("*", "a\nb")
	f.Add("/a//b", "/a//b")
	f.Fuzz(func(t *testing.T, source, path string) {
		p, err := Compile(source)
		if err != nil || strings.Contains(source, `\`) || !utf8.ValidString(source) {
			return
		}
		params, ok := p.Match(path)
		re, names := reference(t, source)
		groups := re.FindStringSubmatch(path)
		if ok != (groups != nil) {
			t.Fatalf("%q on %q: %t, want %t", source, path, ok, groups != nil)
		}
		if len(params) != max(len(groups)-1, 0) {
			t.Fatalf("%q on %q: %q, want %q", source, path, params, groups)
		}
		values := make(map[string]string)
		for i, param := range params {
			raw := groups[i+1]
			want := Decode(raw)
			if names[i] == "*" {
				want = raw
				if strings.Contains("/"+source+"/", "/*/") {
					want = "/" + regexp.MustCompile("/+").ReplaceAllString(strings.TrimLeft(raw, "/"), "/")
				}
			}
			if param.Name != names[i] || param.Value != want {
				t.Errorf("%q on %q: %q, want %q", source, path, param, want)
			}
			values[param.Name] = param.Value
		}
		if ok {
			checkBuild(t, p, values)
		}
	})
}

// checkBuild checks that the pattern matches the result of Build with the same values.
func checkBuild(t *testing.T, p *Pattern, values map[string]string) {
	t.Helper()
	for _, value := range values {
		if !utf8.ValidString(value) || strings.Contains(value, "?") {
			return
		}
	}
	built, err := p.Build(values)
	if err != nil {
		t.Fatalf("%q with %q: %v", p, values, err)
	}
	params, ok := p.Match(built)
	if got := asMap(params); !ok || !reflect.DeepEqual(got, values) {
		t.Errorf("%q built %q: %q, %t; want %q", p, built, got, ok, values)
	}
}

func FuzzCompile(f *testing.F) {
	for _, seed := range []string{"", "/:a/*", "a:*", "{x}", `\:\*\{\\`, "/a?b", "/:a/:a", "**", `\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		p, err := Compile(source)
		switch {
		case err != nil:
			if !strings.Contains(err.Error(), strconv.Quote(source)) {
				t.Errorf("Compile(%q) does not name the pattern: %v", source, err)
			}
		case p.String() != source:
			t.Errorf("String of %q: %q", source, p)
		}

		// Every string matches its own escaped form.
		p, err = Compile(Escape(source))
		if strings.Contains(source, "?") {
			if err == nil {
				t.Errorf("Compile(Escape(%q)) succeeded", source)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if params, ok := p.Match(source); !ok || params != nil {
			t.Errorf("Escape(%q): %q, %t", source, params, ok)
		}
		for _, other := range []string{source + "x", "x" + source, source + "/"} {
			if _, ok := p.Match(other); ok {
				t.Errorf("Escape(%q) matches %q", source, other)
			}
		}
		if built, err := p.Build(nil); built != source || err != nil {
			t.Errorf("Escape(%q) builds %q, %v", source, built, err)
		}
	})
}
