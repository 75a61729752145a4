package pond

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A Channel is one live channel. Its methods are safe for concurrent use, inside
// handlers and outside. Those that send queue and never wait; what they send has
// been encoded when they return.
//
// All members see a channel's events in one order: the order in which they were
// committed under the channel's lock. The lock is never held while a handler
// runs, a payload is encoded or a socket is written.
type Channel struct {
	// Static after construction.
	lobby  *Lobby
	name   string
	params pattern.Params

	held int // joins under way and members; guarded by endpoint.mu

	mu      sync.Mutex // guards the following fields, and those of the members
	members map[string]*member
	group   transport.Group // all members
	roster  roster          // the tracked ones
	closed  bool
}

// A member is one membership of a user in a channel.
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

func newChannel(l *Lobby, name string, params pattern.Params) *Channel {
	ch := &Channel{lobby: l, name: name, params: params, members: map[string]*member{}}
	ch.group.Init(l.endpoint.hub)
	ch.roster.channel = ch
	return ch
}

// Name returns the name that clients use, such as "/chat/42".
func (ch *Channel) Name() string { return ch.name }

// Lobby returns the lobby whose pattern the name matches. Unlike names, which
// clients choose, there are few of them: they make good labels for metrics.
func (ch *Channel) Lobby() *Lobby { return ch.lobby }

// Param returns a parameter of the name: "42" for "room_id" in "/chat/:room_id".
// It is empty if there is none of that name.
func (ch *Channel) Param(name string) string { return ch.params.Get(name) }

// Len returns the number of members.
func (ch *Channel) Len() int {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return len(ch.members)
}

// User returns a member.
func (ch *Channel) User(id string) (User, bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	m := ch.members[id]
	if m == nil {
		return User{}, false
	}
	return m.user(), true
}

// Users returns the members, sorted by ID. It is a snapshot.
func (ch *Channel) Users() iter.Seq[User] {
	ch.mu.Lock()
	users := make([]User, 0, len(ch.members))
	for _, m := range ch.members {
		users = append(users, m.user())
	}
	ch.mu.Unlock()
	slices.SortFunc(users, func(a, b User) int { return strings.Compare(a.ID, b.ID) })
	return slices.Values(users)
}

func (m *member) user() User { return User{ID: m.conn.id, conn: m.conn, member: m} }

// An Audience is a part of a channel's members. It is resolved when something is
// sent to it.
type Audience struct {
	channel *Channel
	ids     []string
	except  bool
	request *string // the ID of the message that is answered, which may be empty; nil if none is
	err     error   // why there is no audience
}

// To returns the members with these IDs. Others are ignored.
func (ch *Channel) To(ids ...string) Audience { return Audience{channel: ch, ids: ids} }

// Except returns all members but those with these IDs.
func (ch *Channel) Except(ids ...string) Audience {
	return Audience{channel: ch, ids: ids, except: true}
}

// Broadcast sends an event to the audience. The payload is a JSON object: a
// struct, a map, a [json.RawMessage] that holds one, or nil for the empty
// object. The error is [ErrClosed], [ErrOverloaded], [ErrNotAccepted], or says
// that the payload is no object.
func (a Audience) Broadcast(event string, payload any) error {
	if a.err != nil {
		return a.err
	}
	if a.request != nil {
		return a.channel.send(event, *a.request, payload, a)
	}
	return a.channel.send(event, newRequestID(), payload, a)
}

// Broadcast sends an event to all members; see [Audience.Broadcast].
func (ch *Channel) Broadcast(event string, payload any) error {
	return ch.Except().Broadcast(event, payload)
}

// send encodes once and commits for all of an audience.
func (ch *Channel) send(event, request string, payload any, to Audience) error {
	body, err := wire.View(payload)
	if err != nil {
		return err
	}
	if ch.lobby.endpoint.hub.Overloaded() {
		return ErrOverloaded
	}
	f, handled := ch.frame(wire.Broadcast, event, request, body)
	var w transport.Work
	ch.mu.Lock()
	if ch.closed {
		ch.mu.Unlock()
		return ErrClosed
	}
	n := ch.commit(&w, f, handled, to)
	ch.mu.Unlock()
	w.Do()
	ch.sent(event, n)
	return nil
}

// commit queues f for an audience and returns how many members that are.
func (ch *Channel) commit(w *transport.Work, f *transport.Frame, handled bool, to Audience) int {
	named := ch.pick(to.ids)
	switch {
	case !to.except:
		ch.group.Send(w, f, handled, named)
		return len(named)
	case len(named) > maxExcept:
		others := ch.others(named)
		ch.group.Send(w, f, handled, others)
		return len(others)
	default:
		ch.group.Broadcast(w, f, handled, named...)
		return len(ch.members) - len(named)
	}
}

// maxExcept is from how many exceptions on it is better to name the others.
const maxExcept = 16

// pick returns the seats of the members with these IDs, each once.
func (ch *Channel) pick(ids []string) []*transport.Seat {
	if len(ids) == 0 {
		return nil
	}
	seats := make([]*transport.Seat, 0, len(ids))
	for _, id := range ids {
		if m := ch.members[id]; m != nil && !m.picked {
			m.picked = true
			seats = append(seats, &m.seat)
		}
	}
	for _, id := range ids {
		if m := ch.members[id]; m != nil {
			m.picked = false
		}
	}
	return seats
}

// others returns the seats of all members but these.
func (ch *Channel) others(seats []*transport.Seat) []*transport.Seat {
	except := make(map[*transport.Seat]bool, len(seats))
	for _, seat := range seats {
		except[seat] = true
	}
	var others []*transport.Seat
	for _, m := range ch.members {
		if !except[&m.seat] {
			others = append(others, &m.seat)
		}
	}
	return others
}

// frame makes the frame of a message, and reports whether it has to pass through
// a handler for outgoing events.
func (ch *Channel) frame(action wire.Action, event, request string, body []byte) (f *transport.Frame, handled bool) {
	f = newFrame(action, event, ch.name, request, body)
	if h, params := ch.lobby.outgoing.match(event); h != nil {
		f.Meta = &outgoing{
			handler: h, action: action, event: event, request: request, params: params,
			payload: bytes.Clone(body), // which may be the caller's
		}
		handled = true
	}
	return f, handled
}

// newFrame encodes one message to clients.
func newFrame(action wire.Action, event, channel, request string, body []byte) *transport.Frame {
	size := transport.Headroom + 80 + len(action) + len(event) + len(channel) + len(request) + len(body)
	buf := make([]byte, transport.Headroom, size)
	return transport.NewFrame(event, wire.AppendMessage(buf, action, event, channel, request, body))
}

// Assign sets private state of a member: handlers see it, clients never do. It
// returns [ErrNotMember] if there is no such member.
func (ch *Channel) Assign(id, key string, value any) error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	m := ch.members[id]
	if m == nil {
		return ErrNotMember
	}
	m.assigns = assign(m.assigns, key, value)
	return nil
}

// Evict removes a member and tells it and the others why (rule S-28). Its
// connection stays open. It returns [ErrNotMember] if there is no such member.
func (ch *Channel) Evict(id, reason string) error {
	var w transport.Work
	ch.mu.Lock()
	m := ch.members[id]
	if m == nil {
		ch.mu.Unlock()
		return ErrNotMember
	}
	quoted := string(wire.AppendString(nil, reason))
	system := func(event, body string) *transport.Frame {
		return newFrame(wire.System, event, ch.name, newRequestID(), []byte(body))
	}
	m.conn.tr.Queue(&w, system(wire.KickedOut, `{"message":`+quoted+`,"code":403,"reason":`+quoted+`}`), nil)
	m.conn.tr.Queue(&w, system(wire.Evicted, `{"reason":`+quoted+`}`), nil)
	ch.removeLocked(m)
	ch.group.Broadcast(&w, system(wire.Kicked, `{"userId":"`+id+`","reason":`+quoted+`}`), false)
	ch.roster.leave(&w, m)
	ch.mu.Unlock()
	w.Do()
	m.conn.inbox.push(&task{kind: taskLeft, member: m, reason: LeaveEvicted, detail: reason})
	return nil
}

// Close ends the channel: its members are told so with reason, or with a default
// text, and leave with [LeaveChannelClosed] (rule S-29). Their connections stay
// open. A client that joins the same name again finds a new channel.
func (ch *Channel) Close(reason string) {
	if reason == "" {
		reason = "Channel has been destroyed"
	}
	body := append(wire.AppendString([]byte(`{"message":`), reason), '}')
	var w transport.Work
	ch.mu.Lock()
	ch.closed = true
	members := make([]*member, 0, len(ch.members))
	ch.group.Broadcast(&w, newFrame(wire.ErrorAction, wire.Destroyed, ch.name, newRequestID(), body), false)
	for _, m := range ch.members {
		members = append(members, m)
		ch.removeLocked(m)
	}
	ch.roster = roster{channel: ch, version: ch.roster.version} // frames that wait know the version
	ch.mu.Unlock()
	ch.lobby.endpoint.forget(ch)
	w.Do()
	for _, m := range members {
		m.conn.inbox.push(&task{kind: taskLeft, member: m, reason: LeaveChannelClosed, detail: reason})
	}
}

// join makes m a member: the acknowledgement is the first that it gets of the
// channel (rule S-31).
func (ch *Channel) join(m *member, request string) error {
	ack := newFrame(wire.System, wire.Acknowledge, ch.name, request, emptyObject)
	var w transport.Work
	ch.mu.Lock()
	if ch.closed || !m.conn.enter(m) {
		ch.mu.Unlock()
		return ErrClosed
	}
	ch.members[m.conn.id] = m
	m.conn.tr.Queue(&w, ack, nil)
	ch.group.Add(&m.seat)
	ch.mu.Unlock()
	w.Do()
	return nil
}

// acknowledge answers a member that asks to join again: nothing else changes
// (rule S-17). It reports false if m is no member any more.
func (ch *Channel) acknowledge(m *member, request string) bool {
	ack := newFrame(wire.System, wire.Acknowledge, ch.name, request, emptyObject)
	var w transport.Work
	ch.mu.Lock()
	if m.left {
		ch.mu.Unlock()
		return false
	}
	m.conn.tr.Queue(&w, ack, nil)
	ch.mu.Unlock()
	w.Do()
	return true
}

// leave ends a membership, unless something else has, and reports whether it
// did. The acknowledgement, if any, is the last that the client gets of the
// channel; the others learn of its presence (rule S-26).
func (ch *Channel) leave(m *member, ack *transport.Frame, silent bool) bool {
	var w transport.Work
	ch.mu.Lock()
	if m.left {
		ch.mu.Unlock()
		return false
	}
	ch.removeLocked(m)
	if ack != nil {
		m.conn.tr.Queue(&w, ack, nil)
	}
	if silent {
		ch.roster.remove(m)
	} else {
		ch.roster.leave(&w, m)
	}
	ch.mu.Unlock()
	w.Do()
	return true
}

// removeLocked takes m out of the channel, but not off its roster.
func (ch *Channel) removeLocked(m *member) {
	m.left = true
	delete(ch.members, m.conn.id)
	ch.group.Remove(&m.seat)
	m.conn.exit(m)
}

// whisper sends something to one member alone, if it still is one. Replies pass
// through handlers for outgoing events like broadcasts do (rule S-19).
func (ch *Channel) whisper(m *member, event, request string, payload any) error {
	body, err := wire.View(payload)
	if err != nil {
		return err
	}
	f, handled := ch.frame(wire.System, event, request, body)
	var seat *transport.Seat
	if handled {
		seat = &m.seat
	}
	var w transport.Work
	ch.mu.Lock()
	if m.left {
		ch.mu.Unlock()
		return ErrNotMember
	}
	m.conn.tr.Queue(&w, f, seat)
	ch.mu.Unlock()
	w.Do()
	ch.sent(event, 1)
	return nil
}

func (ch *Channel) sent(event string, recipients int) {
	if f := ch.lobby.endpoint.pond.cfg.observer.Sent; f != nil {
		f(ch, event, recipients)
	}
}

// tooLarge is the answer to what is over a limit in bytes.
func tooLarge(what string) error {
	return refuse(http.StatusRequestEntityTooLarge, what+" is too large")
}
