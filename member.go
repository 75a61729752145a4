package pond

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

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
	recovers bool           // the client asked for recovery
	diffs    bool           // the client asked for presence as differences

	blocked int // numbered messages in a row that a handler blocked; owned by the connection's writer

	// Guarded by channel.mu.
	assigns  map[string]any // replaced, never changed
	presence json.RawMessage
	tracked  *transport.Seat // in the roster's group, unless diffs is set; nil unless tracked
	follower *follower       // nil unless the member gets differences
	feeding  *catchUp        // nil if the member is seated
	hidden   int             // numbered messages in a row that were hidden from the member,
	hiddenTo uint64          // up to this one
	left     bool
	place    int  // in channel.people
	picked   bool // while an audience is resolved
}

func (m *member) user() User { return User{ID: m.conn.id, conn: m.conn, member: m} }

// join makes m a member. The acknowledgement is the first message of the channel
// that the client receives; the messages that it asks for follow. The reason says
// why they do not, if they do not.
func (m *member) join(request string, recovery *Recovery, limit int) (reason string, err error) {
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

// acknowledge answers a member that asks to join again. Nothing else changes.
func (m *member) acknowledge(request string) error {
	return m.commit(func(tx *tx) error {
		tx.send(m, tx.acknowledgement(m, request), false)
		return nil
	})
}

// acknowledgement encodes the answer to a join. It has the position that the
// channel is at.
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

// acknowledged returns the payload of the answer to a join: a member for each
// extension in force. recovery has the members of the one for recovery, if the client
// asked for it.
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

// evict does what [Channel.Evict] describes.
func (m *member) evict(reason string) error {
	ch := m.channel
	quoted := string(wire.AppendString(nil, reason))
	notice := func(event, body string) *transport.Frame {
		return ch.notice(wire.System, event, []byte(body))
	}
	kickedOut := notice(wire.KickedOut, `{"message":`+quoted+`,"code":403,"reason":`+quoted+`}`)
	evicted := notice(wire.Evicted, `{"reason":`+quoted+`}`)
	kicked := notice(wire.Kicked, `{"userId":"`+m.conn.id+`","reason":`+quoted+`}`)
	err := m.commit(func(tx *tx) error {
		tracked := tx.remove(m, LeaveEvicted, reason)
		tx.send(m, kickedOut, false)
		tx.send(m, evicted, false)
		tx.broadcast(kicked, false, allMembers)
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
	return m.commit(func(*tx) error {
		m.assigns = assign(m.assigns, key, value)
		return nil
	})
}

// A departure is the end of a membership.
type departure struct {
	member *member
	reason LeaveReason
	detail string
}

// exit moves a membership that ended from members to departed. It is called with the
// channel's lock held.
func (c *conn) exit(m *member, reason LeaveReason, detail string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members[m.channel.name] == m {
		delete(c.members, m.channel.name)
	}
	c.departed = append(c.departed, departure{m, reason, detail})
	c.departing.Add(1)
}

// leaveAll ends all memberships for one reason, and runs the leave handlers of all
// that ended.
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

// depart runs the leave handlers of the memberships that ended. It is called by the
// goroutine that runs the inbox, which also runs them before every message: a client
// that joins again has left before.
func (c *conn) depart() {
	for c.departing.Load() > 0 {
		c.leaveNext()
	}
}

// leaveNext runs the leave handler of the first membership that ended, if there is one.
func (c *conn) leaveNext() {
	c.mu.Lock()
	if len(c.departed) == 0 {
		c.mu.Unlock()
		return
	}
	d := c.departed[0]
	if c.departed = c.departed[1:]; len(c.departed) == 0 {
		c.departed = nil // or it would keep the members in memory
	}
	c.departing.Add(-1)
	c.mu.Unlock()

	ch := d.member.channel
	defer c.endpoint.registry.release(ch)
	if f := c.endpoint.pond.cfg.observer.Left; f != nil {
		defer c.endpoint.pond.observe("Left", func() { f(ch, d.member.user(), d.reason) })
	}
	if h := ch.lobby.leave.Load(); h != nil {
		ctx := &LeaveContext{stdContext: context.WithoutCancel(c), member: d.member, reason: d.reason, detail: d.detail}
		h.call(ctx, func(f *failure) {
			if f.hidden() {
				c.logFailure(f, ch, "")
			}
		})
	}
}
