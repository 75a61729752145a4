package pattern

import (
	"reflect"
	"testing"
)

func TestBuild(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		params  map[string]string
		want    string // empty for an error
	}{
		{"presence:update", map[string]string{"update": ":update"}, "presence%3Aupdate"},
		{"/room-:id", map[string]string{"id": "a/b?", "other": "x"}, "/room-a%2Fb%3F"},
		{"job:*", map[string]string{"*": ":4 2"}, "job:4 2"},
		{"job:*", map[string]string{"*": ""}, ""},
		{"job:*", map[string]string{"*": "a/b"}, ""},
		{"job:*", nil, ""},
		{"*", map[string]string{"*": "a"}, "/a"},
		{"/files/*", nil, ""},
		{"/files/*", map[string]string{"*": ""}, "/files/"},
		{"/files/*", map[string]string{"*": "a//b/"}, "/files/a/b/"},
		{"/files/*", map[string]string{"*": "a?limit=5"}, "/files/a?limit=5"},
		{"/files/*", map[string]string{"*": "a\nb"}, ""},
		{"/files/*/:id", map[string]string{"*": "a", "id": "7"}, "/files/a/7"},
		{"/files/*/:id", map[string]string{"*": "a"}, ""},
		{"/files/*/:id", map[string]string{"*": "a?b", "id": "7"}, ""},
		{`/a\:b`, nil, "/a:b"},
	} {
		got, err := mustCompile(t, tc.pattern).Build(tc.params)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%q with %q: %q, %v; want %q", tc.pattern, tc.params, got, err, tc.want)
		}
	}
}

func TestBuildIsMatched(t *testing.T) {
	params := map[string]string{"a": "\x00 %zz/é😀:+", "*": "/x/ %20 y", "b": "."}
	p := mustCompile(t, "/:a/*/b-:b/end")
	path, err := p.Build(params)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := p.Match(path)
	if !ok || !reflect.DeepEqual(asMap(got), params) {
		t.Errorf("%q: %q, %t; want %q", path, got, ok, params)
	}
}
