package vectors_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/suite/kit"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// matchFrame returns the difference between a message and a frame of the vectors.
// Strings of the form <...> in the frame are placeholders, and known has the values
// of some of them. The member _note of the frame is a comment.
func matchFrame(message []byte, frame map[string]any, known map[string]string) error {
	want := maps.Clone(frame)
	delete(want, "_note")
	var got any
	if err := json.Unmarshal(message, &got); err != nil {
		return err
	}
	if err := match("", got, want, known); err != nil {
		return fmt.Errorf("%w, in %s; want %v", err, message, want)
	}
	return nil
}

func match(path string, got, want any, known map[string]string) error {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(object) != len(want) {
			return fmt.Errorf("%s: %d members wanted", path, len(want))
		}
		for name, value := range want {
			if err := match(path+"."+name, object[name], value, known); err != nil {
				return err
			}
		}
	case []any:
		array, ok := got.([]any)
		if !ok || len(array) != len(want) {
			return fmt.Errorf("%s: %d elements wanted", path, len(want))
		}
		for i := range want {
			if err := match(fmt.Sprintf("%s[%d]", path, i), array[i], want[i], known); err != nil {
				return err
			}
		}
	case string:
		return matchString(path, got, want, known)
	default:
		if got != want {
			return fmt.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	return nil
}

func matchString(path string, got any, want string, known map[string]string) error {
	if want == "<remaining>" {
		return kit.AcceptRecord(path, got)
	}
	s, ok := got.(string)
	value, isKnown := known[want]
	switch {
	case !ok:
	case isKnown:
		ok = s == value
	case strings.HasPrefix(want, "<uuid"):
		ok = uuid.MatchString(s)
	case strings.HasPrefix(want, "<"):
		ok = s != ""
	default:
		ok = s == want
	}
	if !ok {
		return fmt.Errorf("%s: %v, want %q", path, got, want)
	}
	return nil
}

func TestMatchFrame(t *testing.T) {
	known := map[string]string{"<user-id>": "u"}
	for _, tc := range []struct {
		got, want string
		equal     bool
	}{
		{`{"a":[1,"x"]}`, `{"a":[1,"x"]}`, true},
		{`{"a":"0d3c7b1e-6f0e-4a43-9f9e-6d4d3b1f2a10"}`, `{"a":"<uuid>"}`, true},
		{`{"a":"u"}`, `{"a":"<user-id>"}`, true},
		{`{"a":"x"}`, `{"a":"<any-string>"}`, true},
		{`{"a":[{}]}`, `{"a":["<remaining>"]}`, true},
		{`{"a":1}`, `{"a":1,"_note":"x"}`, true},
		{`{"a":1,"b":2}`, `{"a":1}`, false},
		{`{"b":1}`, `{"a":1}`, false},
		{`{"a":1}`, `{"a":2}`, false},
		{`{"a":1}`, `{"a":"1"}`, false},
		{`{"a":[1]}`, `{"a":[1,2]}`, false},
		{`{"a":{}}`, `{"a":[]}`, false},
		{`{"a":"x"}`, `{"a":"<uuid>"}`, false},
		{`{"a":"x"}`, `{"a":"<user-id>"}`, false},
		{`{"a":""}`, `{"a":"<any-string>"}`, false},
		{`{"a":1}`, `{"a":"<any-string>"}`, false},
		{`{"a":["x"]}`, `{"a":["<remaining>"]}`, false},
	} {
		err := matchFrame([]byte(tc.got), kit.Decode[map[string]any](t, []byte(tc.want)), known)
		if (err == nil) != tc.equal {
			t.Errorf("%s and %s: %v", tc.got, tc.want, err)
		}
	}
}
