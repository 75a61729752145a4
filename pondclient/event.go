package pondclient

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/pondsocket/pond"
)

// An Event is an event of a channel: a [*Message], [*Gap], [*Recovered], [*Presence] or
// [*Failure].
type Event interface{ isEvent() }

// A Message is a message from the server.
type Message struct {
	// Event is the name of the event, and Payload its payload: a JSON object from a Pond,
	// any JSON value from other servers.
	Event   string
	Payload json.RawMessage

	// RequestID is the ID of the message that the server answered or passed on.
	// Servers generate one for their own messages.
	RequestID string

	// Direct reports that the server sent the message to this client alone, such
	// as a reply, and not to the channel.
	Direct bool

	// Replayed reports that the message was sent earlier, and that this client missed it
	// or asked for it with [WithLast].
	Replayed bool

	// Position is the position of the message in the history of the channel. It is zero if
	// the channel has no history, and for messages that are not kept.
	Position pond.Position
}

// Bind decodes the payload into v, which is a pointer as for [json.Unmarshal].
func (m *Message) Bind(v any) error {
	if err := json.Unmarshal(m.Payload, v); err != nil {
		return fmt.Errorf("pondclient: payload of %q: %w", m.Event, err)
	}
	return nil
}

// Decode returns the payload of a message with a typed name, and whether m is
// such a message.
//
//	if said, ok, err := pondclient.Decode(m, chat.Said); ok { ... }
//
// The error is that of decoding.
func Decode[T any](m *Message, event pond.Event[T]) (payload T, ok bool, err error) {
	if m.Event != string(event) {
		return payload, false, nil
	}
	return payload, true, m.Bind(&payload)
}

// A GapReason is the reason why messages may be missing.
type GapReason string

// The reasons of gaps. The first four come from the server.
const (
	GapEpoch       GapReason = "epoch"       // the history started again
	GapExpired     GapReason = "expired"     // the history does not contain the messages any more
	GapLimit       GapReason = "limit"       // the server does not replay this many messages
	GapUnavailable GapReason = "unavailable" // the history cannot be read at present

	// GapFresh means that the client joined again after it lost its connection, and the
	// channel has no history.
	GapFresh GapReason = "fresh"

	// GapOverflow means that the program did not keep up with the events, and the buffer
	// of the channel was full: see [WithBuffer].
	GapOverflow GapReason = "overflow"

	// GapDisorder means that the server sent a message twice or out of order, or
	// positions that contradict each other. The client does not deliver this message.
	// It joins again and reports the result.
	GapDisorder GapReason = "disorder"

	// GapInvalid means that the server sent data that is not a message of the protocol,
	// such as invalid JSON.
	GapInvalid GapReason = "invalid"
)

// A Gap reports that messages may be missing between the events before it and
// those that follow. A program that derives state from messages should load the state
// again.
type Gap struct {
	Reason GapReason

	// Dropped is the number of events that were dropped because the buffer was
	// full. It is zero for other reasons.
	Dropped int

	// Position is the position after which messages follow, if the channel has a history.
	Position pond.Position
}

// Recovered reports that the client lost its connection, joined again, and delivered
// all messages that it missed. It also follows the messages that [WithLast] asked for.
type Recovered struct {
	// Position is the position after which new messages follow.
	Position pond.Position
}

// A Member is one entry in the presence of a channel.
type Member struct {
	// ID is the user ID. Without presence differences, it is the string "id" in
	// the presence, if there is one.
	ID string

	// User is the identity of the user, if the server publishes it: several members can
	// be one person. It requires presence differences.
	User string

	// Presence is the presence of the user, a JSON object.
	Presence json.RawMessage
}

// Bind decodes the presence into v, which is a pointer as for [json.Unmarshal].
func (m Member) Bind(v any) error {
	if err := json.Unmarshal(m.Presence, v); err != nil {
		return fmt.Errorf("pondclient: presence: %w", err)
	}
	return nil
}

func (m Member) equal(other Member) bool {
	return m.ID == other.ID && m.User == other.User && bytes.Equal(m.Presence, other.Presence)
}

// A Presence reports how the list of members changed since the previous Presence event
// of the same [Channel]. A program that starts with an empty list and applies all of
// these events has the list that [Channel.Members] returns. The events require
// [WithPresence].
type Presence struct {
	Joins   []Member
	Updates []Member // with the new values
	Leaves  []Member // with the last values

	// Total is the number of members after the change.
	Total int
}

// A Failure reports that a message that [Channel.Send] accepted was not handled.
type Failure struct {
	// Event and Payload are those of the message. Payload is nil if the server reported
	// the failure. Both may be empty if the failure occurred long after the call.
	Event   string
	Payload json.RawMessage

	// RequestID is the ID of the message.
	RequestID string

	// Err is a [*pond.Error] from the server, [ErrExpired], or
	// [ErrUnknownOutcome].
	Err error
}

func (*Message) isEvent()   {}
func (*Gap) isEvent()       {}
func (*Recovered) isEvent() {}
func (*Presence) isEvent()  {}
func (*Failure) isEvent()   {}

// overhead is the size of an event in a buffer, without its texts.
const overhead = 128

// size returns the size of an event, for the limit of the buffer.
func size(ev Event) int {
	switch ev := ev.(type) {
	case *Message:
		return overhead + len(ev.Event) + len(ev.Payload)
	case *Failure:
		return overhead + len(ev.Event) + len(ev.Payload)
	default:
		return overhead
	}
}
