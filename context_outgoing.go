package pond

import (
	"encoding/json"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// An OutgoingContext carries one event that is about to be sent to one member.
type OutgoingContext struct {
	stdContext
	member  *member
	out     *outgoing
	payload []byte
	blocked bool
	changed bool
}

// outgoing contains the data of a frame for handlers for outgoing events.
type outgoing struct {
	handler *registered[*OutgoingContext]
	action  wire.Action
	event   string
	request string
	params  pattern.Params
	payload []byte
}

// Outgoing runs the handler for one recipient, on the goroutine that writes to it, and
// returns the frame that the recipient receives: the shared frame, another one, or nil
// for none. It does not return if the handler ends the goroutine.
func (m *member) Outgoing(f *transport.Frame) *transport.Frame {
	out := f.Meta.(*outgoing)
	ctx := &OutgoingContext{stdContext: m.conn, member: m, out: out, payload: out.payload}
	out.handler.call(ctx, func(failed *failure) {
		if failed != nil {
			m.conn.logFailure(failed, m.channel, out.event)
			ctx.blocked = true // a filter that fails must not let messages through
		}
	})
	epoch, offset := f.Position()
	if offset > 0 && m.recovers {
		if !ctx.blocked {
			m.blocked = 0
		} else if m.blocked++; m.blocked == maxHidden {
			m.blocked = 0
			return m.channel.positionNotice(Position{epoch, offset})
		}
	}
	switch {
	case ctx.blocked:
		return nil
	case ctx.changed:
		d := (&message{out.action, out.event, m.channel.name, out.request, ctx.payload}).encode(wire.OffsetSize)
		if offset > 0 {
			return d.number(epoch, offset)
		}
		return d.frame()
	default:
		return f
	}
}

// AfterFunc calls f in its own goroutine when the context is done, and returns a
// function that prevents the call; see [context.AfterFunc]. Because of this method,
// [context.WithTimeout] and similar functions start no goroutine.
func (c *OutgoingContext) AfterFunc(f func()) (stop func() bool) { return c.member.conn.AfterFunc(f) }

// Channel returns the channel that the event was sent in.
func (c *OutgoingContext) Channel() *Channel { return c.member.channel }

// User returns the recipient.
func (c *OutgoingContext) User() User { return c.member.user() }

// Action returns the action of the message: "BROADCAST", or "SYSTEM" for a reply.
func (c *OutgoingContext) Action() string { return string(c.out.action) }

// Event returns the name of the event.
func (c *OutgoingContext) Event() string { return c.out.event }

// Param returns a parameter of the event's name, decoded. If the event has none of that
// name, Param returns the parameter of the channel's name, or "".
func (c *OutgoingContext) Param(name string) string {
	return c.member.channel.paramBehind(c.out.params, name)
}

// Payload returns the encoded payload. All recipients share it, so it must not be
// modified: use Transform.
func (c *OutgoingContext) Payload() json.RawMessage { return c.payload }

// Bind decodes the payload into v, which must be a pointer. It returns an error if the
// payload does not fit or is ambiguous; see [EventContext.Bind]. If the handler returns
// the error, the recipient does not receive the event.
func (c *OutgoingContext) Bind(v any) error { return bind(c.payload, v) }

// Get returns a value that was set with Assign for the recipient, or nil.
func (c *OutgoingContext) Get(key string) any { return c.User().Get(key) }

// Transform replaces the payload for this recipient only, with a JSON object.
func (c *OutgoingContext) Transform(payload any) error {
	body, err := wire.Object(payload)
	if err != nil {
		return err
	}
	c.payload, c.changed = body, true
	return nil
}

// Block prevents the event from being sent to this recipient.
func (c *OutgoingContext) Block() { c.blocked = true }
