package pondclient

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/wire"
	"github.com/pondsocket/pond/internal/ws"
)

// phase is the state of a membership on the current connection.
type phase int

const (
	outside phase = iota // no join was sent
	joining              // a join was sent, but not answered
	member               // the server accepted the join
	over                 // the program left, or the server ended the membership
)

// A membership is the state of one channel, from the first Join of a name to the last
// Leave. It outlives connections. The client's mutex guards it.
type membership struct {
	// Static after construction.
	client *Client
	name   string
	number uint64 // orders memberships by their first join
	cfg    joinConfig
	params json.RawMessage // nil if a function returns them

	phase    phase
	handles  []*Channel // the membership ends with the last of them
	attempt  int        // counts joins, so that results of earlier ones are dropped
	tries    int        // failed joins in a row
	ids      []string   // of joins without an answer on this connection
	timer    *time.Timer
	held     []*frame // frames that arrived before the answer
	heldSize int
	heldLost int
	stale    bool // it left and joins again, so frames before the answer are old

	entered  bool          // it was a member before, so the next join is a rejoin
	position pond.Position // zero: the channel has no history, or it is not known yet
	userID   string        // when it was at position
	replayTo uint64        // numbered frames up to this are replayed
	report   bool          // the end of the replay must be reported

	hasDiff bool // the server sends presence as differences
	roster  roster

	queue   []*outgoing // messages that wait for the join
	pending int         // messages that are not written
	idle    chan struct{}
}

// joinLocked sends a join, if there is a connection to send it on.
func (c *Client) joinLocked(m *membership) {
	if c.conn == nil || m.phase != outside && m.phase != joining {
		return
	}
	m.phase = joining
	m.attempt++
	m.setTimer(0, nil)
	if m.cfg.paramsFunc == nil {
		c.sendJoinLocked(m, m.params)
		return
	}
	attempt, ctx := m.attempt, c.conn.ctx
	c.tasks.Go(func() {
		params, err := any(nil), errGoexit
		defer func() { c.joinWith(ctx, m, attempt, params, err) }()
		params, err = m.cfg.paramsFunc(ctx)
	})
}

// joinWith sends a join when its parameters are known, or handles the error of their
// function.
func (c *Client) joinWith(ctx context.Context, m *membership, attempt int, params any, err error) {
	var payload []byte
	if err == nil {
		payload, err = wire.Object(params)
	}
	c.mu.Lock()
	defer c.unlock()
	switch {
	case m.phase != joining || m.attempt != attempt || c.conn == nil || ctx.Err() != nil:
		return // of an earlier attempt
	case err == nil:
		c.sendJoinLocked(m, payload)
	case m.entered:
		c.warnLocked("the parameters of a join failed", slog.String("channel", m.name), slog.Any("error", err))
		m.phase = outside
		c.joinLaterLocked(m)
	default:
		c.endLocked(m, err, err)
	}
}

func (c *Client) sendJoinLocked(m *membership, params []byte) {
	id := c.nextIDLocked()
	m.ids = append(m.ids, id)
	var extra joinRequest
	features := c.conn.features
	recovery := !m.cfg.noRecovery && slices.Contains(features, featureRecover)
	if m.cfg.presence && slices.Contains(features, featureDiff) {
		extra.Want = append(extra.Want, featureDiff)
	}
	if recovery {
		extra.Want = append(extra.Want, featureRecover)
		switch {
		case m.position != pond.Position{}:
			offset := m.position.Offset
			extra.From = &from{Epoch: m.position.Epoch, Offset: &offset, ID: m.userID}
		case m.cfg.last > 0 && !m.entered:
			extra.From = &from{Last: &m.cfg.last}
		}
	}
	c.controlLocked(&outgoing{data: joinMessage(m.name, id, params, extra), id: id, join: m})
	// If the server does not answer, join again, with increasing delays.
	wait := min(c.cfg.joinTimeout<<min(len(m.ids)-1, 3), max(c.cfg.joinTimeout, time.Minute))
	attempt := m.attempt
	m.setTimer(wait+random(wait/4), func() {
		if m.phase == joining && m.attempt == attempt {
			c.joinLocked(m)
		}
	})
}

// joinLaterLocked joins again after a delay, which increases with each failure.
func (c *Client) joinLaterLocked(m *membership) {
	b := backoff{first: c.cfg.first, most: c.cfg.most, failures: m.tries}
	m.tries++
	m.attempt++
	attempt := m.attempt
	m.setTimer(b.next(0), func() {
		if m.phase == outside && m.attempt == attempt {
			c.joinLocked(m)
		}
	})
}

// setTimer replaces the timer of a membership. f runs with the lock held; a nil f
// only stops the timer.
func (m *membership) setTimer(d time.Duration, f func()) {
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	if f == nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		m.client.mu.Lock()
		defer m.client.unlock()
		if m.timer == timer {
			m.timer = nil
			f()
		}
	})
	m.timer = timer
}

// acceptedLocked handles the acknowledgement of a join.
func (c *Client) acceptedLocked(m *membership, f *frame) {
	if !m.answers(f.RequestID) || m.phase != joining {
		return // the answer to an earlier join, or a second one
	}
	m.setTimer(0, nil)
	m.phase, m.stale = member, false
	var a ack
	f.bind(&a)
	m.userID = c.conn.userID
	if m.hasDiff = m.cfg.presence && a.hasDiff(); m.hasDiff {
		m.roster.begin()
	}
	m.locate(&a)
	rejoined := m.entered
	m.entered = true
	m.steady(rejoined)
	for _, h := range m.handles {
		h.joinedLocked()
	}
	c.releaseLocked(m)
	held, lost := m.held, m.heldLost
	m.held, m.heldSize, m.heldLost = nil, 0, 0
	for _, f := range held {
		if m.phase == member {
			c.memberFrameLocked(m, f)
		}
	}
	if lost > 0 {
		m.deliver(&Gap{Reason: GapOverflow, Dropped: lost, Position: m.position})
	}
}

// answers reports whether id is that of a join without an answer, and removes it.
func (m *membership) answers(id string) bool {
	i := slices.Index(m.ids, id)
	if i < 0 {
		return false
	}
	m.ids = slices.Delete(m.ids, i, i+1)
	return true
}

// locate gets the position from the answer to a join, and reports whether messages were
// missed.
func (m *membership) locate(a *ack) {
	asked := m.position
	rejoin := m.entered || asked != pond.Position{}
	m.replayTo, m.report = 0, false
	r := a.Recover
	if r == nil || r.Epoch == "" || m.cfg.noRecovery {
		m.position = pond.Position{}
		if rejoin {
			m.deliver(&Gap{Reason: GapFresh})
		}
		return
	}
	m.position = pond.Position{Epoch: r.Epoch, Offset: r.Offset}
	recovered := r.Recovered != nil && *r.Recovered
	if recovered {
		m.replayTo = r.To
	}
	switch {
	case !rejoin:
		m.report = recovered // after the messages that WithLast asked for
	case m.position == asked && recovered:
		m.report = true
	case m.position == asked && r.Recovered == nil:
		m.deliver(&Recovered{m.position})
	case r.Recovered == nil, asked == pond.Position{}:
		m.deliver(&Gap{Reason: GapFresh, Position: m.position})
	case !recovered && r.Reason != "":
		m.deliver(&Gap{Reason: GapReason(r.Reason), Position: m.position})
	default: // a replay from another position
		m.deliver(&Gap{Reason: GapDisorder, Position: m.position})
	}
}

// steady resets the number of failures if the membership lasts.
func (m *membership) steady(rejoined bool) {
	if !rejoined || m.tries == 0 {
		return
	}
	m.setTimer(m.client.cfg.healthy, func() { m.tries = 0 })
}

// refusedLocked handles the rejection of the join with this ID.
func (c *Client) refusedLocked(m *membership, id string, err *pond.Error) {
	if !m.answers(id) || m.phase != joining {
		return
	}
	m.setTimer(0, nil)
	m.phase, m.ids = outside, nil
	m.held, m.heldSize, m.heldLost = nil, 0, 0
	if !m.entered {
		c.endLocked(m, err, err)
		return
	}
	reason := &ConnectionError{Transport: c.conn.transport, Status: err.Code, Reason: err.Message, Err: err}
	attempt := m.attempt
	c.laterLocked(func() { // the policy may use the client
		action := Stop // unless it returns
		defer func() { c.rejoinOrEnd(m, attempt, action, err) }()
		action = c.cfg.policy(reason)
	})
}

// rejoinOrEnd applies the policy to a rejected rejoin.
func (c *Client) rejoinOrEnd(m *membership, attempt int, action Action, err *pond.Error) {
	c.mu.Lock()
	defer c.unlock()
	switch {
	case m.phase != outside || m.attempt != attempt:
		// It joins again because the connection was lost in the meantime.
	case action == Retry, action == Refresh && m.cfg.paramsFunc != nil && m.tries == 0:
		c.joinLaterLocked(m)
	default:
		c.endLocked(m, err, err)
	}
}

// rejoinLocked leaves and joins again, because the received messages are not
// consistent.
func (c *Client) rejoinLocked(m *membership) {
	c.leaveLocked(m)
	m.phase, m.ids, m.stale = outside, nil, true
	m.replayTo, m.report = 0, false
	c.joinLaterLocked(m)
}

// leaveLocked sends a leave if the client may be a member.
func (c *Client) leaveLocked(m *membership) {
	if c.conn == nil || m.phase != joining && m.phase != member {
		return
	}
	id := c.nextIDLocked()
	c.conn.leaving[m.name] = id
	c.controlLocked(&outgoing{data: wireMessage(wire.LeaveChannel, string(wire.LeaveChannel), m.name, id, nil)})
}

// leftLocked handles the answer to a leave. If the channel is being joined again, the
// frames before this answer belong to the earlier membership.
func (c *Client) leftLocked(n *connection, f *frame) {
	if n.leaving[f.Channel] != f.RequestID {
		return
	}
	delete(n.leaving, f.Channel)
	if m := c.channels[f.Channel]; m != nil && m.phase != member {
		m.held, m.heldSize, m.heldLost, m.stale = nil, 0, 0, false
	}
}

// endLocked ends a membership. Events end with err, or without an error if it is nil.
// Requests without an answer fail with unanswered.
func (c *Client) endLocked(m *membership, err, unanswered error) {
	if m.phase == over {
		return
	}
	m.phase = over
	m.setTimer(0, nil)
	delete(c.channels, m.name)
	for _, o := range c.requests {
		if o.m == m && (o.state == written || o.state == writing) {
			c.failLocked(o, bothErrors(unanswered, ErrUnknownOutcome))
		}
	}
	which := func(*outgoing) bool { return true }
	taken := c.takeLocked(&m.queue, which)
	if c.conn != nil {
		taken = append(taken, c.takeLocked(&c.conn.out, func(o *outgoing) bool { return o.m == m })...)
	}
	for _, o := range taken {
		c.failLocked(o, o.unsent(unanswered))
	}
	for _, h := range m.handles {
		h.endLocked(err)
	}
	m.handles = nil
	if m.idle != nil {
		close(m.idle)
		m.idle = nil
	}
}

// stopLocked makes the events of a membership end with an error until the client starts
// again.
func (c *Client) stopLocked(m *membership) {
	for _, h := range slices.Clone(m.handles) {
		if !h.settled {
			h.leaveLocked() // its join fails
			h.err = c.stopped
			h.joinedLocked()
			continue
		}
		h.events.end(c.stopped)
	}
	for _, o := range c.takeLocked(&m.queue, func(o *outgoing) bool { return o.answer != nil }) {
		c.failLocked(o, o.unsent(c.stopped))
	}
}

// resume undoes stopLocked.
func (m *membership) resume() {
	for _, h := range m.handles {
		h.events.resume()
	}
}

// deliver adds an event to all Channels of the membership.
func (m *membership) deliver(ev Event) {
	for _, h := range m.handles {
		if h.events.add(ev) {
			continue
		}
		if f := m.client.cfg.observer.Dropped; f != nil {
			m.client.laterLocked(func() { m.client.observed.do(func() { f(m.name, 1) }) })
		}
	}
}

// presenceChanged records a change of presence in all Channels.
func (m *membership) presenceChanged(key string, before *Member) {
	for _, h := range m.handles {
		if _, known := h.unseen[key]; !known {
			if h.unseen == nil {
				h.unseen = map[string]*Member{}
			}
			h.unseen[key] = before
		}
		h.events.mark()
	}
}

// lost removes a connection that ended.
func (c *Client) lost(n *connection, reason *ConnectionError) {
	c.mu.Lock()
	defer c.unlock()
	if c.closed || c.ctx.Err() != nil {
		return // the end of the client settles all messages
	}
	if reason.Code == ws.CloseTooBig && n.largest != nil {
		c.tooLargeLocked(n.largest, reason)
	}
	c.conn = nil
	for _, m := range c.channels {
		m.phase, m.ids, m.stale = outside, nil, false
		m.held, m.heldSize, m.heldLost = nil, 0, 0
		m.report = false
		m.setTimer(0, nil)
	}
	c.requeueLocked(n)
	c.changedLocked()
}

// A twoErrors is an error with two causes.
type twoErrors struct{ first, second error }

func bothErrors(first, second error) error { return &twoErrors{first, second} }

func (e *twoErrors) Error() string { return e.first.Error() + " (" + e.second.Error() + ")" }

func (e *twoErrors) Unwrap() []error { return []error{e.first, e.second} }
