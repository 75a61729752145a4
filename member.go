package pond

import (
	"encoding/json"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A member is one membership of a client in a channel. Its methods that change or
// send something return [ErrNotMember] once the membership ended.
type member struct {
	// Static after construction.
	conn    *conn
	channel *Channel
	seat    transport.Seat // in channel.group

	// Guarded by channel.mu.
	assigns  map[string]any // replaced, never changed
	presence json.RawMessage
	tracked  *transport.Seat // in the roster's group; nil unless tracked
	left     bool
	picked   bool // while an audience is resolved
}

func (m *member) user() User { return User{ID: m.conn.id, conn: m.conn, member: m} }

// join makes m a member. The acknowledgement is the first message of the channel
// that the client receives.
func (m *member) join(request string) error {
	ack := m.acknowledgement(request)
	return m.channel.commit(func(tx *tx) error {
		if err := tx.add(m); err != nil {
			return err
		}
		tx.send(m, ack, false)
		return nil
	})
}

// acknowledge answers a member that asks to join again. Nothing else changes.
func (m *member) acknowledge(request string) error {
	ack := m.acknowledgement(request)
	return m.commit(func(tx *tx) error {
		tx.send(m, ack, false)
		return nil
	})
}

func (m *member) acknowledgement(request string) *transport.Frame {
	return newFrame(wire.System, wire.Acknowledge, m.channel.name, request, emptyObject)
}

// leave ends the membership. The acknowledgement, if there is one, is the last
// message of the channel that the client receives. The tracked members are
// notified unless silent is set.
func (m *member) leave(ack *transport.Frame, silent bool) error {
	return m.commit(func(tx *tx) error {
		tx.remove(m)
		if ack != nil {
			tx.send(m, ack, false)
		}
		if silent {
			tx.untrack(m)
		} else {
			tx.leavePresence(m)
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
		tx.send(m, kickedOut, false)
		tx.send(m, evicted, false)
		tx.remove(m)
		tx.broadcast(kicked, false, everybody)
		tx.leavePresence(m)
		return nil
	})
	if err == nil {
		m.conn.inbox.push(&task{kind: taskLeft, member: m, reason: LeaveEvicted, detail: reason})
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
