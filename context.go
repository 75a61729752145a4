package pond

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/wire"
)

// stdContext is embedded with an unexported name, so that other packages cannot replace
// the context inside.
type stdContext = context.Context

// A ConnectionContext carries one request to connect. Like the other four contexts, it
// is a [context.Context] and belongs to its handler: do not use it after the handler
// returns, or from two goroutines at a time.
//
// It has the values of the request's context. The later contexts of the client do not:
// store values for later handlers with Assign.
type ConnectionContext struct {
	stdContext
	request   *http.Request
	conn      *conn
	params    pattern.Params
	transport Transport
	accepted  bool
	refusal   error // by Identify; the client is rejected even if the handler ignores it
	replies   []reply
}

type reply struct {
	event string
	body  []byte
}

// Request returns the client's HTTP request, with its headers, cookies and address. To
// set headers of the response, use a net/http middleware around the endpoint.
func (c *ConnectionContext) Request() *http.Request { return c.request }

// UserID returns the ID that the client will have.
func (c *ConnectionContext) UserID() string { return c.conn.id }

// Param returns a parameter of the endpoint's path, decoded, or "" if the path has
// none of that name. A parameter of the path is never empty. The value of the wildcard
// "*" is not decoded, but it is the same for equivalent paths: its percent sequences
// have upper-case digits, and unreserved characters are not encoded.
func (c *ConnectionContext) Param(name string) string { return c.params.Get(name) }

// Query returns the query parameters of the request. Unlike [url.URL.Query], it keeps
// malformed parts unchanged.
func (c *ConnectionContext) Query() url.Values { return query(c.request.URL.RawQuery) }

// query parses a query. The result is never nil.
func query(raw string) url.Values {
	if raw == "" {
		return url.Values{}
	}
	return pattern.ParseQuery(raw)
}

// Cookies returns the request's cookies by name. Values are percent-decoded if they are
// valid. If several cookies have the same name, the last one counts. To get a cookie
// unchanged, use [http.Request.Cookie].
func (c *ConnectionContext) Cookies() map[string]string {
	return parseCookies(c.request.Header.Values("Cookie"))
}

// Transport returns the transport that the client requested.
func (c *ConnectionContext) Transport() Transport { return c.transport }

// Assign sets private state of the client. Handlers can read it with Get; clients never
// receive it. Each membership of the client starts with a copy.
func (c *ConnectionContext) Assign(key string, value any) {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.assigns = assign(c.conn.assigns, key, value)
}

// Get returns private state that was set with Assign, or nil.
func (c *ConnectionContext) Get(key string) any { return User{conn: c.conn}.Get(key) }

// Accept accepts the client when the handler returns, unless it returns an error.
// If a handler returns without calling Accept, the client is declined with
// [http.StatusUnauthorized]. A second call returns [ErrDecided].
func (c *ConnectionContext) Accept() error {
	if c.accepted {
		return ErrDecided
	}
	c.accepted = true
	return nil
}

// Decline returns an error that rejects the client with an HTTP status and a message as
// the body. If code is zero, the status is [http.StatusUnauthorized]. Return the error:
//
//	return ctx.Decline(http.StatusForbidden, "not on the list")
func (c *ConnectionContext) Decline(code int, message string) error { return refuse(code, message) }

// Reply sends an event to the client as soon as it is connected. It returns
// [ErrNotAccepted] before Accept. Official clients do not show such events to their
// users.
func (c *ConnectionContext) Reply(event string, payload any) error {
	if !c.accepted {
		return ErrNotAccepted
	}
	body, err := wire.Object(payload)
	if err != nil {
		return err
	}
	c.replies = append(c.replies, reply{event, body})
	return nil
}

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

	accepting bool // Accept runs a handler
	stale     bool // the node cannot read the history that the client asks for
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
// [Lobby.OnFirstJoin] or [Lobby.OnIdentityJoin] if that handler fails. In a cluster, it
// returns an error with [http.StatusServiceUnavailable] if the broker must create the
// history of the channel, and does not within five seconds.
func (c *JoinContext) Accept() error {
	if c.member != nil || c.accepting {
		return ErrDecided
	}
	if l := c.channel.link; l != nil {
		if err := l.log.open(c.conn.standard()); err != nil {
			return err
		}
	}
	if err := c.occupy(); err != nil {
		return err
	}
	m := &member{conn: c.conn, channel: c.channel}
	defer func() { // even if a handler does not return
		if c.member == nil {
			c.conn.finish(departure{member: m, reason: c.conn.endReason()})
		}
	}()
	if err := c.arrive(m); err != nil {
		return err
	}
	m.assigns = c.assigns()
	m.seat.Conn, m.seat.Owner = c.conn.tr, m
	m.stale = c.stale
	if c.channel.link != nil {
		m.shared = sharedAssigns(m.assigns)
	}
	var recovery *Recovery
	if r, ok := c.Recovery(); ok {
		recovery = &r
	}
	asked := c.msg.Join != nil
	m.recovers = recovery != nil || asked && c.msg.Join.Recover
	m.diffs = asked && c.msg.Join.Diff && c.channel.lobby.cfg.diffs
	reason, err := m.join(c.msg.RequestID, recovery, c.replay)
	if err != nil {
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
	return c.channel.send(event, c.msg.RequestID, payload, c.member.all())
}

// Others returns all members except the client as an audience. If Others is called
// before Accept, sending to the audience returns [ErrNotAccepted].
func (c *JoinContext) Others() Audience {
	if c.member == nil {
		return Audience{err: ErrNotAccepted}
	}
	return c.member.others(&c.msg.RequestID)
}
