package pond

import (
	"encoding/json"
	"net/url"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/wire"
)

// A JoinContext carries one request to join a channel. See [ConnectionContext] for the
// properties of all contexts. This context and the later ones have no values, and are
// cancelled when the connection ends. If the client ended the connection, they are
// cancelled after the client's earlier messages are handled, at most 5 s later.
type JoinContext struct {
	stdContext
	conn    *conn
	channel *Channel
	msg     *wire.Message
	member  *member // nil until accepted
	staged  map[string]any
	replay  int // maximum number of messages to be sent again

	accepting bool // Accept runs the handler for first joins
}

// AfterFunc calls f in its own goroutine when the context is done, and returns a
// function that prevents the call; see [context.AfterFunc]. Because of this method,
// [context.WithTimeout] and similar functions start no goroutine.
func (c *JoinContext) AfterFunc(f func()) (stop func() bool) { return c.conn.AfterFunc(f) }

// Channel returns the channel that the client asks to join. It has no members
// yet if the client is the first.
func (c *JoinContext) Channel() *Channel { return c.channel }

// User returns the client.
func (c *JoinContext) User() User {
	if c.member != nil {
		return c.member.user()
	}
	return User{ID: c.conn.id, conn: c.conn}
}

// Param returns a parameter of the channel's name; see [Channel.Param].
func (c *JoinContext) Param(name string) string { return c.channel.Param(name) }

// Query returns the query parameters in the channel's name: a name may end with
// a query, which makes it another channel.
func (c *JoinContext) Query() url.Values {
	_, raw := pattern.SplitAddress(c.channel.name)
	return query(raw)
}

// Payload returns the payload of the request as an encoded JSON object, which must not
// be modified.
func (c *JoinContext) Payload() json.RawMessage { return c.msg.Payload }

// Bind decodes the payload into v, which must be a pointer. If the payload does not fit
// or is ambiguous, Bind returns an error. If the handler returns this error, the client
// receives it with [http.StatusBadRequest]. See [EventContext.Bind].
func (c *JoinContext) Bind(v any) error { return bind(c.msg.Payload, v) }

// Recovery returns the client's request for earlier messages, and whether there is one.
// In a lobby without [WithHistory], there is none.
func (c *JoinContext) Recovery() (Recovery, bool) {
	if c.channel.log == nil || c.msg.Join == nil || c.msg.Join.From == nil {
		return Recovery{}, false
	}
	from := c.msg.Join.From
	return Recovery{Position: Position{from.Epoch, from.Offset}, UserID: from.ID, Last: from.Last}, true
}

// LimitReplay limits the number of messages that are sent again to this client, in
// addition to the limits of [History]. A client that missed more is notified that it
// must load its state again; a client that asks for the last messages gets at most n.
// LimitReplay has no effect after Accept. A negative n means 0.
func (c *JoinContext) LimitReplay(n int) { c.replay = max(0, n) }

// Accept makes the client a member and acknowledges the join, before anything
// else of the channel reaches the client. If a handler returns without calling Accept,
// the client is declined. Accept returns [ErrDecided] if it was called before,
// [ErrClosed] if the connection or the channel ended, and the error of
// [Lobby.OnFirstJoin] if that handler fails.
func (c *JoinContext) Accept() error {
	if c.member != nil || c.accepting {
		return ErrDecided
	}
	if err := c.occupy(); err != nil {
		return err
	}
	m := &member{conn: c.conn, channel: c.channel, assigns: c.assigns()}
	m.seat.Conn, m.seat.Owner = c.conn.tr, m
	var recovery *Recovery
	if r, ok := c.Recovery(); ok {
		recovery = &r
	}
	asked := c.msg.Join != nil
	m.recovers = recovery != nil || asked && c.msg.Join.Recover
	m.diffs = asked && c.msg.Join.Diff && c.channel.lobby.cfg.diffs
	reason, err := m.join(c.msg.RequestID, recovery, c.replay)
	if err != nil {
		c.conn.vacate(departure{member: m, reason: c.conn.endReason()})
		return err
	}
	c.member = m
	if f := c.conn.endpoint.pond.cfg.observer.Joined; f != nil {
		c.conn.endpoint.pond.observe("Joined", func() { f(c.channel, m.user()) })
	}
	c.conn.recovered(m, recovery, reason)
	return nil
}

// occupy counts the client as a member. If it is the first one, occupy runs the handler
// for first joins. If this returns an error, the client must not become a member.
func (c *JoinContext) occupy() error {
	o := c.channel.occupancy
	h, err := o.enter(c.channel, c.conn)
	if h == nil || err != nil {
		return err
	}
	c.accepting = true
	entered := false
	defer func() { // even if the handler does not return
		c.accepting = false
		o.entered(c.channel, entered)
	}()
	if err := h.handler(c); !succeeded(err) {
		return err
	}
	entered = true
	return nil
}

// assigns returns the assigns that the membership starts with: those of the connection,
// of which it gets a copy, and those that the handler added.
func (c *JoinContext) assigns() map[string]any {
	assigns := User{conn: c.conn}.assigns()
	for key, value := range c.staged {
		assigns = assign(assigns, key, value)
	}
	return assigns
}

// Decline returns an error that rejects the join with an HTTP status and a message,
// which the client receives. If code is zero, the status is [http.StatusUnauthorized].
// Return the error.
func (c *JoinContext) Decline(code int, message string) error { return refuse(code, message) }

// Assign sets private state of the client in this channel. Handlers can read it;
// clients never receive it.
func (c *JoinContext) Assign(key string, value any) {
	if c.member != nil {
		_ = c.member.assign(key, value) // if the member left, no handler can read it
		return
	}
	if c.staged == nil {
		c.staged = map[string]any{}
	}
	c.staged[key] = value
}

// Get returns a value that was set with Assign for the client, in this channel or for
// the connection, or nil.
func (c *JoinContext) Get(key string) any {
	if value, ok := c.staged[key]; ok && c.member == nil {
		return value
	}
	return c.User().Get(key)
}

// Track gives the new member a presence, a JSON object, and notifies all tracked
// members, including this one. It returns [ErrNotAccepted] before Accept.
func (c *JoinContext) Track(presence any) error {
	if c.member == nil {
		return ErrNotAccepted
	}
	return c.member.track(presence)
}

// Reply sends an event to the new member alone. It returns [ErrNotAccepted]
// before Accept.
func (c *JoinContext) Reply(event string, payload any) error {
	if c.member == nil {
		return ErrNotAccepted
	}
	return c.member.reply(event, c.msg.RequestID, payload)
}

// Broadcast sends an event to all members, including the new one. It returns
// [ErrNotAccepted] before Accept.
func (c *JoinContext) Broadcast(event string, payload any) error {
	if c.member == nil {
		return ErrNotAccepted
	}
	return c.channel.send(event, c.msg.RequestID, payload, allMembers)
}

// Others returns all members except the client as an audience. If Others is called
// before Accept, sending to the audience returns [ErrNotAccepted].
func (c *JoinContext) Others() Audience {
	if c.member == nil {
		return Audience{err: ErrNotAccepted}
	}
	return c.member.others(&c.msg.RequestID)
}
