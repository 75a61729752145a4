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

// A Channel is a channel that a client joined. Its methods are safe for concurrent use,
// but only one loop at a time can use its events.
type Channel struct {
	// Static after construction.
	client *Client
	m      *membership
	events *buffer
	in     chan struct{} // closed when the server answered the join, or the join failed
	inUse  atomic.Bool

	// Guarded by client.mu.
	settled bool  // in is closed
	left    bool  // by this Channel
	err     error // why the membership ended, if it did
	unseen  map[string]*Member
}

// Join joins a channel, such as "/chat/1". It waits for the connection, if necessary,
// and until the server accepts the join. If the server rejects it, the error is a
// [*pond.Error]. If ctx is done first, Join leaves the channel and returns an error.
// After Join returns, ctx has no effect.
//
// The client stays in the channel until [Channel.Leave]. After a reconnect, it joins
// again automatically. A second Join of the same channel returns another Channel with
// its own events. Both share the membership, so they must have the same options, except
// for [WithBuffer]. The client leaves the channel when the last of them is left.
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
	if ctx.Err() != nil {
		return nil, fmt.Errorf("pondclient: join %q: %w", channel, context.Cause(ctx))
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

// begin creates a Channel, and a membership if there is none.
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
	for key := range m.roster.members { // they are new for this Channel
		ch.see(key)
	}
	if m.phase == member {
		ch.joinedLocked()
	}
	return ch, nil
}

// see records the value that a member had before a change, if this Channel does not
// have an earlier one.
func (ch *Channel) see(key string) {
	if ch.unseen == nil {
		ch.unseen = map[string]*Member{}
	}
	ch.unseen[key] = nil
	ch.events.mark()
}

// fits reports whether a second join has the same options as the first.
func (m *membership) fits(cfg joinConfig, params []byte) bool {
	have := m.cfg
	return bytes.Equal(m.params, params) && (have.paramsFunc == nil) == (cfg.paramsFunc == nil) &&
		have.noRecovery == cfg.noRecovery && have.presence == cfg.presence &&
		(!m.entered && have.last == cfg.last || cfg.last == 0) &&
		(!m.entered && have.from == cfg.from || cfg.from == pond.Position{})
}

// wait waits until the server answered the join.
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
	case ch.settled:
		return nil
	}
	ch.leaveLocked()
	return withFailure(fmt.Sprintf("join %q", ch.m.name), context.Cause(ctx), c.failure)
}

// joinedLocked makes Join return.
func (ch *Channel) joinedLocked() {
	if !ch.settled {
		ch.settled = true
		close(ch.in)
	}
}

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

// Events iterates over the events of the channel since the join, in order. It waits for
// each event. The loop ends without an error when the program leaves the channel or
// closes the client. Otherwise the last iteration has an error: a [*RemovedError] if
// the server removed the client, a [*pond.Error] if the server rejected a later join,
// [ErrStopped] if the client stopped, or the error of ctx. In the last two cases,
// another call of Events continues with the next event.
//
// While the program does something else, such as [Channel.Request], events are
// buffered. When the buffer is full, the next event is a [*Gap]: see [WithBuffer]. A
// program that needs no events need not call Events.
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

// Members returns the members of the channel that the server reported, in the order in
// which they joined. It requires [WithPresence].
func (ch *Channel) Members() []Member {
	ch.client.mu.Lock()
	defer ch.client.unlock()
	return ch.m.roster.list()
}

// Send sends a message to the server. The payload is a value that encodes to a JSON
// object, or nil for the empty object. Send queues the message. It does not wait for
// the network, a connection or a join. If the queue is full, it returns [ErrQueueFull];
// [Channel.Flush] waits until the queue is empty.
//
// A message is sent at most once, in the order of the calls. Send does not report
// whether the server handled the message; use [Channel.Request] for this. If the client
// knows that the message was not handled, the channel gets a [*Failure] event.
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

// Request sends a message and waits for its answer, which is the first message of the
// server with the same request ID. If the server answers with an error, Request returns
// it as a [*pond.Error]; if the server closes the connection because the message is too
// large, the code of this error is 413. If ctx is done first, Request returns its error.
// The message is then not sent, or, if it was already sent, the error is also
// [ErrUnknownOutcome].
//
// If the connection is lost after the message was sent, Request fails with
// [ErrUnknownOutcome], unless the message is [Idempotent]. Request can be called from a
// loop over [Channel.Events].
func (ch *Channel) Request(ctx context.Context, event string, payload any, opts ...SendOption) (*Message, error) {
	o, err := ch.client.prepare(ch.m, event, payload, opts)
	if err != nil {
		return nil, err
	}
	switch {
	case ch.client.cfg.legacy:
		return nil, fmt.Errorf("pondclient: the server has no request IDs: %w", errors.ErrUnsupported)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("pondclient: request %q: %w", event, context.Cause(ctx))
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
		r := <-o.answer // answered at the same time
		return r.message, r.err
	}
	err := fmt.Errorf("pondclient: request %q: %w", o.event, cause)
	if !c.removeLocked(o) {
		o.maybe = true
	}
	err = o.unsent(err)
	delete(c.requests, o.id)
	o.state = settled
	return nil, err
}

// Call is [Channel.Request] with typed names: the call determines the types of the
// payload and the answer.
//
//	answer, err := pondclient.Call[chat.Answer](ctx, ch, chat.Ask, chat.Question{})
func Call[Answer, Question any](ctx context.Context, ch *Channel, event pond.Event[Question], payload Question, opts ...SendOption) (answer Answer, err error) {
	m, err := ch.Request(ctx, string(event), payload, opts...)
	if err != nil {
		return answer, err
	}
	return answer, m.Bind(&answer)
}

// Flush waits until all messages sent to this channel are written to the network. It
// returns an error if ctx is done first, or if the client stopped.
func (ch *Channel) Flush(ctx context.Context) error { return ch.client.flush(ctx, ch.m) }

// Discard removes the queued messages of this channel, and returns them. Requests among
// them fail with [ErrDiscarded] and are not returned.
func (ch *Channel) Discard() []Unsent {
	c := ch.client
	c.mu.Lock()
	defer c.unlock()
	return c.discardLocked(ch.m, false, ErrDiscarded)
}

// Leave ends this Channel and the loops over its events. If it is the last one of its
// name, the client sends the queued messages and leaves the channel. If ctx is done
// first, Leave leaves at once and returns an [*UnsentError]. It does nothing if the
// membership already ended.
func (ch *Channel) Leave(ctx context.Context) error {
	c := ch.client
	c.mu.Lock()
	defer c.unlock()
	var cause error
	for ch.err == nil && len(ch.m.handles) == 1 && ch.m.pending > 0 && cause == nil {
		c.unlock()
		cause = c.flush(ctx, ch.m)
		c.mu.Lock() // a message may have been sent in the meantime
	}
	if ch.err != nil {
		return nil
	}
	var unsent []Unsent
	if len(ch.m.handles) == 1 && ch.m.pending > 0 {
		unsent = c.discardLocked(ch.m, true, ErrLeft)
	}
	ch.leaveLocked()
	if len(unsent) == 0 {
		return nil
	}
	return &UnsentError{unsent, cause}
}
