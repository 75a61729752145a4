package pondclient

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/wire"
)

// receive handles one message from the server.
func (c *Client) receive(n *connection, data []byte) {
	f := &frame{Payload: json.RawMessage("{}")} // unless there is one
	err := json.Unmarshal(data, f)
	c.mu.Lock()
	defer c.unlock()
	switch {
	case n.ctx.Err() != nil || c.closed:
	case err != nil || f.Action == "":
		c.warnLocked("the server sent an invalid message", slog.Any("error", err))
		if c.conn == n {
			c.invalidLocked(f.Channel)
		}
	case c.conn == n:
		c.frameLocked(n, f)
	case c.attempt == n && f.Action == wire.Connect && f.Event == wire.Connection:
		c.welcomeLocked(n, f)
	}
}

// invalidLocked reports a message that could not be decoded to its channel, or to all
// channels if the name of the channel could not be decoded either.
func (c *Client) invalidLocked(channel string) {
	for _, m := range c.channels {
		if m.phase == member && (channel == "" || channel == m.name) {
			m.deliver(&Gap{Reason: GapInvalid, Position: m.position})
		}
	}
}

// welcomeLocked handles the first message of a connection, and joins all channels.
func (c *Client) welcomeLocked(n *connection, f *frame) {
	var p struct {
		ID           string   `json:"id"`
		ConnectionID string   `json:"connectionId"`
		Features     []string `json:"features"`
	}
	f.bind(&p)
	n.userID, n.secret, n.features = p.ID, p.ConnectionID, p.Features
	n.pond = f.Channel == wire.Endpoint
	if n.userID == "" {
		n.userID = p.ConnectionID
	}
	c.conn, c.attempt, c.failure = n, nil, nil
	for _, m := range c.membershipsLocked() {
		c.joinLocked(m)
	}
	c.changedLocked()
	close(n.welcomed)
}

func (c *Client) frameLocked(n *connection, f *frame) {
	if c.cfg.legacy {
		c.identifyLocked(f)
	}
	if o := c.requests[f.RequestID]; o != nil && c.answersLocked(o, f) && f.Action != wire.Broadcast {
		return
	}
	m := c.channels[f.Channel]
	if m == nil && f.isError() {
		m = c.joiningLocked(f.RequestID)
	}
	switch {
	case f.Action == wire.System && f.Event == wire.ExitAcknowledge:
		c.leftLocked(n, f)
	case f.Action == wire.System && f.Event == reconnectEvent && f.Channel == wire.Endpoint:
		n.advise(f)
	case m == nil && f.isError():
		c.strayErrorLocked(f)
	case m == nil:
		// It belongs to a channel that was left.
	case f.Action == wire.System && f.Event == wire.Acknowledge:
		c.acceptedLocked(m, f)
	case f.isError() && slices.Contains(m.ids, f.RequestID):
		c.refusedLocked(m, f.RequestID, serverError(f.Event, f.Payload))
	case m.phase == joining:
		m.hold(f)
	case m.phase == member:
		c.memberFrameLocked(m, f)
	}
}

// joiningLocked returns the membership whose unanswered join has this ID, or nil.
func (c *Client) joiningLocked(id string) *membership {
	if !strings.HasPrefix(id, c.prefix) {
		return nil
	}
	for _, m := range c.channels {
		if slices.Contains(m.ids, id) {
			return m
		}
	}
	return nil
}

// identifyLocked sets the ID of a message of an old server to that of the join that it
// answers, if it answers one.
func (c *Client) identifyLocked(f *frame) {
	m := c.channels[f.Channel]
	if m == nil && f.Action == wire.ErrorAction { // of the endpoint: the text contains the name
		text := serverError(f.Event, f.Payload).Message
		for _, other := range c.channels {
			if other.phase == joining && strings.Contains(text, other.name) {
				m = other
				f.Channel = m.name
			}
		}
	}
	answer := f.isError() || f.Action == wire.System && f.Event == wire.Acknowledge
	if m != nil && m.phase == joining && len(m.ids) > 0 && answer {
		f.RequestID = m.ids[0]
	}
}

// advise stores the delay before a reconnect that the server advises.
func (n *connection) advise(f *frame) {
	var p struct {
		After float64 `json:"after"`
	}
	f.bind(&p)
	if p.After > 0 {
		n.advice = time.Duration(min(p.After, float64(maxAdvice.Milliseconds()))) * time.Millisecond
		n.advised = time.Now()
	}
}

// hold keeps a frame that arrives before the answer to a join.
func (m *membership) hold(f *frame) {
	if m.stale || removes(f, m) {
		return // of the earlier membership
	}
	n := overhead + len(f.Payload)
	if len(m.held) >= m.cfg.maxEvents || m.heldSize+n > m.cfg.maxBytes && len(m.held) > 0 {
		m.heldLost++
		return
	}
	m.heldSize += n
	m.held = append(m.held, f)
}

// memberFrameLocked handles a frame of a channel that the client is in.
func (c *Client) memberFrameLocked(m *membership, f *frame) {
	if removes(f, m) {
		c.removedLocked(m, f)
		return
	}
	switch f.Action {
	case wire.Broadcast:
		c.broadcastLocked(m, f)
	case wire.System:
		switch {
		case m.noticeLocked(f):
		case f.isError():
			c.failureLocked(m, f)
		default:
			m.deliver(&Message{Event: f.Event, Payload: f.Payload, RequestID: f.RequestID, Direct: true})
		}
	case wire.Presence:
		if m.cfg.presence && !m.hasDiff {
			m.roster.frame(f.Event, f.Payload, m.presenceChanged)
		}
	case wire.ErrorAction:
		c.failureLocked(m, f)
	}
}

// failureLocked reports an error from the server that does not answer a request.
func (c *Client) failureLocked(m *membership, f *frame) {
	_, event := c.originLocked(f.RequestID)
	m.deliver(&Failure{Event: event, RequestID: f.RequestID, Err: serverError(f.Event, f.Payload)})
}

// strayErrorLocked handles an error that does not name a channel of this client.
// Servers send some errors this way.
func (c *Client) strayErrorLocked(f *frame) {
	err := serverError(f.Event, f.Payload)
	m, event := c.originLocked(f.RequestID)
	if m == nil || m.phase == over {
		c.warnLocked("the server reported an error", slog.Any("error", err))
		return
	}
	m.deliver(&Failure{Event: event, RequestID: f.RequestID, Err: err})
}

// broadcastLocked delivers a message of the channel. In a channel with a history, its
// offset must follow that of the last one.
func (c *Client) broadcastLocked(m *membership, f *frame) {
	msg := &Message{Event: f.Event, Payload: f.Payload, RequestID: f.RequestID}
	if f.Offset != nil && m.position.Epoch != "" {
		if *f.Offset <= m.position.Offset {
			m.disorderLocked(slog.Uint64("offset", *f.Offset))
			return
		}
		m.position.Offset = *f.Offset
		msg.Position = m.position
		msg.Replayed = *f.Offset <= m.replayTo
	}
	m.deliver(msg)
}

// noticeLocked handles the events of the extensions in a channel. It returns false for
// other events.
func (m *membership) noticeLocked(f *frame) bool {
	if m.hasDiff && (f.Event == stateEvent || f.Event == diffEvent) {
		m.presenceNotice(f)
		return true
	}
	if m.position.Epoch == "" {
		return false
	}
	var p struct {
		Epoch  string    `json:"epoch"`
		Offset uint64    `json:"offset"`
		Reason GapReason `json:"reason"`
	}
	switch f.Event {
	case recoveredEvent, gapEvent, positionEvent:
		f.bind(&p)
	default:
		return false
	}
	follows := p.Epoch == m.position.Epoch && p.Offset >= m.position.Offset
	switch {
	case f.Event == gapEvent && (follows || p.Epoch != m.position.Epoch && p.Epoch != ""):
		m.position = pond.Position{Epoch: p.Epoch, Offset: p.Offset}
		m.report = false // the rejoin did not recover everything
		m.deliver(&Gap{Reason: p.Reason, Position: m.position})
	case !follows:
		m.disorderLocked(slog.String("event", f.Event), slog.String("payload", string(f.Payload[:min(len(f.Payload), maxReason)])))
	default:
		m.position.Offset = p.Offset
		if f.Event == recoveredEvent && m.report {
			m.report = false
			m.deliver(&Recovered{m.position})
		}
	}
	return true
}

// disorderLocked reports that a server sent contradictory positions, and joins again.
func (m *membership) disorderLocked(attrs ...slog.Attr) {
	m.client.warnLocked("the server sent a message out of order", append(attrs,
		slog.String("channel", m.name), slog.Uint64("position", m.position.Offset))...)
	m.deliver(&Gap{Reason: GapDisorder, Position: m.position})
	m.client.rejoinLocked(m)
}

func (m *membership) presenceNotice(f *frame) {
	if f.Event == stateEvent {
		var p rosterState
		f.bind(&p)
		m.roster.page(p, m.presenceChanged)
		return
	}
	var d rosterDiff
	f.bind(&d)
	if !m.roster.apply(d, m.presenceChanged) {
		m.client.rejoinLocked(m)
	}
}

// removes reports whether f means that the server removed the client from m.
func removes(f *frame, m *membership) bool {
	switch f.Action {
	case wire.ErrorAction:
		return f.Event == wire.Destroyed
	case wire.System:
		switch f.Event {
		case wire.KickedOut, wire.Evicted:
			return true
		case evicted:
			var p struct {
				UserID string `json:"userId"`
			}
			f.bind(&p)
			return p.UserID != "" && p.UserID == m.userID
		}
	}
	return false
}

func (c *Client) removedLocked(m *membership, f *frame) {
	var p struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}
	f.bind(&p)
	if p.Reason == "" {
		p.Reason = p.Message
	}
	err := &RemovedError{Channel: m.name, Closed: f.Event == wire.Destroyed, Reason: p.Reason}
	c.endLocked(m, err, err)
}

// answersLocked settles a request if f is its answer.
func (c *Client) answersLocked(o *outgoing, f *frame) bool {
	switch {
	case f.Action == wire.Presence || o.state == waiting || o.state == ready:
		return false
	case f.isError():
		c.failLocked(o, serverError(f.Event, f.Payload))
		return true
	case o.reply != "" && f.Event != o.reply:
		return false
	}
	o.answer <- response{message: &Message{
		Event: f.Event, Payload: f.Payload, RequestID: f.RequestID, Direct: f.Action == wire.System,
	}}
	delete(c.requests, o.id)
	o.state = settled
	return true
}
