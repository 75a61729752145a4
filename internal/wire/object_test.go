package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
)

type marshaler string

func (m marshaler) MarshalJSON() ([]byte, error) { return []byte(m), nil }

// A panicker panics, or fails, when it is encoded.
type panicker struct{ value any }

func (p panicker) MarshalJSON() ([]byte, error) {
	if err, ok := p.value.(error); ok {
		return nil, err
	}
	panic(p.value)
}

// An indexerPanicker panics in the runtime.
type indexerPanicker []int

func (p indexerPanicker) MarshalJSON() ([]byte, error) { return []byte{byte(p[len(p)])}, nil }

// A textPanicker panics when it is encoded as text.
type textPanicker struct{}

func (textPanicker) MarshalText() ([]byte, error) { panic("text") }

// Methods of the application's values run guarded: a panic is an error.
func TestFault2_MarshalJSONThatPanics(t *testing.T) {
	failure := errors.New("failed")
	site := regexp.MustCompile(`^wire: encoding a value panicked: .* in .*anicker\.Marshal(JSON|Text) \(object_test\.go:[0-9]+\)$`)
	for name, v := range map[string]any{
		"value":         panicker{"oops"},
		"inside":        map[string]any{"a": []any{panicker{"oops"}}},
		"nil pointer":   (*panicker)(nil), // null: there is nothing to call
		"nil error":     panicker{nil},
		"text":          map[string]any{"a": textPanicker{}},
		"name":          map[textPanicker]int{{}: 1},
		"fails":         panicker{failure},
		"panics late":   []any{strings.Repeat("x", 1<<16), panicker{"oops"}},
		"long value":    panicker{strings.Repeat("x", 1<<20)},
		"runtime error": indexerPanicker{},
	} {
		for function, encode := range map[string]func(any) ([]byte, error){"Object": Object, "View": View, "Value": Value} {
			got, err := encode(v)
			panicked, _ := errors.AsType[*PanicError](err)
			switch {
			case name == "nil pointer":
				if err != nil {
					t.Errorf("%s: %s: %v", function, name, err)
				}
			case name == "fails":
				if !errors.Is(err, failure) || panicked != nil {
					t.Errorf("%s: %s: %v", function, name, err)
				}
			case panicked == nil || got != nil || !site.MatchString(err.Error()) || len(err.Error()) > 1400:
				t.Errorf("%s: %s: %q, %v; want a panic with its place", function, name, got, err)
			}
		}
	}
	// The encoder still works afterwards.
	if got, err := Object(map[string]int{"a": 1}); string(got) != `{"a":1}` || err != nil {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func TestObject(t *testing.T) {
	type text struct {
		Text string `json:"text"`
	}
	for _, tc := range []struct {
		name    string
		in      any
		want    string // empty for an error
		problem string
	}{
		{"nil", nil, `{}`, ""},
		{"nil map", map[string]any(nil), `{}`, ""},
		{"nil pointer", (*text)(nil), `{}`, ""},
		{"nil raw message", json.RawMessage(nil), `{}`, ""},
		{"raw null", json.RawMessage(` null`), `{}`, ""},
		{"struct", text{"<a & b>\u2028"}, `{"text":"<a & b>\u2028"}`, ""},
		{"invalid UTF-8 in a string", text{"a\xff"}, `{"text":"a\ufffd"}`, ""},
		{"map", map[string]int{"b": 1, "a": 2}, `{"a":2,"b":1}`, ""},
		{"compact raw message", json.RawMessage(`{"a":1e999}`), `{"a":1e999}`, ""},
		{"raw message", json.RawMessage(" {\n\"a b\" : [ 1, 2 ] }\n"), `{"a b":[1,2]}`, ""},
		{"raw message in a struct", map[string]any{"a": json.RawMessage(`[ 1 ]`)}, `{"a":[1]}`, ""},
		{"marshaler", marshaler("{ \"a\" :\n1 }"), `{"a":1}`, ""},
		{"empty raw message", json.RawMessage{}, "", "unexpected end"},
		{"broken raw message", json.RawMessage(`{"a":1}}`), "", "unexpected '}' in JSON at offset 7"},
		{"raw message with invalid UTF-8", json.RawMessage("{\"a\":\"\xff\"}"), "", "invalid UTF-8 at offset 6"},
		{"marshaler of invalid UTF-8", marshaler("{\"a\":\"\xff\"}"), "", "invalid UTF-8"},
		{"string", "x", "", "not string"},
		{"bytes", []byte(`{"a":1}`), "", "not string"},
		{"number", 1, "", "not number"},
		{"boolean", true, "", "not boolean"},
		{"array", []int{1}, "", "not array"},
		{"raw array", json.RawMessage(`[]`), "", "not array"},
		{"channel", make(chan int), "", "unsupported type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Object(tc.in)
			if view, _ := View(tc.in); !bytes.Equal(view, got) {
				t.Errorf("View returns %q, Object %q", view, got)
			}
			if string(got) != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
			if err != nil && !strings.Contains(err.Error(), tc.problem) {
				t.Errorf("error %v, want %q", err, tc.problem)
			}
		})
	}
}

func TestViewDoesNotCopy(t *testing.T) {
	raw := json.RawMessage(` {"a":1}`)
	got, err := View(raw)
	if err != nil || &got[0] != &raw[1] {
		t.Errorf("%q, %v; want a part of what was given", got, err)
	}
}

func TestObjectCopies(t *testing.T) {
	raw := json.RawMessage(`{"a":1}`)
	got, err := Object(raw)
	if err != nil {
		t.Fatal(err)
	}
	clear(raw)
	if string(got) != `{"a":1}` {
		t.Errorf("payload is %q after its source was changed", got)
	}
}

func TestValue(t *testing.T) {
	for _, tc := range []struct {
		in   any
		want string
	}{
		{nil, `null`},
		{"<é>", `"<é>"`},
		{[]string{"a"}, `["a"]`},
		{json.RawMessage(` [ "\" " ] `), `["\" "]`},
	} {
		got, err := Value(tc.in)
		if string(got) != tc.want || err != nil {
			t.Errorf("%v: %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestView(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`{}`, `{}`},
		{"\t{ } ", `{}`},
		{` {"a":"b c"} `, `{"a":"b c"}`},
		{`{"a":"\\", "b" : "\\\" "}`, `{"a":"\\","b":"\\\" "}`},
		{`null`, `{}`},
		{`[]`, ``},
		{`{} {}`, ``},
	} {
		got, err := View(json.RawMessage(tc.in))
		if string(got) != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%q: %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestViewInPlace(t *testing.T) {
	raw := []byte(` {"a":1} rest`)
	got, err := View(json.RawMessage(raw[:len(raw)-len("rest")]))
	if err != nil {
		t.Fatal(err)
	}
	if &got[0] != &raw[1] {
		t.Error("compact object was copied")
	}
	if _ = append(got, "xxxx"...); !bytes.HasSuffix(raw, []byte("rest")) {
		t.Errorf("appending to the result wrote behind it: %q", raw)
	}
}

func TestNestingLimit(t *testing.T) {
	nested := func(n int) []byte {
		return []byte(`{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`)
	}
	for n, ok := range map[int]bool{nestingLimit: true, nestingLimit + 1: false} {
		if _, err := View(json.RawMessage(nested(n))); (err == nil) != ok || json.Valid(nested(n)) != ok {
			t.Errorf("depth %d: %v; encoding/json: %t", n, err, json.Valid(nested(n)))
		}
	}
}

// TestCharacters checks each byte in a string, unchanged and after a backslash.
func TestCharacters(t *testing.T) {
	for c := range 256 {
		for _, text := range []string{string([]byte{byte(c)}), string([]byte{'\\', byte(c)})} {
			raw := []byte(`{"a":"` + text + `"}`)
			_, err := View(json.RawMessage(raw))
			if want := json.Valid(raw) && c < 0x80; (err == nil) != want {
				t.Errorf("%q: %v", raw, err)
			}
		}
	}
}
