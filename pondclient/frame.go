package pondclient

import (
	"encoding/json"

	"github.com/pondsocket/pond/internal/wire"
)

// Events that only other servers send, and events of the extensions.
const (
	notFound      = "NOT_FOUND"      // a join failed (Go, Python, Rust)
	internalError = "INTERNAL_ERROR" // a join or a message failed (Go, Rust)
	evicted       = "evicted"        // to the evicted user (Go)

	recoveredEvent = "RECOVERED"
	gapEvent       = "GAP"
	positionEvent  = "POSITION"
	reconnectEvent = "RECONNECT"
	stateEvent     = "PRESENCE_STATE"
	diffEvent      = "PRESENCE_DIFF"

	featureRecover = "recover"
	featureDiff    = "diff"
)

// A frame is one message of the server.
type frame struct {
	Action    wire.Action     `json:"action"`
	Event     string          `json:"event"`
	Channel   string          `json:"channelName"`
	RequestID string          `json:"requestId"`
	Payload   json.RawMessage `json:"payload"`
	Offset    *uint64         `json:"offset"`
}

// bind decodes the payload. Fields of other types stay empty.
func (f *frame) bind(v any) { _ = json.Unmarshal(f.Payload, v) }

// isError reports whether f reports an error, such as a rejected join, in the form of
// any known server.
func (f *frame) isError() bool {
	switch f.Action {
	case wire.ErrorAction:
		return true
	case wire.System:
		return f.Event == wire.Unauthorized || f.Event == notFound || f.Event == internalError
	default:
		return false
	}
}

// wireMessage returns an encoded message of a client.
func wireMessage(a wire.Action, event, channel, id string, payload []byte) []byte {
	size := 96 + len(event) + len(channel) + len(id) + len(payload)
	return wire.AppendMessage(make([]byte, 0, size), a, event, channel, id, payload)
}

// A joinRequest contains the members of a join for the extensions.
type joinRequest struct {
	Want []string `json:"want,omitempty"`
	From *from    `json:"from,omitempty"`
}

// from is the start of a replay: after a position, or with the last messages.
type from struct {
	Epoch  string  `json:"epoch,omitempty"`
	Offset *uint64 `json:"offset,omitempty"`
	ID     string  `json:"id,omitempty"`
	Last   *int    `json:"last,omitempty"`
}

// joinMessage returns a join.
func joinMessage(channel, id string, payload []byte, extra joinRequest) []byte {
	data := wireMessage(wire.JoinChannel, string(wire.JoinChannel), channel, id, payload)
	more, _ := json.Marshal(extra) // strings and numbers only
	if len(more) > len("{}") {
		data = append(append(data[:len(data)-1], ','), more[1:]...)
	}
	return data
}

// An ack contains the members of the payload of an ACKNOWLEDGE that belong to the
// extensions.
type ack struct {
	Recover *struct {
		Epoch     string `json:"epoch"`
		Offset    uint64 `json:"offset"`
		To        uint64 `json:"to"`
		Recovered *bool  `json:"recovered"`
		Reason    string `json:"reason"`
	} `json:"recover"`
	Diff json.RawMessage `json:"diff"`
}

// hasDiff reports whether the server sends presence as differences.
func (a *ack) hasDiff() bool {
	return len(a.Diff) > 0 && string(a.Diff) != "null" && string(a.Diff) != "false"
}
