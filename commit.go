package pond

import (
	"errors"
	"slices"
	"strings"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A tx is one commit to a channel. Everything that it changes and queues gets one
// position in the channel's order. A tx is valid only inside the function that
// [Channel.commit] runs.
type tx struct {
	ch   *Channel
	work transport.Work // must be done after the lock is released

	collecting bool             // changes of presence are not reported yet; see collect
	notices    []presenceNotice // of these changes
}

// commit runs f under the channel's lock, and then sends what f queued. Only commit
// acquires the lock to change what members can observe or to send, so the order of commits is the
// order in which members see events. f must not wait, encode a payload of the application or call user
// code. commit returns [ErrClosed] if the channel was closed, and f's error otherwise.
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

// send sends a frame to one member, in the channel's order. If handled is set, the
// frame passes through the lobby's handler for outgoing events first.
func (tx *tx) send(m *member, f *transport.Frame, handled bool) {
	if m.feeding != nil {
		tx.hold(m, f, handled)
		return
	}
	tx.queue(m, f, handled)
}

// queue queues a frame for one member after all frames that were queued for it.
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

// publish gives a message a number, keeps it, and sends it to all members except the
// named ones. It returns the number of recipients.
func (tx *tx) publish(d *draft, to Audience, offset uint64, at int64) int {
	ch := tx.ch
	named := ch.pickLocked(to)
	before := ch.log.top
	f := ch.log.publish(d, to.names(), offset, at)
	tx.touch()
	tx.sendSeated(f, d.handled(), named) // members that are feeding read it from the log
	for _, seat := range named {
		if m := seat.Owner.(*member); m.feeding == nil {
			tx.hide(m, before, offset)
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
	m.began = tx.ch.lobby.endpoint.pond.node.clock()
	tx.ch.members[m.conn.id] = m
	tx.ch.people.add(m)
	tx.tellJoined(m)
	if tx.ch.keys != nil {
		m.conn.tr.KeepLatest(tx.ch.lobby.cfg.slow.timeout)
	}
	tx.touch()
	return nil
}

// seat gives a member its seat: from now on, it receives broadcasts, and presence in
// the form that it requested.
func (tx *tx) seat(m *member) {
	tx.ch.group.Add(&m.seat)
	if m.diffs {
		tx.follow(m)
	} else if m.tracked != nil {
		tx.ch.roster.group.Add(m.tracked)
	}
}

// remove ends a membership and reports whether the member was tracked. The caller
// notifies the tracked members with notifyUntracked and, after the commit, has the leave
// handler run with [conn.depart] or [inbox.start].
func (tx *tx) remove(m *member, reason LeaveReason, detail string) (tracked bool) {
	m.left = true
	delete(tx.ch.members, m.conn.id)
	tx.ch.people.remove(m)
	if m.person != nil && tx.ch.lobby.cfg.grace > 0 && m.conn.mayReturn(reason) {
		tx.ch.leaving.add(m)
	}
	if tx.ch.keys != nil {
		m.conn.tr.KeepAll()
	}
	tracked = tx.untrack(m, tx.linger(m, reason))
	if m.follower != nil {
		tx.unfollow(m)
	}
	if m.feeding != nil {
		tx.stopFeeding(m)
	} else {
		tx.ch.group.Remove(&m.seat)
	}
	m.conn.exit(m, reason, detail)
	tx.tellLeft(m, reason)
	tx.touch()
	return tracked
}

// touch records that the history of the channel was used.
func (tx *tx) touch() {
	if tx.ch.log != nil {
		tx.ch.used.Store(now())
	}
}

var emptyObject = []byte("{}")

// A message is one message from the server to clients.
type message struct {
	action  wire.Action
	event   string
	channel string
	request string
	body    []byte // a JSON object; nil is the empty object
}

// A draft is an encoded message without a number. The number, if there is one, is
// appended when the message is committed: it is the last field of the document, so
// only a few bytes are written under the channel's lock.
type draft struct {
	event string
	buf   []byte // Headroom, followed by the document
	key   string // of the messages that replace each other; empty if none do
	keys  *transport.KeySpace
	meta  *outgoing // nil unless a handler for outgoing events must see it
}

// encode encodes the message, with capacity for spare more bytes.
func (m *message) encode(spare int) draft {
	size := transport.Headroom + wire.HeadSize + len(m.action) + len(m.event) + len(m.channel) + len(m.request) + len(m.body) + spare
	buf := make([]byte, transport.Headroom, size)
	return draft{event: m.event, buf: wire.AppendMessage(buf, m.action, m.event, m.channel, m.request, m.body)}
}

// size returns what the message costs a history in bytes, without its number.
func (d *draft) size() int { return len(d.buf) - transport.Headroom + entryCost }

// payload returns the payload in the encoded message.
func (d *draft) payload(size int) []byte {
	end := len(d.buf) - 1
	return d.buf[end-size : end : end]
}

// number returns the frame of a message with a number.
func (d *draft) number(epoch string, offset uint64) *transport.Frame {
	d.buf = wire.AppendOffset(d.buf, offset)
	f := d.frame()
	f.Number(epoch, offset)
	return f
}

// frame returns the frame of a message without a number.
func (d *draft) frame() *transport.Frame {
	f := transport.NewFrame(d.event, d.buf)
	if d.meta != nil {
		f.Meta = d.meta
	}
	if d.key != "" {
		f.SetKey(d.keys, d.key)
	}
	return f
}

// newFrame encodes a message without a number.
func newFrame(action wire.Action, event, channel, request string, body []byte) *transport.Frame {
	d := (&message{action, event, channel, request, body}).encode(0)
	return d.frame()
}

// draft encodes a message of the application. If the lobby has a handler for outgoing
// events of this name, the draft's frame passes through it.
func (ch *Channel) draft(action wire.Action, event, request string, body []byte) draft {
	spare := 0
	if ch.log != nil {
		spare = wire.OffsetSize
		event = strings.Clone(event) // a copy: the log keeps it longer than the message of the client, which it is a part of
	}
	d := (&message{action, event, ch.name, request, body}).encode(spare)
	if h, params := ch.lobby.outgoing.match(event); h != nil {
		d.meta = &outgoing{
			handler: h, action: action, event: event, request: request, params: params,
			payload: d.payload(max(len(body), len(emptyObject))),
		}
	}
	if ch.keys != nil && action == wire.Broadcast {
		d.keys, d.key = ch.keys, ch.key(event, d.payload(max(len(body), len(emptyObject))))
	}
	return d
}

// handled reports whether the message must pass through a handler for outgoing events.
func (d *draft) handled() bool { return d.meta != nil }

// notice encodes a message of the server itself about the channel.
func (ch *Channel) notice(action wire.Action, event string, body []byte) *transport.Frame {
	return newFrame(action, event, ch.name, newRequestID(), body)
}
