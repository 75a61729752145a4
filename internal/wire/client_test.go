package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// checkFrame returns the error with which the official JavaScript client would reject
// the frame (rules S-7, S-8 and S-10). Such a frame ends the client's connection, so
// servers must never send one.
func checkFrame(frame map[string]any) error {
	for _, name := range []string{"event", "requestId", "channelName", "payload", "action"} {
		if _, ok := frame[name]; !ok {
			return fmt.Errorf("%s: Missing required field", name)
		}
	}
	for _, name := range []string{"event", "requestId", "channelName"} {
		if _, ok := frame[name].(string); !ok {
			return fmt.Errorf("%s: Expected string, got %s", name, jsType(frame[name]))
		}
	}
	if frame["action"] == "PRESENCE" {
		return checkPresence(frame)
	}
	if err := checkRecord("payload", frame["payload"]); err != nil {
		return err
	}
	return checkEnum("action", frame["action"], "BROADCAST", "CONNECT", "ERROR", "SYSTEM")
}

func checkPresence(frame map[string]any) error {
	if err := checkEnum("event", frame["event"], "JOIN", "LEAVE", "UPDATE"); err != nil {
		return err
	}
	if err := checkRecord("payload", frame["payload"]); err != nil {
		return err
	}
	payload := frame["payload"].(map[string]any)
	for _, name := range []string{"presence", "changed"} {
		if _, ok := payload[name]; !ok {
			return fmt.Errorf("payload.%s: Missing required field", name)
		}
	}
	list, ok := payload["presence"].([]any)
	if !ok {
		return fmt.Errorf("payload.presence: Expected array, got %s", jsType(payload["presence"]))
	}
	for i, item := range list {
		if err := checkRecord(fmt.Sprintf("payload.presence[%d]", i), item); err != nil {
			return err
		}
	}
	return checkRecord("payload.changed", payload["changed"])
}

func checkRecord(path string, value any) error {
	if _, ok := value.(map[string]any); !ok {
		return fmt.Errorf("%s: Expected record with string keys, got %s", path, jsType(value))
	}
	return nil
}

func checkEnum(path string, value any, allowed ...string) error {
	if s, ok := value.(string); !ok || !slices.Contains(allowed, s) {
		return fmt.Errorf("%s: Expected one of [%s], got %q", path, strings.Join(allowed, ", "), value)
	}
	return nil
}

func jsType(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return "object"
}

func TestClientAcceptsVectors(t *testing.T) {
	runVectors(t, "client-accepts", 30, func(t *testing.T, _ string, v vector) {
		want := unmarshal[struct {
			Accepted bool
			Error    string
		}](t, v.Expected)
		got := ""
		err := checkFrame(unmarshal[map[string]any](t, v.Input))
		if err != nil {
			got = err.Error()
		}
		if want.Accepted != (err == nil) || want.Error != got {
			t.Errorf("accepted %t, %q; want %t, %q", err == nil, got, want.Accepted, want.Error)
		}
	})
}

// clientAccepts checks that a frame is one compact line of valid JSON, and makes the
// checks of the official client. It returns the frame as the client decodes it.
func clientAccepts(t *testing.T, frame []byte) map[string]any {
	t.Helper()
	var compacted bytes.Buffer
	if err := json.Compact(&compacted, frame); err != nil {
		t.Fatalf("%v in %q", err, frame)
	}
	if !bytes.Equal(compacted.Bytes(), frame) {
		t.Errorf("%q is not compact", frame)
	}
	if !utf8.Valid(frame) {
		t.Errorf("%q is not UTF-8", frame)
	}
	if bytes.ContainsAny(frame, "\r\n") {
		t.Errorf("%q is not one line", frame)
	}
	read := unmarshal[map[string]any](t, frame)
	if err := checkFrame(read); err != nil {
		t.Errorf("%q: %v", frame, err)
	}
	return read
}
