package pond

import (
	"encoding/json"
	"net/url"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// An EventContext carries one event that a member sent to a channel.
type EventContext struct {
	stdContext
	member *member
	msg    *wire.Message
	params pattern.Params
}

// AfterFunc calls f in its own goroutine when the context is done, and returns a
// function that prevents the call; see [context.AfterFunc]. Because of this method,
// [context.WithTimeout] and similar functions start no goroutine.
func (c *EventContext) AfterFunc(f func()) (stop func() bool) { return c.member.conn.AfterFunc(f) }

// Channel returns the channel that the event was sent to.
func (c *EventContext) Channel() *Channel { return c.member.channel }

// User returns the sender.
func (c *EventContext) User() User { return c.member.user() }

// Event returns the name of the event as the client sent it, with its query.
func (c *EventContext) Event() string { return c.msg.Event }

// RequestID returns the ID that the client gave to this message. Replies and broadcasts
// of the handler carry it, so that the client recognizes the answer.
func (c *EventContext) RequestID() string { return c.msg.RequestID }

// Param returns a parameter of the event's name, decoded. If the event has none of that
// name, Param returns the parameter of the channel's name, or "".
func (c *EventContext) Param(name string) string { return c.member.channel.paramBehind(c.params, name) }

// Query returns the query parameters in the event's name.
func (c *EventContext) Query() url.Values {
	_, raw := pattern.SplitAddress(c.msg.Event)
	return query(raw)
}

// Payload returns the payload as an encoded JSON object, which must not be modified. To
// send the payload on, pass it to Broadcast or Reply unchanged.
func (c *EventContext) Payload() json.RawMessage { return c.msg.Payload }

// Bind decodes the payload into v, which must be a pointer. If the payload does not
// fit, Bind returns an error. If the handler returns this error, the client receives it
// with [http.StatusBadRequest]. See [On] for typed handlers.
//
// Bind rejects a payload that different readers could decode to different values. So if
// a handler checks a value and sends the payload on, members see the same value. These
// are rejected at every depth:
//
//   - An object with two members of the same name.
//   - A name that matches that of a field only if case is ignored, as encoding/json
//     does: {"TEXT":"hi"} for a field with the tag json:"text". Use the exact name.
//   - A string with a lone surrogate, such as "\ud83d", that is decoded into v.
//   - Two names of a map that become the same key, such as "7" and "07".
//
// A type with its own UnmarshalJSON method decides itself what it accepts. In a
// [json.RawMessage], only duplicate names are rejected. Members of an object without a
// field in v are ignored, but are still part of Payload.
func (c *EventContext) Bind(v any) error { return bind(c.msg.Payload, v) }

// Assign sets private state of the sender in this channel. Handlers can read it;
// clients never receive it. Assign returns [ErrNotMember] if the sender left in the
// meantime.
func (c *EventContext) Assign(key string, value any) error {
	return c.member.assign(key, value)
}

// Get returns a value that was set with Assign for the sender, in this channel or for
// the connection, or nil.
func (c *EventContext) Get(key string) any { return c.User().Get(key) }

// Reply answers the sender, and only the sender. It may be called several times. It
// returns [ErrNotMember] if the sender left in the meantime.
func (c *EventContext) Reply(event string, payload any) error {
	return c.member.reply(event, c.msg.RequestID, payload)
}

// Broadcast sends an event to all members, including the sender; see
// [Audience.Broadcast].
func (c *EventContext) Broadcast(event string, payload any) error {
	return c.member.channel.send(event, c.msg.RequestID, payload, c.member.all())
}

// Others returns all members except the sender as an audience.
func (c *EventContext) Others() Audience {
	return c.member.others(&c.msg.RequestID)
}

// Track gives the sender a presence; see [Channel.Track].
func (c *EventContext) Track(presence any) error {
	return c.member.track(presence)
}

// Update replaces the sender's presence; see [Channel.Update].
func (c *EventContext) Update(presence any) error {
	return c.member.update(presence)
}

// Untrack removes the sender's presence; see [Channel.Untrack].
func (c *EventContext) Untrack() error {
	return c.member.untrack()
}

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
// sets result to the frame that the recipient receives: the shared frame, another one, or
// nil for none. It does not return if the handler ends the goroutine.
func (m *member) Outgoing(f *transport.Frame, result **transport.Frame) {
	out := f.Meta.(*outgoing)
	ctx := &OutgoingContext{stdContext: m.conn, member: m, out: out, payload: out.payload}
	out.handler.call(ctx, func(failed *failure) {
		if failed != nil {
			m.conn.logFailure(failed, m.channel, out.event)
			ctx.blocked = true // a filter that fails must not let messages through
		}
		*result = m.outgoingFrame(f, ctx)
	})
}

// outgoingFrame returns the frame that the member receives after the handler.
func (m *member) outgoingFrame(f *transport.Frame, ctx *OutgoingContext) *transport.Frame {
	epoch, offset := f.Position()
	if offset > 0 && m.recovers {
		if !ctx.blocked {
			m.blocked = 0
		} else if m.blocked++; m.blocked == maxHidden {
			m.blocked = 0
			return m.channel.positionNotice(Position{epoch, offset})
		}
	}
	switch out := ctx.out; {
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

// A LeaveContext carries the end of one membership. It is not cancelled with the
// connection.
type LeaveContext struct {
	stdContext
	member *member
	reason LeaveReason
	detail string
}

// A LeaveReason is the reason why a membership ended.
type LeaveReason string

// The reasons.
const (
	LeaveRequested     LeaveReason = "explicit_leave"    // the client requested to leave
	LeaveDisconnected  LeaveReason = "connection_closed" // the connection ended
	LeaveEvicted       LeaveReason = "evicted"           // see [Channel.Evict]
	LeaveChannelClosed LeaveReason = "channel_closed"    // see [Channel.Close]
	LeaveShutdown      LeaveReason = "server_shutdown"   // see [Pond.Shutdown]
	LeaveSlow          LeaveReason = "slow_consumer"     // the client did not keep up
)

// Channel returns the channel that the member left.
func (c *LeaveContext) Channel() *Channel { return c.member.channel }

// Param returns a parameter of the channel's name; see [Channel.Param].
func (c *LeaveContext) Param(name string) string { return c.member.channel.Param(name) }

// User returns the member as it was when it left.
func (c *LeaveContext) User() User { return c.member.user() }

// Reason returns why the membership ended.
func (c *LeaveContext) Reason() LeaveReason { return c.reason }

// Detail returns the text that was passed to [Channel.Evict] or [Channel.Close]. It is
// empty for all other reasons.
func (c *LeaveContext) Detail() string { return c.detail }

// Get returns a value that was set with Assign for the member, or nil.
func (c *LeaveContext) Get(key string) any { return c.User().Get(key) }

// Broadcast sends an event to the members that remain; see [Audience.Broadcast].
func (c *LeaveContext) Broadcast(event string, payload any) error {
	return c.member.channel.Broadcast(event, payload)
}
