package pattern

import (
	"encoding/json"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
)

// A vector is one entry of testdata/vectors-client.json.
type vector struct {
	Name     string
	Input    json.RawMessage
	Expected json.RawMessage
}

// runVectors runs test with each vector of a group, of which there must be want.
func runVectors(t *testing.T, group string, want int, test func(t *testing.T, v vector)) {
	t.Helper()
	data, err := os.ReadFile("../suite/vectors/testdata/vectors-client.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, v := range all {
		if name, ok := strings.CutPrefix(v.Name, group+"/"); ok {
			t.Run(name, func(t *testing.T) { test(t, v) })
			ran++
		}
	}
	if ran != want {
		t.Errorf("ran %d vectors of %s, want %d", ran, group, want)
	}
}

func decode[T any](t *testing.T, raw json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// mustCompile compiles a pattern that is part of a test.
func mustCompile(t testing.TB, source string) *Pattern {
	t.Helper()
	p, err := Compile(source)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// asMap returns params for comparison with a vector.
func asMap(params Params) map[string]string {
	m := make(map[string]string)
	for _, p := range params {
		m[p.Name] = p.Value
	}
	return m
}

// lastValues returns the value of each key that JavaScript would show.
func lastValues(query url.Values) map[string]string {
	last := make(map[string]string)
	for key, values := range query {
		last[key] = values[len(values)-1]
	}
	return last
}

func TestPathVectors(t *testing.T) {
	runVectors(t, "path", 120, func(t *testing.T, v vector) {
		in := decode[struct{ Pattern, Address string }](t, v.Input)
		want := decode[struct {
			Recommended struct {
				InvalidPattern bool
				Match          bool
				Params         map[string]string
				Query          map[string]string
				QueryAll       url.Values
			}
		}](t, v.Expected).Recommended

		p, err := Compile(in.Pattern)
		if want.InvalidPattern {
			if err == nil {
				t.Errorf("Compile(%q) succeeded", in.Pattern)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path, rawQuery := SplitAddress(in.Address)
		params, ok := p.Match(path)
		if ok != want.Match {
			t.Fatalf("%q matches %q: %t, want %t", in.Pattern, path, ok, want.Match)
		}
		if !ok {
			return
		}
		if got := asMap(params); !reflect.DeepEqual(got, want.Params) {
			t.Errorf("params %q, want %q", got, want.Params)
		}
		query := ParseQuery(rawQuery)
		if got := lastValues(query); !reflect.DeepEqual(got, want.Query) {
			t.Errorf("query %q, want %q", got, want.Query)
		}
		if want.QueryAll != nil && !reflect.DeepEqual(query, want.QueryAll) {
			t.Errorf("all of query %q, want %q", query, want.QueryAll)
		}
	})
}

func TestBuildVectors(t *testing.T) {
	runVectors(t, "build", 14, func(t *testing.T, v vector) {
		in := decode[struct {
			Pattern string
			Params  map[string]any
		}](t, v.Input)
		want := decode[struct {
			JS struct{ Result, Error string }
		}](t, v.Expected).JS

		// A value that is not a string is an error in JavaScript. It cannot be passed to
		// Build, so it counts as missing.
		params := make(map[string]string)
		for name, value := range in.Params {
			if s, ok := value.(string); ok {
				params[name] = s
			}
		}
		p, err := Compile(in.Pattern)
		var got string
		if err == nil {
			got, err = p.Build(params)
		}
		if got != want.Result || (err != nil) != (want.Error != "") {
			t.Errorf("built %q, %v; want %q, %q", got, err, want.Result, want.Error)
		}
		// JavaScript does not register presence:update at all. By rule S-1, it is a text and
		// a parameter, so the error is that update is missing.
		if in.Pattern == "presence:update" && (p == nil || !strings.Contains(err.Error(), `missing value of "update"`)) {
			t.Errorf("error %v, want a missing value", err)
		}
	})
}
