package pond

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
	"github.com/pondsocket/pond/internal/ws"
)

// A conn is one client, with its memberships. It is also the context of its handlers.
type conn struct {
	// Static after construction.
	endpoint *Endpoint
	tr       *transport.Conn
	id       string     // the user ID, which is public
	secret   string     // the connection ID of an event stream
	url      string     // the channel of an event stream that has only one, or ""
	addr     netip.Addr // the address that its slot is counted for
	bucket   *bucket
	identity string        // set by the connection handler
	began    time.Duration // on the clock of the node; zero without a broker
	inbox    inbox
	posts    postQueue

	// Guarded by endpoint.mu.
	place    int          // in endpoint.people
	decided  bool         // the connection handler returned
	unwanted *closeReason // the client is disconnected as soon as it is accepted

	// Owned by the goroutine that runs the inbox.
	over     bool // the client left all channels and can join no more
	extended bool // the client requested an extension of the protocol

	departing atomic.Int32 // the length of departed

	slotUsers atomic.Int32 // see releaseSlot

	mu          sync.Mutex         // guards the following fields
	assigns     map[string]any     // replaced, never changed
	members     map[string]*member // by channel name
	departed    []departure        // ended memberships whose leave handlers did not run yet, in order
	departure   chan struct{}      // closed when departed gets another one; nil while no goroutine waits
	ended       bool               // the context of handlers is cancelled
	deleted     bool               // the client ended its event stream with DELETE
	cause       error              // why the connection ended
	expelled    bool               // the application disconnected the client, maybe after the connection ended
	std         context.Context    // cancelled when ended is set; nil until it is needed
	stop        context.CancelFunc // cancels std
	cancelTimer *time.Timer        // runs cancel
}

// Message receives one message of the client.
func (c *conn) Message(_ *transport.Conn, data []byte) {
	if t := c.decode(data); t != nil {
		c.inbox.wait(t, nil)
	}
}

// Process handles the messages that Message received.
func (c *conn) Process(*transport.Conn) { c.inbox.runInline() }

// decode returns the task for a message. It answers messages without a handler
// immediately.
func (c *conn) decode(data []byte) *task {
	msg, err := wire.Decode(data, c.endpoint.cfg.messageLimits())
	if err == nil {
		return c.taskFor(&msg)
	}
	if allowed := c.bucket.take(); allowed != rateOK {
		c.refuseRate(&msg, allowed)
		return nil
	}
	invalid, _ := errors.AsType[*wire.DecodeError](err)
	c.reportLimit(invalid.Limit)
	c.invalid(invalid.Channel, invalid.RequestID, invalid.Message, http.StatusBadRequest)
	return nil
}

// taskFor returns the task to handle a message, or nil if there is none. It answers a
// message that exceeds the rate limit.
func (c *conn) taskFor(msg *wire.Message) *task {
	if allowed := c.bucket.take(); allowed != rateOK {
		c.refuseRate(msg, allowed)
		return nil
	}
	if msg.Action == wire.Ping {
		return nil // the heartbeat of an old client
	}
	return &task{msg: *msg}
}

// reportLimit reports the limit that a message exceeds, if there is one.
func (c *conn) reportLimit(l wire.Limit) {
	if limit, ok := messageLimits[l]; ok {
		c.endpoint.limited(limit)
	}
}

func (c *conn) refuseRate(msg *wire.Message, allowed rateVerdict) {
	c.endpoint.limited(LimitRate)
	err := &Error{Code: http.StatusTooManyRequests, Message: "too many messages"}
	if msg.Channel == "" { // it could not be read
		msg.Channel = wire.Endpoint
	}
	c.answer(wire.ErrorAction, wire.HandlerNotFound, msg, wire.AppendHandlerError(nil, err.Message, err.Code, nil))
	if allowed == rateAbuse {
		c.tr.Close(ws.ClosePolicy, err.Message, err)
	}
}

// Invalid answers a client that exceeded a limit or broke the WebSocket protocol.
func (c *conn) Invalid(_ *transport.Conn, broken *ws.CloseError) {
	switch {
	case broken == transport.ErrControlRate:
		c.endpoint.limited(LimitControlRate)
	case broken.Code == ws.CloseTooBig:
		c.endpoint.limited(LimitMessage)
		c.invalid("", "", "the message is too large", http.StatusRequestEntityTooLarge)
	case broken.Code == ws.ClosePolicy:
		c.endpoint.limited(LimitFragments)
	}
}

// invalid answers an invalid message.
func (c *conn) invalid(channel, request, message string, status int) {
	if channel == "" {
		channel = wire.Endpoint
	}
	if request == "" {
		request = newRequestID()
	}
	c.tr.Send(newFrame(wire.ErrorAction, wire.InvalidMessage, channel, request,
		wire.AppendError(nil, wire.InvalidMessage, message, status)))
}

// run executes one task. The inbox calls it.
func (c *conn) run(t *task) {
	switch t.kind {
	case taskMessage:
		if c.over {
			return // Shutdown waits for handlers up to here
		}
		c.endpoint.hub.Pace()
		c.dispatch(t)
	case taskJoin:
		c.joinByURL(t)
	case taskDeparture:
		c.leaveNext()
	case taskShutdown:
		c.over = true
		c.adviseReconnect("shutdown")
		c.leaveAll(c.shutdownReason())
		c.tr.Close(ws.CloseGoingAway, "server shutting down", ErrClosed)
	case taskEnd:
		c.over = true
		c.cancel()
		c.leaveAll(c.endReason())
		c.endpoint.dismiss(c)
		if f := c.endpoint.pond.cfg.observer.Disconnected; f != nil {
			c.endpoint.pond.observe("Disconnected", func() { f(c.endpoint, c.id, c.transport(), c.cause) })
		}
	}
}

func (c *conn) dispatch(t *task) {
	msg := &t.msg
	m := c.member(msg.Channel)
	switch msg.Action {
	case wire.JoinChannel:
		if m != nil && m.acknowledge(msg.RequestID) == nil {
			return
		}
		if c.departing.Load() > 0 {
			c.inbox.prepend(t) // the membership just ended: its leave handler runs first
			return
		}
		c.join(t, func(code string, err *Error) { c.refuseJoin(msg, code, err) })
	case wire.LeaveChannel:
		ack := newFrame(wire.System, wire.ExitAcknowledge, msg.Channel, msg.RequestID, emptyObject)
		if m == nil || m.leave(ack, LeaveRequested) != nil { // the membership may just have ended
			c.tr.Send(ack)
		}
	case wire.Broadcast:
		if m == nil {
			c.fail(msg, wire.ChannelNotFound, &Error{Code: http.StatusNotFound, Message: "not a member of this channel"})
			return
		}
		c.handle(m, msg)
	}
}

// handle runs the handler of a message.
func (c *conn) handle(m *member, msg *wire.Message) {
	h, params := m.channel.lobby.messages.match(msg.Event)
	if h == nil {
		c.failHandler(msg, &Error{Message: "A handler did not respond to the event"})
		return
	}
	began := c.clock()
	h.call(&EventContext{stdContext: c, member: m, msg: msg, params: params}, func(f *failure) {
		if f != nil {
			defer c.failHandler(msg, f.public)
		}
		c.reportHandled(m.channel, msg.Event, began, f)
	})
}

// join runs the join handler. All rejections have the form that all official clients
// understand.
func (c *conn) join(t *task, reject rejectJoin) {
	msg := &t.msg
	if j := msg.Join; j != nil && (j.Recover || j.Diff || j.From != nil) {
		c.extended = true
	}
	l, params := c.endpoint.lobby(msg.Channel)
	if code, err := c.mayJoin(l, msg.Channel); err != nil {
		reject(code, err)
		return
	}
	ch := c.endpoint.registry.acquire(l, msg.Channel, params)
	ctx := &JoinContext{stdContext: c, conn: c, channel: ch, msg: msg, replay: math.MaxInt}
	defer func() {
		if ctx.member == nil {
			c.endpoint.registry.release(ch)
		}
	}()
	var from *wire.From
	if msg.Join != nil {
		from = msg.Join.From
	}
	stale, err := c.attach(ch, from)
	if err != nil {
		reject(wire.ChannelError, err)
		return
	}
	ctx.stale = stale
	if !c.awaitPredecessor(ch) {
		c.inbox.prepend(t)
		return
	}
	began := c.clock()
	l.join.call(ctx, func(f *failure) {
		defer c.answerJoin(ctx, f, reject)
		c.reportHandled(ch, "", began, f)
	})
}

// answerJoin answers a request to join, unless Accept already did, and reports an error
// that occurred after Accept.
func (c *conn) answerJoin(ctx *JoinContext, f *failure, reject rejectJoin) {
	switch {
	case ctx.member != nil && f != nil:
		c.fail(ctx.msg, wire.ChannelError, f.public)
	case ctx.member != nil:
	case f == nil:
		reject(wire.UnauthorizedJoinRequest, &Error{Code: http.StatusUnauthorized, Message: "the join was not accepted"})
	case f.typed:
		reject(wire.UnauthorizedJoinRequest, f.public)
	default:
		reject(wire.ChannelError, f.public)
	}
}

// rejectJoin answers a join with an error.
type rejectJoin func(code string, err *Error)

// joinByURL joins the channel of the URL with which the client connected. If an HTTP
// request waits for the decision, it responds to a rejection.
func (c *conn) joinByURL(t *task) {
	c.extended = true
	reject := func(code string, err *Error) { c.refuseJoin(&t.msg, code, err) }
	if t.decided != nil {
		var rejection *Error
		defer func() { t.decided <- rejection }() // even if the handler ends its goroutine
		reject = func(_ string, err *Error) { rejection = err }
	}
	if c.over {
		reject(wire.ChannelError, &Error{Code: http.StatusServiceUnavailable, Message: "the server is shutting down"})
		return
	}
	c.join(t, reject)
}

// adviseReconnect sends a client that understands this message the time to reconnect.
func (c *conn) adviseReconnect(reason string) {
	if !c.extended {
		return
	}
	body := strconv.AppendInt([]byte(`{"after":`), c.endpoint.comeBack().Milliseconds(), 10)
	body = append(append(append(body, `,"reason":"`...), reason...), `"}`...)
	c.tr.Send(newFrame(wire.System, wire.Reconnect, wire.Endpoint, newRequestID(), body))
}

// mayJoin checks the limits of joins. It returns an error with its code.
func (c *conn) mayJoin(l *Lobby, name string) (code string, err *Error) {
	switch {
	case !c.endpoint.validName(name):
		c.endpoint.limited(LimitChannelName)
		return wire.ChannelError, &Error{Code: http.StatusBadRequest, Message: "invalid channel name"}
	case c.url != "" && c.url != name:
		return wire.UnauthorizedJoinRequest, &Error{Code: http.StatusForbidden, Message: "this event stream has one channel"}
	case l == nil:
		return wire.ChannelNotFound, &Error{Code: http.StatusNotFound, Message: "channel not found"}
	case c.memberships() >= c.endpoint.cfg.maxChannels:
		c.endpoint.limited(LimitChannels)
		return wire.ChannelError, &Error{Code: http.StatusTooManyRequests, Message: "too many channels"}
	}
	return "", nil
}

// recovered reports the result of a client's request for missed messages.
func (c *conn) recovered(m *member, asked *Recovery, reason GapReason) {
	if f := c.endpoint.pond.cfg.observer.Recovered; f != nil && asked != nil {
		c.endpoint.pond.observe("Recovered", func() { f(m.channel, m.user(), reason) })
	}
}

// clock returns the time if the Observer needs the duration of handlers.
func (c *conn) clock() (now time.Time) {
	if c.endpoint.pond.cfg.observer.Handled != nil {
		now = time.Now()
	}
	return now
}

// reportHandled reports the result of a handler, and logs the part that the client does not
// receive. It does not return if the Observer ends the goroutine.
func (c *conn) reportHandled(ch *Channel, event string, began time.Time, failed *failure) {
	f := c.endpoint.pond.cfg.observer.Handled
	var took time.Duration
	if f != nil {
		took = time.Since(began)
	}
	if failed.hidden() {
		c.logFailure(failed, ch, event)
	}
	if f != nil {
		c.endpoint.pond.observeInline("Handled", func() { f(ch, event, took, failed.error()) })
	}
}

func (c *conn) logFailure(f *failure, ch *Channel, event string) {
	f.log(c, c.endpoint.pond, "pond: handler failed",
		slog.String("channel", ch.name), slog.String("event", event), slog.String("user", c.id))
}

// answer answers a message.
func (c *conn) answer(action wire.Action, event string, to *wire.Message, body []byte) {
	c.tr.Send(newFrame(action, event, to.Channel, to.RequestID, body))
}

func (c *conn) refuseJoin(msg *wire.Message, code string, err *Error) {
	c.answer(wire.System, wire.Unauthorized, msg, err.payload(code))
}

func (c *conn) fail(msg *wire.Message, code string, err *Error) {
	c.answer(wire.ErrorAction, code, msg, err.payload(code))
}

func (c *conn) failHandler(msg *wire.Message, err *Error) {
	c.answer(wire.ErrorAction, wire.HandlerNotFound, msg, wire.AppendHandlerError(nil, err.Message, err.status(), err.details()))
}

func (c *conn) transport() Transport {
	if c.tr.WebSocket() {
		return WebSocket
	}
	return SSE
}

func (c *conn) member(channel string) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[channel]
}

func (c *conn) memberships() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.members)
}

// enter adds a membership, unless the connection ended. It is called with the
// channel's lock held.
func (c *conn) enter(m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if c.members == nil {
		c.members = make(map[string]*member, 1)
	}
	c.members[m.channel.name] = m
	return true
}

// A conn is the context of its handlers. If a handler waits for its end or derives a
// context from it, the conn gets a context of package context. Package context attaches
// derived contexts to that one, without a goroutine for each.

func (c *conn) Deadline() (time.Time, bool) { return time.Time{}, false }

func (c *conn) Done() <-chan struct{} { return c.standard().Done() }

func (c *conn) standard() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.std == nil {
		c.std, c.stop = context.WithCancel(context.Background()) //nolint:forbidigo // the connection has no other
		if c.ended {
			c.stop()
		}
	}
	return c.std
}

func (c *conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.std != nil:
		return c.std.Err()
	case c.ended:
		return context.Canceled
	}
	return nil
}

// Value returns nil, except for package context, which looks for a context to which it
// can attach others.
func (c *conn) Value(key any) any {
	c.mu.Lock()
	std := c.std
	c.mu.Unlock()
	if std == nil {
		return nil
	}
	return std.Value(key)
}

// AfterFunc is [context.AfterFunc].
func (c *conn) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.standard(), f) }

// maxCancelDelay limits the time that handlers have for the messages that a client sent
// before it disconnected. After it, their context is cancelled.
const maxCancelDelay = 5 * time.Second

// Closed reports the end of the connection. If the server ended it, the context of
// handlers is cancelled immediately. If the client ended it, its earlier messages are
// handled first, for at most maxCancelDelay. In both cases, memberships end after these
// messages.
func (c *conn) Closed(_ *transport.Conn, end transport.End) {
	cause := end.Cause
	switch {
	case errors.Is(cause, transport.ErrSlow):
		cause = ErrSlowClient
		c.endpoint.limited(LimitOutbox)
	case errors.Is(cause, transport.ErrTimeout):
		c.endpoint.limited(LimitSilence)
	case errors.Is(cause, transport.ErrClosed):
		cause = ErrClosed
	}
	c.mu.Lock()
	c.cause = cause
	byClient := end.ByClient || c.deleted
	if byClient {
		c.cancelTimer = time.AfterFunc(maxCancelDelay, c.cancel)
	}
	c.mu.Unlock()
	if !byClient {
		c.cancel()
	}
	c.inbox.push(&task{kind: taskEnd})
}

// cancel cancels the context of the client's handlers. The client cannot join channels
// any more.
func (c *conn) cancel() {
	c.mu.Lock()
	if c.cancelTimer != nil {
		c.cancelTimer.Stop()
	}
	c.ended = true
	stop := c.stop
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}
