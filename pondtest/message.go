package pondtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
)

const actionConnect = "CONNECT"

const actionPresence = "PRESENCE"

// maxOffset is the largest integer of JavaScript.
const maxOffset = 1<<53 - 1

// serverActions are the actions of all messages from a server. Official clients
// reject any other.
var serverActions = []string{actionConnect, "SYSTEM", "BROADCAST", actionPresence, "ERROR"}

// A Message is one message from the server.
type Message struct {
	Action    string          `json:"action"`
	Event     string          `json:"event"`
	Channel   string          `json:"channelName"`
	RequestID string          `json:"requestId"`
	Payload   json.RawMessage `json:"payload"` // an object

	// Offset is the message's offset in the history of its channel, or 0 if it has none.
	Offset uint64 `json:"offset"`

	// Raw is the whole message as received.
	Raw json.RawMessage `json:"-"`
}

// Bind decodes the payload into v, and fails the test if it cannot.
func (m Message) Bind(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(m.Payload, v); err != nil {
		t.Fatalf("pondtest: payload of %v: %v", m, err)
	}
}

func (m Message) String() string {
	return fmt.Sprintf("%s %s on %s, request %q: %.200s", m.Action, m.Event, m.Channel, m.RequestID, m.Payload)
}

// parseMessage decodes one message as strictly as the strictest official client.
func parseMessage(data []byte) (Message, error) {
	m := Message{Raw: bytes.Clone(data)}
	if bytes.ContainsAny(data, "\r\n") {
		return m, errors.New("it has more than one line")
	}
	// Unlike a struct, a map does not ignore the case of the names.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return m, err
	}
	for _, member := range []struct {
		name string
		text *string
	}{
		{"action", &m.Action},
		{"event", &m.Event},
		{"channelName", &m.Channel},
		{"requestId", &m.RequestID},
	} {
		value := members[member.name]
		if !bytes.HasPrefix(value, []byte{'"'}) {
			return m, fmt.Errorf("%s is not a string", member.name)
		}
		if err := json.Unmarshal(value, member.text); err != nil {
			return m, err
		}
	}
	if offset, ok := members["offset"]; ok {
		if err := json.Unmarshal(offset, &m.Offset); err != nil || m.Offset == 0 || m.Offset > maxOffset {
			return m, fmt.Errorf("offset is %s", offset)
		}
	}
	m.Payload = members["payload"]
	if !bytes.HasPrefix(m.Payload, []byte{'{'}) {
		return m, errors.New("payload is not an object")
	}
	if !slices.Contains(serverActions, m.Action) {
		return m, fmt.Errorf("unknown action %q", m.Action)
	}
	if m.Action == actionPresence {
		return m, checkPresence(m)
	}
	return m, nil
}

// checkPresence checks the event and the payload of a presence message.
func checkPresence(m Message) error {
	var payload struct {
		Changed  map[string]json.RawMessage   `json:"changed"`
		Presence []map[string]json.RawMessage `json:"presence"`
	}
	if !slices.Contains([]string{"JOIN", "UPDATE", "LEAVE"}, m.Event) {
		return fmt.Errorf("unknown presence event %q", m.Event)
	}
	if err := json.Unmarshal(m.Payload, &payload); err != nil {
		return err
	}
	if payload.Changed == nil || payload.Presence == nil || slices.ContainsFunc(payload.Presence, isNil) {
		return errors.New("changed and the elements of presence must be objects")
	}
	return nil
}

func isNil(m map[string]json.RawMessage) bool { return m == nil }
