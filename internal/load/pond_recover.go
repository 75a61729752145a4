package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// from returns the member of a join that says where a client recovers from, or an empty
// string for a client that joins for the first time.
func from(c *Client) string {
	if !c.Recover || c.Epoch == "" {
		return ""
	}
	return fmt.Sprintf(`,"from":{"epoch":"%s","offset":%d}`, c.Epoch, c.Offset)
}

// offsetOf returns the offset of a numbered message, its last member.
func offsetOf(message []byte) (offset uint64, ok bool) {
	const key = `,"offset":`
	at := bytes.LastIndex(message, []byte(key))
	if at < 0 {
		return 0, false
	}
	digits, ok := bytes.CutSuffix(message[at+len(key):], []byte("}"))
	offset, err := strconv.ParseUint(string(digits), 10, 64)
	return offset, ok && err == nil
}

// recovery interprets the messages that have a position, and appends their events.
func recovery(c *Client, message []byte, events []Event) []Event {
	if !bytes.Contains(message, []byte(`"action":"SYSTEM"`)) {
		return events
	}
	type position struct {
		Epoch     string
		Offset    uint64
		Recovered *bool // nil for newcomers
		Reason    string
	}
	var m struct {
		Event   string
		Payload struct {
			position

			Recover *position
		}
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return events
	}
	at := m.Payload.position
	switch m.Event {
	case "ACKNOWLEDGE":
		if m.Payload.Recover == nil {
			return append(events, Event{Kind: Rejected, Text: []byte("the channel has no history to recover from")})
		}
		at = *m.Payload.Recover
		events = append(events, Event{Kind: Joined})
		if at.Recovered != nil && !*at.Recovered {
			events = append(events, Event{Kind: Unrecovered, Text: []byte(at.Reason)})
		}
	case "RECOVERED":
		events = append(events, Event{Kind: Recovered})
	case "GAP":
		events = append(events, Event{Kind: Unrecovered, Text: []byte("gap: " + at.Reason)})
	case "POSITION":
	default:
		return events
	}
	c.Epoch, c.Offset = at.Epoch, at.Offset
	return events
}
