package pond

import (
	"errors"
	"slices"

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

// send sends a frame to one member, in the frame's place in the channel's order. If
// handled, the lobby's handler for outgoing events sees it first.
func (tx *tx) send(m *member, f *transport.Frame, handled bool) {
	if m.feeding != nil {
		tx.hold(m, f, handled)
		return
	}
	tx.queue(m, f, handled)
}

// queue queues a frame for one member behind everything that was queued for it.
func (tx *tx) queue(m *member, f *transport.Frame, handled bool) {
	var seat *transport.Seat
	if handled {
		seat = &m.seat
	}
	m.conn.tr.Queue(&tx.work, f, seat)
}

// broadcast sends a frame to an audience and returns the number of its members.
func (tx *tx) broadcast(f *transport.Frame, handled bool, to Audience) int {
	ch := tx.ch
	named := ch.pickLocked(to)
	if !to.except {
		tx.sendAll(f, handled, named)
		return len(named)
	}
	for _, m := range ch.feeding {
		if !slices.Contains(named, &m.seat) {
			tx.hold(m, f, handled)
		}
	}
	tx.sendSeated(f, handled, named)
	return len(ch.members) - len(named)
}

// publish gives a message a number, keeps it, and sends it to all members but the
// named ones. It returns the number of members that it is for.
func (tx *tx) publish(d *draft, to Audience) int {
	ch := tx.ch
	named := ch.pickLocked(to)
	f := ch.log.publish(d, to.names())
	tx.touch()
	tx.sendSeated(f, d.handled(), named) // members that are feeding read it from the log
	for _, seat := range named {
		if m := seat.Owner.(*member); m.feeding == nil {
			tx.hide(m, ch.log.top)
		}
	}
	return len(ch.members) - len(named)
}

// sendAll sends a frame to the members with these seats.
func (tx *tx) sendAll(f *transport.Frame, handled bool, seats []*transport.Seat) {
	if len(tx.ch.feeding) > 0 {
		seats = slices.DeleteFunc(seats, func(seat *transport.Seat) bool {
			m := seat.Owner.(*member)
			if m.feeding != nil {
				tx.hold(m, f, handled)
			}
			return m.feeding != nil
		})
	}
	tx.ch.group.Send(&tx.work, f, handled, seats)
}

// sendSeated sends a frame to the members that have a seat, but not to these.
func (tx *tx) sendSeated(f *transport.Frame, handled bool, except []*transport.Seat) {
	if len(except) > maxExcept {
		tx.ch.group.Send(&tx.work, f, handled, tx.ch.othersLocked(except))
		return
	}
	tx.ch.group.Broadcast(&tx.work, f, handled, except...)
}

// maxExcept is the largest number of exceptions for which a broadcast lists the
// exceptions; above it, listing the other members is cheaper.
const maxExcept = 16

// add makes m a member without a seat. It returns [ErrClosed] if m's connection
// ended.
func (tx *tx) add(m *member) error {
	if !m.conn.enter(m) {
		return ErrClosed
	}
	tx.ch.members[m.conn.id] = m
	tx.touch()
	return nil
}

// seat gives a member its seat: it receives broadcasts from now on.
func (tx *tx) seat(m *member) {
	tx.ch.group.Add(&m.seat)
	if m.tracked != nil {
		tx.ch.roster.group.Add(m.tracked)
	}
}

// remove ends a membership and reports whether the member was tracked. The caller
// notifies the tracked members with notifyUntracked.
func (tx *tx) remove(m *member) (tracked bool) {
	m.left = true
	delete(tx.ch.members, m.conn.id)
	tracked = tx.untrack(m)
	if m.feeding != nil {
		tx.stopFeeding(m)
	} else {
		tx.ch.group.Remove(&m.seat)
	}
	m.conn.exit(m)
	tx.touch()
	return tracked
}

// touch notes that the history of the channel is in use.
func (tx *tx) touch() {
	if tx.ch.log != nil {
		tx.ch.used.Store(now())
	}
}
