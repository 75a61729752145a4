package dialect

import (
	"bytes"
	"strconv"

	"github.com/pondsocket/pond/internal/load"
)

// SocketIO is version 5 of the Socket.IO protocol over version 4 of the Engine.IO protocol.
// It uses the WebSocket transport from the start.
type SocketIO struct{}

// Traits implements [load.Dialect].
func (SocketIO) Traits() load.Traits {
	return load.Traits{Name: "socket.io", Transports: []load.Transport{load.WebSocket}, Echo: true}
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
	case bytes.HasPrefix(message, []byte(sioEvent)), bytes.HasPrefix(message, []byte(sioAck+echoAck)):
		return load.AppendDeliveries(events, message)
	case string(message) == sioPing:
		out.SendString("3")
	case bytes.HasPrefix(message, []byte(sioOpen)):
		out.SendString(sioConnect)
	case bytes.HasPrefix(message, []byte(sioConnect)):
		out.SendString(sioEvent + joinAck + `["join",` + strconv.Quote(room(c)) + `]`)
	case bytes.HasPrefix(message, []byte(sioAck+joinAck)):
		return append(events, load.Event{Kind: load.Joined})
	case bytes.HasPrefix(message, []byte(sioError)):
		return append(events, load.Event{Kind: load.Rejected, Text: message})
	}
	return events
}

// AppendPublish implements [load.Dialect].
func (SocketIO) AppendPublish(dst []byte, c *load.Client, body []byte) []byte {
	dst = append(dst, sioEvent+`["message","/chat/`...)
	dst = strconv.AppendInt(dst, int64(c.Room), 10)
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
