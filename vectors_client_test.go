package pond_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// checkMessage tells what is wrong with a message of ours. It is stricter than
// any client: one compact line (rule S-6), and nothing but the five members,
// because more of them could tell about others (rule S-9).
func checkMessage(message []byte) error {
	var compact bytes.Buffer
	if err := json.Compact(&compact, message); err != nil {
		return err
	}
	if !bytes.Equal(compact.Bytes(), message) || bytes.ContainsAny(message, "\r\n") {
		return errors.New("not one compact line")
	}
	d := json.NewDecoder(bytes.NewReader(message))
	d.UseNumber() // in JavaScript, no number is too large
	var frame map[string]any
	if err := d.Decode(&frame); err != nil {
		return err
	}
	if len(frame) != 5 {
		return fmt.Errorf("%d members", len(frame))
	}
	return acceptFrame(frame)
}

// acceptFrame checks what the official JavaScript client checks, and complains
// in its words.
func acceptFrame(frame map[string]any) error {
	for _, name := range []string{"event", "requestId", "channelName", "payload", "action"} {
		if _, ok := frame[name]; !ok {
			return fmt.Errorf("%s: Missing required field", name)
		}
	}
	for _, name := range []string{"event", "requestId", "channelName"} {
		if _, ok := frame[name].(string); !ok {
			return fmt.Errorf("%s: Expected string, got %s", name, typeOf(frame[name]))
		}
	}
	if frame["action"] == "PRESENCE" {
		return acceptPresence(frame)
	}
	if err := acceptRecord("payload", frame["payload"]); err != nil {
		return err
	}
	return acceptEnum("action", frame["action"], "BROADCAST", "CONNECT", "ERROR", "SYSTEM")
}

func acceptPresence(frame map[string]any) error {
	if err := acceptEnum("event", frame["event"], "JOIN", "LEAVE", "UPDATE"); err != nil {
		return err
	}
	if err := acceptRecord("payload", frame["payload"]); err != nil {
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
		return fmt.Errorf("payload.presence: Expected array, got %s", typeOf(payload["presence"]))
	}
	for i, item := range list {
		if err := acceptRecord(fmt.Sprintf("payload.presence[%d]", i), item); err != nil {
			return err
		}
	}
	return acceptRecord("payload.changed", payload["changed"])
}

func acceptRecord(path string, value any) error {
	if _, ok := value.(map[string]any); !ok {
		return fmt.Errorf("%s: Expected record with string keys, got %s", path, typeOf(value))
	}
	return nil
}

func acceptEnum(path string, value any, allowed ...string) error {
	if s, ok := value.(string); !ok || !slices.Contains(allowed, s) {
		return fmt.Errorf("%s: Expected one of [%s], got %q", path, strings.Join(allowed, ", "), value)
	}
	return nil
}

func typeOf(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case float64, json.Number:
		return "number"
	case bool:
		return "boolean"
	}
	return "object"
}

func runClientAccepts(t *testing.T, _ string, each eachVector) {
	each(func(v vector) {
		want := decode[struct {
			Accepted bool
			Error    string
		}](t, v.Expected)
		text := ""
		err := acceptFrame(decode[map[string]any](t, v.Input))
		if err != nil {
			text = err.Error()
		}
		if (err == nil) != want.Accepted || text != want.Error {
			t.Errorf("%s: %q, want %q", v.Name, text, want.Error)
		}
	})
}

// A streamEvent is what an EventSource dispatches.
type streamEvent struct{ name, data string }

// parseEventStream returns the events in a stream (HTML, section 9.2.6).
func parseEventStream(stream string) (events []streamEvent) {
	var e streamEvent
	var data []string
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(stream), "\n")
	for _, line := range lines[:len(lines)-1] { // the last one has no end
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if e.data = strings.Join(data, "\n"); data != nil {
				events = append(events, e)
			}
			e, data = streamEvent{}, nil
		case field == "event":
			e.name = value
		case field == "data":
			data = append(data, value)
		}
	}
	return events
}

// officialSSEClient returns the messages that the official client finds in a
// stream. It listens to events without a name, or with the name message, and
// parses each line of their data.
func officialSSEClient(stream string) (messages []string, err error) {
	for _, e := range parseEventStream(stream) {
		if e.name != "" && e.name != "message" {
			return messages, fmt.Errorf("nobody listens to %s", e.name)
		}
		for line := range strings.SplitSeq(e.data, "\n") {
			var frame map[string]any
			if err := json.Unmarshal([]byte(line), &frame); err != nil {
				return messages, err
			}
			if err := acceptFrame(frame); err != nil {
				return messages, err
			}
			messages = append(messages, line)
		}
	}
	return messages, nil
}
