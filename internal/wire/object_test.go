package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

type marshaler string

func (m marshaler) MarshalJSON() ([]byte, error) { return []byte(m), nil }

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

func TestCompactObject(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`{}`, `{}`},
		{"\t{ } ", `{}`},
		{` {"a":"b c"} `, `{"a":"b c"}`},
		{`{"a":"\\", "b" : "\\\" "}`, `{"a":"\\","b":"\\\" "}`},
		{`null`, ``},
		{`[]`, ``},
		{`{} {}`, ``},
	} {
		got, err := CompactObject([]byte(tc.in))
		if string(got) != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%q: %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}

func TestCompactObjectInPlace(t *testing.T) {
	raw := []byte(` {"a":1} rest`)
	got, err := CompactObject(raw[:len(raw)-len("rest")])
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
		if _, err := CompactObject(nested(n)); (err == nil) != ok || json.Valid(nested(n)) != ok {
			t.Errorf("depth %d: %v; encoding/json: %t", n, err, json.Valid(nested(n)))
		}
	}
}

// TestCharacters checks each byte in a string, as it is and behind a backslash.
func TestCharacters(t *testing.T) {
	for c := range 256 {
		for _, text := range []string{string([]byte{byte(c)}), string([]byte{'\\', byte(c)})} {
			raw := []byte(`{"a":"` + text + `"}`)
			_, err := CompactObject(raw)
			if want := json.Valid(raw) && c < 0x80; (err == nil) != want {
				t.Errorf("%q: %v", raw, err)
			}
		}
	}
}
