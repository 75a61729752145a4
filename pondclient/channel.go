package pondclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/wire"
)

// A Channel is a channel that a client has joined. Its methods are safe for
// concurrent use, but only one loop at a time can use its events.
type Channel struct {
	// Static after construction.
	client *Client
	m      *membership
	events *buffer
	in     chan struct{} // closed when the join is decided, or the client stopped
	inUse  atomic.Bool

	// Guarded by client.mu.
	settled bool  // in is closed
	left    bool  // by this Channel
	err     error // why the membership ended, if it did
	unseen  map[string]*Member
}

// Join joins a channel, such as "/chat/1". It waits until the server lets the client
// in. A refusal is a [*pond.Error]. If the client is not connected, it waits for
// that, too. When ctx is done, Join gives up and leaves; afterwards ctx has no effect.
//
// The client stays in the channel until [Channel.Leave]. After a reconnect it joins
// again by itself. A second Join of the same channel returns another Channel with
// events of its own, which shares the membership: both must have the same options,
// except for [WithBuffer], and the client leaves with the last of them.
func (c *Client) Join(ctx context.Context, channel string, opts ...JoinOption) (*Channel, error) {
	cfg := joinDefaults()
	for _, opt := range opts {
		opt(&cfg)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if channel == "" {
		return nil, errors.New("pondclient: join: empty channel name")
	}
	params, err := wire.Object(cfg.params)
	if err != nil {
		return nil, fmt.Errorf("pondclient: parameters of %q: %s", channel, strings.TrimPrefix(err.Error(), "wire: "))
	}
	ch, err := c.begin(channel, cfg, params)
	if err != nil {
		return nil, err
	}
	if err := ch.wait(ctx); err != nil {
		return nil, err
	}
	return ch, nil
}

// begin makes a Channel, and a membership unless there is one.
func (c *Client) begin(name string, cfg joinConfig, params []byte) (*Channel, error) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.stateLocked(); err != nil {
		return nil, err
	}
	m := c.channels[name]
	if m != nil && !m.fits(cfg, params) {
		return nil, ErrJoinedOtherwise
	}
	ch := &Channel{client: c, events: newBuffer(cfg.maxEvents, cfg.maxBytes), in: make(chan struct{})}
	if m == nil {
		c.joined++
		m = &membership{client: c, name: name, number: c.joined, cfg: cfg, params: params, position: cfg.from}
		c.channels[name] = m
		c.joinLocked(m)
	}
	ch.m = m
	m.handles = append(m.handles, ch)
	for key := range m.roster.members { // they are new to this Channel
		ch.see(key)
	}
	if m.phase == member {
		ch.joinedLocked()
	}
	return ch, nil
}

// see makes a member that was there before a change for this Channel.
func (ch *Channel) see(key string) {
	if ch.unseen == nil {
		ch.unseen = map[string]*Member{}
	}
	ch.unseen[key] = nil
	ch.events.mark()
}

// fits reports whether a second join asks for the same as the first.
func (m *membership) fits(cfg joinConfig, params []byte) bool {
	have := m.cfg
	return bytes.Equal(m.params, params) && (have.paramsFunc == nil) == (cfg.paramsFunc == nil) &&
		have.noRecovery == cfg.noRecovery && have.presence == cfg.presence &&
		(!m.entered && have.last == cfg.last || cfg.last == 0) &&
		(!m.entered && have.from == cfg.from || cfg.from == pond.Position{})
}

// wait waits until the join is decided.
func (ch *Channel) wait(ctx context.Context) error {
	c := ch.client
	select {
	case <-ch.in:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.unlock()
	switch {
	case ch.err != nil:
		return ch.err
	case ch.settled && c.stopped == nil:
		return nil
	}
	ch.leaveLocked()
	if c.stopped != nil {
		return c.stopped
	}
	return withFailure(fmt.Sprintf("join %q", ch.m.name), context.Cause(ctx), c.failure)
}

// joinedLocked lets Join return.
func (ch *Channel) joinedLocked() {
	if !ch.settled {
		ch.settled = true
		close(ch.in)
	}
}

// wakeLocked makes Join look at the state of the client.
func (ch *Channel) wakeLocked() { ch.joinedLocked() }

// endLocked ends this Channel with its membership.
func (ch *Channel) endLocked(err error) {
	if ch.err == nil {
		ch.err = err
	}
	if err == nil {
		ch.err = ErrClosed
	}
	ch.events.end(err)
	ch.joinedLocked()
}

// leaveLocked ends this Channel, and the membership if it was the last one.
func (ch *Channel) leaveLocked() {
	if ch.left || ch.err != nil {
		return
	}
	ch.left, ch.err = true, ErrLeft
	ch.events.end(nil)
	m := ch.m
	m.handles = slices.DeleteFunc(m.handles, func(h *Channel) bool { return h == ch })
	if len(m.handles) == 0 {
		ch.client.leaveLocked(m)
		ch.client.endLocked(m, nil, ErrLeft)
	}
}

// Name returns the name of the channel.
func (ch *Channel) Name() string { return ch.m.name }

// Events returns what happens in the channel, in order, beginning with the join. It
// waits for each event. The loop ends without an error when the program leaves the
// channel or closes the client; with a [*RemovedError] if the server removes the
// client; with a [*pond.Error] if it does not let the client in again; with
// [ErrStopped] if the client stopped; and with the error of ctx when ctx is done.
// In the last two cases the next call goes on with the next event.
//
// Events wait in a buffer while the program does something else, such as
// [Channel.Request]. If the buffer is full, the next event is a [*Gap]: see
// [WithBuffer]. A program that needs no events does not have to take them.
//
//	for ev, err := range ch.Events(ctx) {
//		if err != nil {
//			return err
//		}
//		switch ev := ev.(type) {
//		case *pondclient.Message:
//			show(ev)
//		case *pondclient.Gap:
//			reload() // messages may be missing
//		}
//	}
func (ch *Channel) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if !ch.inUse.CompareAndSwap(false, true) {
			yield(nil, ErrInUse)
			return
		}
		defer ch.inUse.Store(false)
		for {
			ev, err := ch.next(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if ev == nil || !yield(ev, nil) {
				return
			}
		}
	}
}

// next returns the next event. It is nil at the end.
func (ch *Channel) next(ctx context.Context) (Event, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		ev, changed, err := ch.events.take(ctx)
		if !changed {
			return ev, err
		}
		if p := ch.presence(); p != nil {
			return p, nil
		}
	}
}

// presence returns the changes that the program has not seen, or nil.
func (ch *Channel) presence() *Presence {
	c := ch.client
	c.mu.Lock()
	defer c.unlock()
	p := ch.m.roster.event(ch.unseen)
	ch.unseen = nil
	return p
}

// Members returns who is in the channel, in the order in which they came, as far as
// the server has said so. It needs [WithPresence].
func (ch *Channel) Members() []Member {
	ch.client.mu.Lock()
	defer ch.client.unlock()
	return ch.m.roster.list()
}

// Send sends a message to the server. The payload is what encodes to a JSON object,
// or nil for the empty one. Send queues the message and does not wait: for the
// network, a connection or a join. If too much is queued, it fails with
// [ErrQueueFull]; [Channel.Flush] waits until there is room.
//
// A message is sent at most once, in the order of the calls. Sending does not tell
// whether the server handled it: for that, use [Channel.Request]. If the client
// knows that it was not handled, it reports a [*Failure].
//
// With a typed name, the compiler checks the payload:
//
//	ch.Send(chat.Said.With(message))
func (ch *Channel) Send(event string, payload any, opts ...SendOption) error {
	o, err := ch.client.prepare(ch.m, event, payload, opts)
	if err != nil {
		return err
	}
	return ch.enqueue(o)
}

func (ch *Channel) enqueue(o *outgoing) error {
	c := ch.client
	c.mu.Lock()
	defer c.unlock()
	switch {
	case ch.err != nil:
		return ch.err
	case c.closing:
		return ErrClosed
	case c.stopped != nil:
		return c.stopped
	}
	return c.enqueueLocked(o)
}

// Request sends a message and waits for its answer: the first message of the server
// with the same request ID, or its error as a [*pond.Error]. It waits until ctx is
// done. A request that was not sent by then is not sent.
//
// If the connection is lost after the message was sent, Request fails with
// [ErrUnknownOutcome], unless the message is [Idempotent]. It can be called from a
// loop over [Channel.Events].
func (ch *Channel) Request(ctx context.Context, event string, payload any, opts ...SendOption) (*Message, error) {
	o, err := ch.client.prepare(ch.m, event, payload, opts)
	if err != nil {
		return nil, err
	}
	if ch.client.cfg.legacy {
		return nil, fmt.Errorf("pondclient: the server has no request IDs: %w", errors.ErrUnsupported)
	}
	o.answer = make(chan response, 1)
	if err := ch.enqueue(o); err != nil {
		return nil, err
	}
	select {
	case r := <-o.answer:
		return r.message, r.err
	case <-ctx.Done():
	}
	return ch.client.giveUp(o, context.Cause(ctx))
}

// giveUp ends a request whose context is done.
func (c *Client) giveUp(o *outgoing, cause error) (*Message, error) {
	c.mu.Lock()
	defer c.unlock()
	if o.state == settled {
		r := <-o.answer // at the same moment
		return r.message, r.err
	}
	err := fmt.Errorf("pondclient: request %q: %w", o.event, cause)
	if !c.removeLocked(o) {
		err = bothErrors(err, ErrUnknownOutcome)
	}
	delete(c.requests, o.id)
	o.state = settled
	return nil, err
}

// Call is [Channel.Request] with typed names: the payload and the answer have the
// types of the call.
//
//	answer, err := pondclient.Call[chat.Answer](ctx, ch, chat.Ask, chat.Question{})
func Call[Answer, Question any](ctx context.Context, ch *Channel, event pond.Event[Question], payload Question, opts ...SendOption) (answer Answer, err error) {
	m, err := ch.Request(ctx, string(event), payload, opts...)
	if err != nil {
		return answer, err
	}
	return answer, m.Bind(&answer)
}

// Flush waits until everything that was sent to this channel is handed to the
// network. It fails when ctx is done, or if the client stopped.
func (ch *Channel) Flush(ctx context.Context) error { return ch.client.flush(ctx, ch.m) }

// Discard removes what waits to be sent to this channel, and returns it. Requests
// among it fail with [ErrDiscarded] and are not returned.
func (ch *Channel) Discard() []Unsent {
	c := ch.client
	c.mu.Lock()
	defer c.unlock()
	return c.discardLocked(ch.m, false, ErrDiscarded)
}

// Leave ends this Channel: loops over its events end. If it was the last one of its
// name, the client leaves the channel, after it has sent what was queued. When ctx
// is done before, it leaves at once and returns an [*UnsentError]. It does nothing
// if the membership has ended already.
func (ch *Channel) Leave(ctx context.Context) error {
	c := ch.client
	c.mu.Lock()
	last := len(ch.m.handles) == 1
	gone := ch.err != nil
	c.mu.Unlock()
	if gone {
		return nil
	}
	var cause error
	if last {
		cause = c.flush(ctx, ch.m)
	}
	c.mu.Lock()
	defer c.unlock()
	var unsent []Unsent
	if ch.err == nil && len(ch.m.handles) == 1 && cause != nil {
		unsent = c.discardLocked(ch.m, true, ErrLeft)
	}
	ch.leaveLocked()
	if len(unsent) == 0 {
		return nil
	}
	return &UnsentError{unsent, cause}
}
