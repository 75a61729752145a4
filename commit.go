package pond

import (
	"errors"

	"github.com/pondsocket/pond/internal/transport"
)

// A tx is one commit to a channel. Everything that it changes and queues gets one
// position in the channel's order. A tx is valid only inside the function that
// [Channel.commit] runs.
type tx struct {
	ch   *Channel
	work transport.Work // what the queued frames leave to be done without the lock
}

// commit runs f under the channel's lock, and then sends what f queued. It is the
// only place that takes the lock to change the channel or to send something, so
// the order of commits is the order in which members see events. f must not wait,
// encode a payload or call user code. commit returns [ErrClosed] if the channel
// was closed, and f's error otherwise.
func (ch *Channel) commit(f func(tx *tx) error) error {
	ch.mu.Lock()
	if ch.closed {
		ch.mu.Unlock()
		return ErrClosed
	}
	err := f(&ch.tx)
	work := ch.tx.work
	ch.tx.work = transport.Work{}
	ch.mu.Unlock()
	work.Do()
	return err
}

// commit is [Channel.commit] for a change that requires the membership. It
// returns [ErrNotMember] if the member left.
func (m *member) commit(f func(tx *tx) error) error {
	err := m.channel.commit(func(tx *tx) error {
		if m.left {
			return ErrNotMember
		}
		return f(tx)
	})
	if errors.Is(err, ErrClosed) {
		return ErrNotMember // a closed channel has no members
	}
	return err
}

// send queues f for one member. If handled, the lobby's handler for outgoing
// events sees it first.
func (tx *tx) send(m *member, f *transport.Frame, handled bool) {
	var seat *transport.Seat
	if handled {
		seat = &m.seat
	}
	m.conn.tr.Queue(&tx.work, f, seat)
}

// broadcast queues f for an audience and returns the number of its members.
func (tx *tx) broadcast(f *transport.Frame, handled bool, to Audience) int {
	ch := tx.ch
	named := ch.pickLocked(to)
	switch {
	case !to.except:
		ch.group.Send(&tx.work, f, handled, named)
		return len(named)
	case len(named) > maxExcept:
		others := ch.othersLocked(named)
		ch.group.Send(&tx.work, f, handled, others)
		return len(others)
	default:
		ch.group.Broadcast(&tx.work, f, handled, named...)
		return len(ch.members) - len(named)
	}
}

// maxExcept is the largest number of exceptions for which a broadcast lists the
// exceptions; above it, listing the other members is cheaper.
const maxExcept = 16

// add makes m a member. It returns [ErrClosed] if m's connection ended.
func (tx *tx) add(m *member) error {
	if !m.conn.enter(m) {
		return ErrClosed
	}
	tx.ch.members[m.conn.id] = m
	tx.ch.group.Add(&m.seat)
	return nil
}

// remove ends a membership. It leaves m on the roster.
func (tx *tx) remove(m *member) {
	m.left = true
	delete(tx.ch.members, m.conn.id)
	tx.ch.group.Remove(&m.seat)
	m.conn.exit(m)
}
