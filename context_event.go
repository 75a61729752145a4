package pond

import (
	"encoding/json"
	"net/url"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/wire"
)

// An EventContext carries one event that a member has sent to a channel.
type EventContext struct {
	stdContext
	member *member
	msg    *wire.Message
	params pattern.Params
}

// AfterFunc calls f in a goroutine of its own when the context is done, and returns a
// function that prevents it; see [context.AfterFunc], which uses it. With it,
// [context.WithTimeout] and the like start no goroutine.
func (c *EventContext) AfterFunc(f func()) (stop func() bool) { return c.member.conn.AfterFunc(f) }

// Channel returns the channel that the event was sent to.
func (c *EventContext) Channel() *Channel { return c.member.channel }

// User returns the sender.
func (c *EventContext) User() User { return c.member.user() }

// Event returns the name of the event as the client sent it, with its query.
func (c *EventContext) Event() string { return c.msg.Event }

// RequestID returns the client's name for this message. Replies and broadcasts
// carry it, by which clients tell answers (rule S-15).
func (c *EventContext) RequestID() string { return c.msg.RequestID }

// Param returns a parameter of the event's name, decoded, or else the parameter of
// the channel's name, or "" if neither pattern has one of that name.
func (c *EventContext) Param(name string) string { return c.member.channel.paramBehind(c.params, name) }

// Query returns the query parameters in the event's name.
func (c *EventContext) Query() url.Values {
	_, raw := pattern.SplitAddress(c.msg.Event)
	return query(raw)
}

// Payload returns the payload as a JSON object, undecoded. It must not be
// changed. Pass it to Broadcast or Reply as it is to send it on.
func (c *EventContext) Payload() json.RawMessage { return c.msg.Payload }

// Bind decodes the payload into v, a pointer. If it does not fit, return the error to
// tell the client so with [http.StatusBadRequest]. See [On] for typed handlers.
//
// Bind rejects a payload that readers could understand differently, so that a value
// that a handler has checked is the value that members see if it sends the payload
// on. These are rejected at every depth:
//
//   - An object with two members of the same name.
//   - A name that matches that of a field only if case is ignored, as encoding/json
//     does: {"TEXT":"hi"} for a field with the tag json:"text". Use the exact name.
//   - A string with a lone surrogate, such as "\ud83d", where v has a place for it.
//   - Two names of a map that become the same key, such as "7" and "07".
//
// A type with an UnmarshalJSON method of its own decides itself what it takes. In a
// [json.RawMessage] only duplicate names are rejected. Members of an object that v has
// no field for are ignored, but are still part of Payload.
func (c *EventContext) Bind(v any) error { return bind(c.msg.Payload, v) }

// Assign sets private state of the sender in this channel: handlers see it,
// clients never do. It returns [ErrNotMember] if the sender has left meanwhile.
func (c *EventContext) Assign(key string, value any) error {
	return c.member.assign(key, value)
}

// Get returns private state of the sender that was set with Assign, in this
// channel or for the connection, or nil.
func (c *EventContext) Get(key string) any { return c.User().Get(key) }

// Reply answers the sender, and only the sender. It may be called several times.
// It returns [ErrNotMember] if the sender has left meanwhile.
func (c *EventContext) Reply(event string, payload any) error {
	return c.member.reply(event, c.msg.RequestID, payload)
}

// Broadcast sends an event to all members, the sender included; see
// [Audience.Broadcast].
func (c *EventContext) Broadcast(event string, payload any) error {
	return c.member.channel.send(event, c.msg.RequestID, payload, allMembers)
}

// Others returns all members but the sender as an audience.
func (c *EventContext) Others() Audience {
	return c.member.others(&c.msg.RequestID)
}

// Track gives the sender a public state; see [Channel.Track].
func (c *EventContext) Track(presence any) error {
	return c.member.track(presence)
}

// Update replaces the sender's public state; see [Channel.Update].
func (c *EventContext) Update(presence any) error {
	return c.member.update(presence)
}

// Untrack takes the sender's public state away; see [Channel.Untrack].
func (c *EventContext) Untrack() error {
	return c.member.untrack()
}
