package pond

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A member is one membership of a client in a channel. Its methods that change or
// send something return [ErrNotMember] once the membership ended.
type member struct {
	// Static after construction.
	conn     *conn
	channel  *Channel
	seat     transport.Seat // in channel.group
	person   *person        // nil if the identity is not counted; set before the client is a member
	recovers bool           // the client asked for recovery
	diffs    bool           // the client asked for presence as differences
	stale    bool           // the node cannot read the history that the client asks for

	blocked int // consecutive numbered messages that a handler blocked; owned by the connection's writer

	// Guarded by channel.mu.
	assigns  map[string]any             // replaced, never changed
	shared   map[string]json.RawMessage // assigns as other nodes get them, replaced, never changed; nil without a broker
	remote   *remoteUser                // nil for a member here
	presence json.RawMessage
	tracked  *transport.Seat // in the roster's group, unless diffs is set; nil unless tracked
	follower *follower       // nil unless the member gets differences
	lingers  *grace          // set when the member left, if it was shown to followers after that
	feeding  *feedState      // nil if the member is seated
	hidden   int             // consecutive numbered messages that were hidden from the member,
	hiddenTo uint64          // up to this offset
	began    time.Duration   // when the membership began, on the clock of the node; zero without a broker
	left     bool
	evicted  bool // the identity was evicted after the member left
	place    int  // in channel.people, and then in channel.leaving
	picked   bool // while an audience is resolved
	large    bool // the member was announced to other nodes without assigns
}

func (m *member) user() User { return User{ID: m.userID(), conn: m.conn, member: m} }

// userID returns the ID of a member here or on another node.
func (m *member) userID() string {
	if m.conn == nil {
		return m.remote.id
	}
	return m.conn.id
}

// identity returns the identity of a member here or on another node.
func (m *member) identity() string {
	if m.conn == nil {
		return m.remote.identity
	}
	return m.conn.identity
}

// join makes m a member. The acknowledgement is the first message of the channel that
// the client receives. The messages that it asked for follow; if they do not, join
// returns the reason.
func (m *member) join(request string, recovery *Recovery, limit int) (reason GapReason, err error) {
	err = m.channel.commit(func(tx *tx) error {
		if err := tx.add(m); err != nil {
			return err
		}
		if tx.ch.log != nil {
			reason = tx.admit(m, request, recovery, limit)
			return nil
		}
		tx.send(m, tx.acknowledgement(m, request), false)
		tx.seat(m)
		return nil
	})
	return reason, err
}

// acknowledge answers a member that asks to join again, and changes nothing.
func (m *member) acknowledge(request string) error {
	return m.commit(func(tx *tx) error {
		tx.send(m, tx.acknowledgement(m, request), false)
		return nil
	})
}

// acknowledgement encodes the answer to a join. It contains the current position of the
// channel.
func (tx *tx) acknowledgement(m *member, request string) *transport.Frame {
	log := tx.ch.log
	if log == nil {
		return newFrame(wire.System, wire.Acknowledge, m.channel.name, request, m.acknowledged(nil))
	}
	var position []byte
	if m.recovers {
		position = appendPosition(nil, log.position())
	}
	return tx.numberedNotice(wire.Acknowledge, request, m.acknowledged(position), log.top)
}

// acknowledged returns the payload of the answer to a join: an object with a field for
// each extension in use. recovery contains the fields of the recovery extension, if the
// client asked for it.
func (m *member) acknowledged(recovery []byte) []byte {
	body := []byte{'{'}
	if recovery != nil {
		body = append(append(append(body, `"recover":{`...), recovery...), '}')
	}
	if m.diffs {
		if recovery != nil {
			body = append(body, ',')
		}
		body = append(body, `"diff":true`...)
	}
	return append(body, '}')
}

// leave ends the membership. The acknowledgement, if there is one, is the last
// message of the channel that the client receives. The tracked members are notified,
// except during a shutdown, when all of them leave.
func (m *member) leave(ack *transport.Frame, reason LeaveReason) error {
	return m.commit(func(tx *tx) error {
		tracked := tx.remove(m, reason, "")
		if ack != nil {
			tx.send(m, ack, false)
		}
		if tracked && reason != LeaveShutdown {
			tx.notifyUntracked(m)
		}
		return nil
	})
}

// evict implements [Channel.Evict].
func (m *member) evict(reason string) error {
	ch := m.channel
	quoted := string(wire.AppendString(nil, reason))
	notice := func(event, body string) *transport.Frame {
		return ch.notice(wire.System, event, []byte(body))
	}
	kickedOut := notice(wire.KickedOut, `{"message":`+quoted+`,"code":403,"reason":`+quoted+`}`)
	evicted := notice(wire.Evicted, `{"reason":`+quoted+`}`)
	kicked := notice(wire.Kicked, `{"userId":"`+m.conn.id+`","reason":`+quoted+`}`)
	relayed := ch.link.notice(wire.Kicked, `{"userId":"`+m.conn.id+`","reason":`+quoted+`}`)
	err := m.commit(func(tx *tx) error {
		tracked := tx.remove(m, LeaveEvicted, reason)
		tx.send(m, kickedOut, false)
		tx.send(m, evicted, false)
		tx.broadcast(kicked, false, allMembers)
		tx.relay(relayed)
		if tracked {
			tx.notifyUntracked(m)
		}
		return nil
	})
	if err == nil {
		m.conn.inbox.start()
	}
	return err
}

// reply sends an event to the member alone. Replies pass through handlers for
// outgoing events as broadcasts do.
func (m *member) reply(event, request string, payload any) error {
	body, err := wire.View(payload)
	if err != nil {
		return err
	}
	d := m.channel.draft(wire.System, event, request, body)
	f := d.frame()
	err = m.commit(func(tx *tx) error {
		if !m.conn.tr.HasRoom(f) {
			return ErrOverloaded
		}
		tx.send(m, f, d.handled())
		return nil
	})
	if err == nil {
		m.channel.sent(event, 1)
	}
	return err
}

// assign sets an assign.
func (m *member) assign(key string, value any) error {
	var shared json.RawMessage // nil if it cannot be encoded: then it stays on this node
	if m.channel.link != nil {
		shared, _ = wire.Value(value)
	}
	return m.commit(func(tx *tx) error {
		m.assigns = assign(m.assigns, key, value)
		if m.channel.link != nil {
			m.shared = share(m.shared, key, shared)
			tx.tellAssigns(m)
		}
		return nil
	})
}

// share returns shared assigns with a key set, or removed if the value is nil.
func share(shared map[string]json.RawMessage, key string, value json.RawMessage) map[string]json.RawMessage {
	changed := make(map[string]json.RawMessage, len(shared)+1)
	maps.Copy(changed, shared)
	if value == nil {
		delete(changed, key)
	} else {
		changed[key] = value
	}
	return changed
}

// A departure is the end of a membership.
type departure struct {
	member *member
	reason LeaveReason
	detail string
}

// exit moves an ended membership from members to departed. It is called with the
// channel's lock held.
func (c *conn) exit(m *member, reason LeaveReason, detail string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members[m.channel.name] == m {
		delete(c.members, m.channel.name)
	}
	c.departed = append(c.departed, departure{m, reason, detail})
	c.departing.Add(1)
	if c.departure != nil {
		close(c.departure)
		c.departure = nil
	}
}

// leaveAll ends all memberships for one reason, and runs their leave handlers.
func (c *conn) leaveAll(reason LeaveReason) {
	c.mu.Lock()
	members := slices.Collect(maps.Values(c.members))
	c.mu.Unlock()
	c.depart()
	for _, m := range members {
		if m.leave(nil, reason) == nil {
			c.depart()
		}
	}
	c.depart()
}

// depart runs the leave handlers of all ended memberships, at the end of a connection.
// Before that, the inbox runs them one at a time, each before the next message, so that
// a client leaves before it joins again.
func (c *conn) depart() {
	for c.departing.Load() > 0 {
		c.leaveNext()
	}
}

// leaveNext runs the leave handler of the first ended membership, if there is one.
func (c *conn) leaveNext() {
	c.mu.Lock()
	if len(c.departed) == 0 {
		c.mu.Unlock()
		return
	}
	d := c.departed[0]
	if c.departed = c.departed[1:]; len(c.departed) == 0 {
		c.departed = nil // so that it does not keep the members in memory
	}
	c.departing.Add(-1)
	c.mu.Unlock()

	ch := d.member.channel
	defer c.endpoint.registry.release(ch)
	if f := c.endpoint.pond.cfg.observer.Left; f != nil {
		defer c.endpoint.pond.observe("Left", func() { f(ch, d.member.user(), d.reason) })
	}
	defer c.finish(d) // even if the leave handler ends its goroutine
	if h := ch.lobby.leave.Load(); h != nil {
		c.callLeave(h, d)
	}
}

// callLeave runs a handler for the end of a membership.
func (c *conn) callLeave(h *registered[*LeaveContext], d departure) {
	ctx := &LeaveContext{stdContext: context.WithoutCancel(c), member: d.member, reason: d.reason, detail: d.detail}
	h.call(ctx, func(f *failure) {
		if f.hidden() {
			c.logFailure(f, d.member.channel, "")
		}
	})
}

// endReason returns why memberships end, or why a client that was counted as a member did
// not become one.
func (c *conn) endReason() LeaveReason {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.ended:
		return LeaveChannelClosed
	case errors.Is(c.cause, ErrSlowClient):
		return LeaveSlow
	}
	return LeaveDisconnected
}

// shutdownReason returns why memberships end during a shutdown. A client that the
// application disconnects at the same time leaves for that reason.
func (c *conn) shutdownReason() LeaveReason {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expelled {
		return LeaveDisconnected
	}
	return LeaveShutdown
}

// An occupancy counts the members of a channel, for [Lobby.OnFirstJoin] and
// [Lobby.OnLastLeave]. A client counts from the time before it becomes a member until
// its leave handler returned and the grace of its identity ended. When a channel is closed, the next one with its name
// shares the occupancy until the leave handlers of the closed one returned.
type occupancy struct {
	closed int // closed channels that still have references; guarded by registry.mu

	mu      sync.Mutex // guards the following fields
	channel *Channel   // the one that has members, or whose handler runs; nil if there is none
	members int
	busy    bool          // a handler for the first join or the last leave runs
	changed chan struct{} // closed when channel or busy changes; nil while no goroutine waits
}

// enter counts a client as a member of ch. It waits while a handler for the first join or
// the last leave runs. If the client is the first member and h is not nil, the caller must
// run h and then call entered. enter returns [ErrClosed] if ch was closed or the connection
// ended.
func (o *occupancy) enter(ch *Channel, c *conn) (h *registered[*JoinContext], err error) {
	for {
		h, wait, err := o.tryEnter(ch)
		if wait == nil {
			return h, err
		}
		select {
		case <-wait:
		case <-c.Done():
			return nil, ErrClosed
		}
	}
}

// tryEnter is enter, but returns a channel to wait for instead of waiting.
func (o *occupancy) tryEnter(ch *Channel) (h *registered[*JoinContext], wait <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case ch.lobby.hasEdges() && ch.lobby.endpoint.registry.isGone(ch):
		return nil, nil, ErrClosed // the next channel with this name may have members
	case o.busy, o.channel != nil && o.channel != ch:
		return nil, o.waitLocked(), nil
	case o.channel == ch:
		o.members++
		return nil, nil, nil
	}
	o.channel = ch
	ch.state.Store(nil) // code that stored the *Channel may have set it after the last member left
	h = ch.lobby.firstJoin.Load()
	if h == nil {
		o.members = 1
		return nil, nil, nil
	}
	o.busy = true
	return h, nil, nil
}

// entered ends the call of a handler for first joins.
func (o *occupancy) entered(ch *Channel, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy = false
	if ok {
		o.members = 1
		o.wakeLocked()
	} else {
		o.vacateLocked(ch)
	}
}

// leave removes a client from the count. If it was the last one and h is not nil, the
// caller must run h and then call vacate. leave need not wait: no client is counted
// while another handler runs.
func (o *occupancy) leave(ch *Channel) (h *registered[*LeaveContext]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.members--; o.members > 0 {
		return nil
	}
	h = ch.lobby.lastLeave.Load()
	if h == nil {
		o.vacateLocked(ch)
	} else {
		o.busy = true
	}
	return h
}

// vacate ends the call of a handler for last leaves.
func (o *occupancy) vacate(ch *Channel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy = false
	o.vacateLocked(ch)
}

// vacateLocked notes that ch has no members.
func (o *occupancy) vacateLocked(ch *Channel) {
	ch.state.Store(nil)
	o.channel = nil
	o.wakeLocked()
}

// predecessor returns nil unless an earlier channel with the name of ch has members or
// runs a handler. Then it returns a channel that is closed when that may have changed.
func (o *occupancy) predecessor(ch *Channel) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.channel == nil || o.channel == ch {
		return nil
	}
	return o.waitLocked()
}

func (o *occupancy) waitLocked() <-chan struct{} {
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

func (o *occupancy) wakeLocked() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// vacate removes a member whose leave handler returned, or a client that did not become
// a member, from the count. If it was the last one, vacate runs the handler for last
// leaves.
func (c *conn) vacate(d departure) {
	ch := d.member.channel
	if h := ch.occupancy.leave(ch); h != nil {
		defer ch.occupancy.vacate(ch)
		c.callLeave(h, d)
	}
}

// awaitPredecessor waits until no closed channel with the name of ch has members whose
// leave handlers did not return. It returns false immediately if a membership of c
// itself ends, because then the leave handler of c must run first: another client may
// wait for it. So waiting later, in the join handler, could cause a deadlock.
func (c *conn) awaitPredecessor(ch *Channel) bool {
	for {
		changed := ch.occupancy.predecessor(ch)
		if changed == nil {
			return true
		}
		departure := c.nextDeparture()
		if departure == nil {
			return false
		}
		select {
		case <-changed:
		case <-departure:
		case <-c.Done():
			return true // Accept will fail
		}
	}
}

// nextDeparture returns a channel that is closed when a membership of c ends, or nil if
// one already ended.
func (c *conn) nextDeparture() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.departed) > 0 {
		return nil
	}
	if c.departure == nil {
		c.departure = make(chan struct{})
	}
	return c.departure
}
