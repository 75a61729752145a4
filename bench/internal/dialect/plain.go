package dialect

import (
	"bytes"

	"github.com/pondsocket/pond/internal/load"
)

// Plain is the protocol of servers whose room is the path of the request, and whose
// messages have no envelope: the server broadcasts each message unchanged. The first
// message of a server means that the client is a member.
type Plain struct {
	Name string
	Echo bool // connect to the echo endpoint instead of a room
}

// Traits implements [load.Dialect].
func (p Plain) Traits() load.Traits {
	return load.Traits{Name: p.Name, Transports: []load.Transport{load.WebSocket}, Echo: p.Echo}
}

// Open implements [load.Dialect].
func (p Plain) Open(c *load.Client) load.Request {
	if p.Echo {
		return load.Request{Path: "/echo"}
	}
	return load.Request{Path: room(c)}
}

// Opened implements [load.Dialect].
func (Plain) Opened(*load.Client, *load.Outgoing) {}

// Receive implements [load.Dialect].
func (Plain) Receive(c *load.Client, message []byte, events []load.Event, _ *load.Outgoing) []load.Event {
	if c.Step == 0 && bytes.HasPrefix(message, []byte(`{"joined":true}`)) {
		c.Step = 1
		return append(events, load.Event{Kind: load.Joined})
	}
	return load.AppendDeliveries(events, message)
}

// AppendPublish implements [load.Dialect].
func (Plain) AppendPublish(dst []byte, _ *load.Client, body []byte) []byte {
	return appendPayload(dst, body)
}

// AppendEcho implements [load.Dialect].
func (Plain) AppendEcho(dst []byte, _ *load.Client, body []byte) []byte {
	return appendPayload(dst, body)
}

// Post implements [load.Dialect].
func (Plain) Post(*load.Client) load.Request { return load.Request{} }
