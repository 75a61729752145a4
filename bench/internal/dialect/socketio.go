package dialect

import (
	"bytes"
	"strconv"

	"github.com/pondsocket/pond/internal/load"
)

// SocketIO is version 5 of the Socket.IO protocol over version 4 of the Engine.IO protocol.
// It uses the WebSocket transport from the start. A client that recovers connects with the ID
// of its session, and with the offset of its last event, which is the last argument of each.
type SocketIO struct{}

// Traits implements [load.Dialect].
func (SocketIO) Traits() load.Traits {
	return load.Traits{Name: "socket.io", Transports: []load.Transport{load.WebSocket}, Echo: true, Recovery: true}
}

// Open implements [load.Dialect].
func (SocketIO) Open(*load.Client) load.Request {
	return load.Request{Path: "/socket.io/?EIO=4&transport=websocket"}
}

// Opened implements [load.Dialect]. The server sends the first message.
func (SocketIO) Opened(*load.Client, *load.Outgoing) {}

// The numbers at the start of messages are packet types: of Engine.IO and, after 4
// (message), of Socket.IO, followed by the number of an acknowledgement.
const (
	sioOpen    = "0"
	sioPing    = "2"
	sioConnect = "40"
	sioEvent   = "42"
	sioAck     = "43"
	sioError   = "44"

	joinAck = "0"
	echoAck = "1" // answers are identified by their payloads
)

// Receive implements [load.Dialect].
func (SocketIO) Receive(c *load.Client, message []byte, events []load.Event, out *load.Outgoing) []load.Event {
	switch {
	case bytes.HasPrefix(message, []byte(sioEvent)):
		if c.Recover {
			c.Last = lastString(message)
		}
		return load.AppendDeliveries(events, message)
	case bytes.HasPrefix(message, []byte(sioAck+echoAck)):
		return load.AppendDeliveries(events, message)
	case string(message) == sioPing:
		out.SendString("3")
	case bytes.HasPrefix(message, []byte(sioOpen)):
		if c.Recover && c.Epoch != "" {
			out.SendString(sioConnect + `{"pid":` + strconv.Quote(c.Epoch) + `,"offset":` + strconv.Quote(c.Last) + `}`)
		} else {
			out.SendString(sioConnect)
		}
	case bytes.HasPrefix(message, []byte(sioConnect)):
		if c.Recover {
			before := c.Epoch
			c.Epoch = textOf(message, `"pid":"`)
			switch {
			case c.Epoch == "":
				return append(events, load.Event{Kind: load.Rejected, Text: []byte("the server does not recover connections")})
			case before == c.Epoch: // as in Socket.IO's client; the events that it missed come before this message
				return append(events, load.Event{Kind: load.Joined}, load.Event{Kind: load.Recovered})
			case before != "":
				events = append(events, load.Event{Kind: load.Unrecovered, Text: []byte("a new session")})
			}
		}
		out.SendString(sioEvent + joinAck + `["join",` + strconv.Quote(room(c)) + `]`)
	case bytes.HasPrefix(message, []byte(sioAck+joinAck)):
		return append(events, load.Event{Kind: load.Joined})
	case bytes.HasPrefix(message, []byte(sioError)):
		return append(events, load.Event{Kind: load.Rejected, Text: message})
	}
	return events
}

// lastString returns the last element of an array, if it is a string.
func lastString(message []byte) string {
	rest, ok := bytes.CutSuffix(message, []byte(`"]`))
	if !ok {
		return ""
	}
	return string(rest[bytes.LastIndexByte(rest, '"')+1:])
}

// AppendPublish implements [load.Dialect].
func (SocketIO) AppendPublish(dst []byte, c *load.Client, body []byte) []byte {
	dst = append(dst, sioEvent+`["message","`...)
	dst = append(dst, room(c)...)
	dst = append(dst, `",`...)
	return append(appendPayload(dst, body), ']')
}

// AppendEcho implements [load.Dialect].
func (SocketIO) AppendEcho(dst []byte, _ *load.Client, body []byte) []byte {
	dst = append(dst, sioEvent+echoAck+`["echo",`...)
	return append(appendPayload(dst, body), ']')
}

// Post implements [load.Dialect].
func (SocketIO) Post(*load.Client) load.Request { return load.Request{} }
