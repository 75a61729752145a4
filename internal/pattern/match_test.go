package pattern

import (
	"reflect"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, path string
		want          Params // nil if path does not match
	}{
		{"presence:update", "presence", nil},
		{"presence:update", "presence/x", nil},
		{"job:*", "job", nil},
		{"job:*", "job:a/b", nil},
		{"job:*", "job:%20//", nil},
		{"job:*", "job:%20", Params{{"*", ":%20"}}},
		{"/job:*/:id", "/jobs/7", Params{{"*", "s"}, {"id", "7"}}},
		{"/room-:id", "/room-a%2Fb", Params{{"id", "a/b"}}},
		{"/:id", "/%E2%82", Params{{"id", "%E2%82"}}},
		{"/:id", "/a%20%zz", Params{{"id", "a%20%zz"}}},
		{"*/:id", "9", nil},
		{"*/:id", "/9", Params{{"*", "/"}, {"id", "9"}}},
		{"/:a/*/:b/c", "/1/2/3/4/c", Params{{"a", "1"}, {"*", "/2/3"}, {"b", "4"}}},
		{"/:a/*/:b/c", "/1/2/c", nil},
		{"/a/*", "/a///b//c///", Params{{"*", "/b/c/"}}},
		{"/a/*", "/a/b\nc", nil},
		{"/a/*/:id", "/a/b/c\nd", Params{{"*", "/b"}, {"id", "c\nd"}}},
	} {
		params, ok := mustCompile(t, tc.pattern).Match(tc.path)
		if ok != (tc.want != nil) || !reflect.DeepEqual(params, tc.want) {
			t.Errorf("%q on %q: %q, %t; want %q", tc.pattern, tc.path, params, ok, tc.want)
		}
	}
}

func TestParams(t *testing.T) {
	params, _ := mustCompile(t, "/:a/*").Match("/1/2")
	if params.Get("a") != "1" || params.Get("*") != "/2" || params.Get("b") != "" {
		t.Errorf("params %q", params)
	}
	if _, ok := params.Lookup("b"); ok {
		t.Error("b is there")
	}
	if value, ok := params.Lookup("*"); !ok || value != "/2" {
		t.Errorf("wildcard %q, %t", value, ok)
	}
	if Params(nil).Get("a") != "" {
		t.Error("nil has values")
	}
}

func TestMatchAllocations(t *testing.T) {
	for _, tc := range []struct {
		pattern, path string
		want          float64
	}{
		{"message", "message", 0},
		{"/chat/lobby", "/chat/lobby", 0},
		{"/chat/:room", "/files/1", 0},
		{"/chat/:room/:id/x", "/chat/a%20b/2/y", 0},
		{"/chat/*/x", "/chat/a//b/y", 0},
		{"/chat/:room", "/chat/1", 1},
		{"/chat/:room/:id", "/chat/1/2", 1},
	} {
		p := mustCompile(t, tc.pattern)
		if got := testing.AllocsPerRun(100, func() { p.Match(tc.path) }); got != tc.want {
			t.Errorf("%q on %q: %v allocations, want %v", tc.pattern, tc.path, got, tc.want)
		}
	}
}

// TestMatchLinear would not end if Match used backtracking.
func TestMatchLinear(t *testing.T) {
	p := mustCompile(t, "/a/*"+strings.Repeat("/a", 1000)+"/b")
	if _, ok := p.Match("/a" + strings.Repeat("/a", 1<<20)); ok {
		t.Error("matches without the last segment")
	}
	if _, ok := p.Match("/a" + strings.Repeat("/a", 1<<20) + "/b"); !ok {
		t.Error("does not match")
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, bc := range []struct{ name, pattern, path string }{
		{"literal", "message", "message"},
		{"param", "/chat/:room", "/chat/42"},
		{"wildcard", "/files/:id/*", "/files/7/a/b/c"},
		{"mismatch", "/chat/:room/messages", "/chat/42/members"},
	} {
		b.Run(bc.name, func(b *testing.B) {
			p := mustCompile(b, bc.pattern)
			b.ReportAllocs()
			for b.Loop() {
				p.Match(bc.path)
			}
		})
	}
}
