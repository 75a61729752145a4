package kit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CheckMessage checks a message of the server. It is stricter than every client: a
// message is one compact line, and it has only the five members, because others could
// leak the data of other users.
func CheckMessage(message []byte) error {
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
	return AcceptFrame(frame)
}

// AcceptFrame makes the checks of the official JavaScript client and returns the
// client's error messages.
func AcceptFrame(frame map[string]any) error {
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
	if err := AcceptRecord("payload", frame["payload"]); err != nil {
		return err
	}
	return acceptEnum("action", frame["action"], "BROADCAST", "CONNECT", "ERROR", "SYSTEM")
}

func acceptPresence(frame map[string]any) error {
	if err := acceptEnum("event", frame["event"], "JOIN", "LEAVE", "UPDATE"); err != nil {
		return err
	}
	if err := AcceptRecord("payload", frame["payload"]); err != nil {
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
		if err := AcceptRecord(fmt.Sprintf("payload.presence[%d]", i), item); err != nil {
			return err
		}
	}
	return AcceptRecord("payload.changed", payload["changed"])
}

// AcceptRecord returns an error unless value is a JSON object.
func AcceptRecord(path string, value any) error {
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

// A StreamEvent is an event that an EventSource dispatches.
type StreamEvent struct{ Name, Data string }

// ParseEventStream returns the events in a stream (HTML, section 9.2.6).
func ParseEventStream(stream string) (events []StreamEvent) {
	var e StreamEvent
	var data []string
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(stream), "\n")
	for _, line := range lines[:len(lines)-1] { // the last one has no end
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if e.Data = strings.Join(data, "\n"); data != nil {
				events = append(events, e)
			}
			e, data = StreamEvent{}, nil
		case field == "event":
			e.Name = value
		case field == "data":
			data = append(data, value)
		}
	}
	return events
}
