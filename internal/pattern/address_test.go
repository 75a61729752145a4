package pattern

import (
	"net/url"
	"reflect"
	"testing"
)

func TestSplitAddress(t *testing.T) {
	for _, tc := range []struct{ address, path, query string }{
		{"", "", ""},
		{"/a", "/a", ""},
		{"/a?", "/a", ""},
		{"/a?b?c", "/a", "b?c"},
		{"?b", "", "b"},
	} {
		if path, query := SplitAddress(tc.address); path != tc.path || query != tc.query {
			t.Errorf("SplitAddress(%q) = %q, %q", tc.address, path, query)
		}
	}
}

func TestParseQuery(t *testing.T) {
	for _, tc := range []struct {
		raw  string
		want url.Values
	}{
		{"", nil},
		{"&&", nil},
		{"x=1&y=2&x=3", url.Values{"x": {"1", "3"}, "y": {"2"}}},
		{"x&=v&=", url.Values{"x": {""}, "": {"v", ""}}},
		{"a=1;b=2", url.Values{"a": {"1;b=2"}}},
		{"a=b=c", url.Values{"a": {"b=c"}}},
		{"a+b=%20+%2B", url.Values{"a b": {"  +"}}},
		{"%C3%a9=%e2%82%AC", url.Values{"é": {"€"}}},
		{"a=%&b=%4&c=%4g&d=%%41", url.Values{"a": {"%"}, "b": {"%4"}, "c": {"%4g"}, "d": {"%A"}}},
		{"a=%FF\xfe.", url.Values{"a": {"\uFFFD."}}},
	} {
		if got := ParseQuery(tc.raw); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("ParseQuery(%q) = %q, want %q", tc.raw, got, tc.want)
		}
	}
}
