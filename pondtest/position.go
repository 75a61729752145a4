package pondtest

import (
	"encoding/json"
	"strconv"
)

// join contains the members of a request to join that are not part of the official
// protocol.
type join struct {
	Want []string `json:"want,omitempty"`
	From any      `json:"from,omitempty"`
}

// A JoinOption extends a request to join a channel.
type JoinOption func(*join)

// Want requests extensions, such as "recover".
func Want(extensions ...string) JoinOption {
	return func(j *join) { j.Want = append(j.Want, extensions...) }
}

// From asks for the messages after a position. userID is the ID that the client had
// there; it may be empty.
func From(p Position, userID string) JoinOption {
	from := map[string]any{"epoch": p.Epoch, "offset": p.Offset}
	if userID != "" {
		from["id"] = userID
	}
	return func(j *join) { j.From = from }
}

// Last asks for the last n messages.
func Last(n int) JoinOption {
	return func(j *join) { j.From = map[string]any{"last": n} }
}

// A Position is a position in the history of a channel.
type Position struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

// ID returns the position in the form of the id field of event streams.
func (p Position) ID() string { return p.Epoch + "." + strconv.FormatUint(p.Offset, 10) }

// Position returns the client's position in the history of a channel, according to the
// messages that the test received: the answer to the request to join, and later
// messages. It is the zero Position if it is unknown.
func (s *Session) Position(channel string) Position { return s.positions[channel] }

// note updates the client's position when the test receives m.
func (s *Session) note(m Message) {
	p := s.positions[m.Channel]
	switch {
	case m.Offset > 0:
		p.Offset = m.Offset
	case m.Event == "ACKNOWLEDGE":
		var ack struct{ Recover Position }
		if json.Unmarshal(m.Payload, &ack) != nil || ack.Recover.Epoch == "" {
			return
		}
		p = ack.Recover
	case m.Event == "RECOVERED", m.Event == "GAP", m.Event == "POSITION":
		if json.Unmarshal(m.Payload, &p) != nil {
			return
		}
	}
	if p.Epoch != "" {
		s.positions[m.Channel] = p
	}
}
