package pond

import (
	"strings"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A message is one message from the server to clients.
type message struct {
	action  wire.Action
	event   string
	channel string
	request string
	body    []byte // a JSON object; nil is the empty one
}

// A draft is an encoded message without a number. The number, if there is one, is
// given when the message is committed: it is the last member of the document, so
// that only a few bytes are written under the channel's lock.
type draft struct {
	event string
	buf   []byte    // Headroom, and the document behind it
	meta  *outgoing // nil unless a handler for outgoing events has to see it
}

// encode encodes the message with room for so many more bytes.
func (m *message) encode(spare int) draft {
	size := transport.Headroom + wire.HeadSize + len(m.action) + len(m.event) + len(m.channel) + len(m.request) + len(m.body) + spare
	buf := make([]byte, transport.Headroom, size)
	return draft{event: m.event, buf: wire.AppendMessage(buf, m.action, m.event, m.channel, m.request, m.body)}
}

// size returns what the message costs a history in bytes, without its number.
func (d *draft) size() int { return len(d.buf) - transport.Headroom + entryCost }

// payload returns the payload inside of the encoded message.
func (d *draft) payload(size int) []byte {
	end := len(d.buf) - 1
	return d.buf[end-size : end : end]
}

// number returns the frame of a message that gets a number.
func (d *draft) number(epoch string, offset uint64) *transport.Frame {
	d.buf = wire.AppendOffset(d.buf, offset)
	f := d.frame()
	f.Number(epoch, offset)
	return f
}

// frame returns the frame of a message without a number.
func (d *draft) frame() *transport.Frame {
	f := transport.NewFrame(d.event, d.buf)
	if d.meta != nil {
		f.Meta = d.meta
	}
	return f
}

// newFrame encodes a message without a number.
func newFrame(action wire.Action, event, channel, request string, body []byte) *transport.Frame {
	d := (&message{action, event, channel, request, body}).encode(0)
	return d.frame()
}

// draft encodes a message of the application in this channel. If the lobby has a
// handler for outgoing events of this name, the draft's frame passes through it.
func (ch *Channel) draft(action wire.Action, event, request string, body []byte) draft {
	spare := 0
	if ch.log != nil {
		spare = wire.OffsetSize
		event = strings.Clone(event) // the log keeps it longer than the message of the client that it is a part of
	}
	d := (&message{action, event, ch.name, request, body}).encode(spare)
	if h, params := ch.lobby.outgoing.match(event); h != nil {
		d.meta = &outgoing{
			handler: h, action: action, event: event, request: request, params: params,
			payload: d.payload(max(len(body), len(emptyObject))),
		}
	}
	return d
}

// handled reports whether a handler for outgoing events has to see the message.
func (d *draft) handled() bool { return d.meta != nil }

// notice encodes a message of the server itself about the channel.
func (ch *Channel) notice(action wire.Action, event string, body []byte) *transport.Frame {
	return newFrame(action, event, ch.name, newRequestID(), body)
}
