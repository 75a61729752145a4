package wire

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// The values of placeholders in the frames of these tests.
const (
	someUUID         = "0d3c7b1e-6f0e-4a43-9f9e-6d4d3b1f2a10"
	someUserID       = "cf2d5a3c-3f9e-4b0e-8a58-2f7f0f1f5b7a"
	someConnectionID = "kSx1Yk0mQ2eV7b3Jt9aZ5w"
)

// compareFrame compares a frame with one of testdata/vectors-client.json, whose
// strings of the form <...> are placeholders, and whose member _note is not
// part of it.
func compareFrame(t *testing.T, got []byte, want json.RawMessage) {
	t.Helper()
	frame := unmarshal[map[string]any](t, want)
	delete(frame, "_note")
	if err := compare("", unmarshal[any](t, got), frame); err != nil {
		t.Errorf("%v in %s; want %s", err, got, want)
	}
}

// compare compares values that are the result of json.Unmarshal.
func compare(path string, got, want any) error {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(object) != len(want) {
			return fmt.Errorf("%s: %d members wanted", path, len(want))
		}
		for name, value := range want {
			if _, ok := object[name]; !ok {
				return fmt.Errorf("%s.%s: missing", path, name)
			}
			if err := compare(path+"."+name, object[name], value); err != nil {
				return err
			}
		}
	case []any:
		array, ok := got.([]any)
		if !ok || len(array) != len(want) {
			return fmt.Errorf("%s: %d elements wanted", path, len(want))
		}
		for i := range want {
			if err := compare(fmt.Sprintf("%s[%d]", path, i), array[i], want[i]); err != nil {
				return err
			}
		}
	case string:
		return compareString(path, got, want)
	default:
		if got != want {
			return fmt.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	return nil
}

func compareString(path string, got any, want string) error {
	if want == "<remaining>" {
		if _, ok := got.(map[string]any); !ok {
			return fmt.Errorf("%s: %v is no presence", path, got)
		}
		return nil
	}
	s, ok := got.(string)
	switch {
	case !ok:
		return fmt.Errorf("%s: %v is no string", path, got)
	case strings.HasPrefix(want, "<uuid"):
		ok = uuidPattern.MatchString(s)
	case want == "<connection-id>":
		ok = s == someConnectionID
	case want == "<user-id>":
		ok = s == someUserID
	case want == "<any-string>", want == "<generic-or-public-error-message>", want == "<same>":
		ok = s != ""
	default:
		ok = s == want
	}
	if !ok {
		return fmt.Errorf("%s: %q, want %q", path, s, want)
	}
	return nil
}

func TestCompare(t *testing.T) {
	for _, tc := range []struct {
		got, want string
		equal     bool
	}{
		{`{"a":[1,"x"]}`, `{"a":[1,"x"]}`, true},
		{`{"a":"` + someUUID + `"}`, `{"a":"<uuid>"}`, true},
		{`{"a":"x"}`, `{"a":"<any-string>"}`, true},
		{`{"a":[{}]}`, `{"a":["<remaining>"]}`, true},
		{`{"a":1}`, `{"a":1,"_note":"x"}`, true},
		{`{"a":1,"b":2}`, `{"a":1}`, false},
		{`{"b":1}`, `{"a":1}`, false},
		{`{"a":1}`, `{"a":2}`, false},
		{`{"a":1}`, `{"a":"1"}`, false},
		{`{"a":[1]}`, `{"a":[1,2]}`, false},
		{`{"a":[1]}`, `{"a":[2]}`, false},
		{`{"a":{}}`, `{"a":[]}`, false},
		{`{"a":"x"}`, `{"a":"<uuid>"}`, false},
		{`{"a":"x"}`, `{"a":"<user-id>"}`, false},
		{`{"a":""}`, `{"a":"<any-string>"}`, false},
		{`{"a":1}`, `{"a":"<any-string>"}`, false},
		{`{"a":["x"]}`, `{"a":["<remaining>"]}`, false},
	} {
		want := unmarshal[map[string]any](t, []byte(tc.want))
		delete(want, "_note")
		if err := compare("", unmarshal[any](t, []byte(tc.got)), want); (err == nil) != tc.equal {
			t.Errorf("%s and %s: %v", tc.got, tc.want, err)
		}
	}
}
