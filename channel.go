package pond

import (
	"errors"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A Channel is one live channel. Its methods are safe for concurrent use, inside
// handlers and outside. Methods that send only queue the message. They never
// block, and the payload is already encoded when they return.
//
// All members see a channel's events in the same order: the order in which they
// were committed under the channel's lock. The lock is never held while a handler
// runs, a payload is encoded or a socket is written.
type Channel struct {
	// Static after construction.
	lobby  *Lobby
	name   string
	params pattern.Params
	link   *link               // nil without a broker
	began  time.Duration       // on the clock of the node; zero without a broker
	keys   *transport.KeySpace // nil unless the lobby has KeepLatest

	// Guarded by registry.mu.
	refs      int // joins and calls of Publish in progress, members, and identities in their grace
	stage     channelStage
	expiry    int64 // when the channel ends, if it lingers
	idleUntil int64 // earliest end of the channel, if it lingers for its subscription
	index     int   // in registry.lingering

	occupancy *occupancy          // static
	state     atomic.Pointer[any] // see SetState

	persons persons // identities with members

	used atomic.Int64 // time of the last kept message, join or leave, or 0

	mu      sync.Mutex // guards the following fields, and those of the members; see commit
	members map[string]*member
	people  identityIndex[*member]
	leaving identityIndex[*member] // who left and may return, until its leave handler returned
	group   transport.Group        // all members
	roster  roster                 // the tracked ones
	diffs   differ                 // for the members that get presence as differences
	log     *messageLog            // nil if the lobby has no history
	feeding []*member              // members that are catching up
	closed  bool
	tx      tx // the current commit; a field so that a commit does not allocate
}

func newChannel(l *Lobby, name string, params pattern.Params, o *occupancy) *Channel {
	ch := &Channel{lobby: l, name: name, params: params, occupancy: o, members: map[string]*member{}}
	ch.group.Init(l.endpoint.hub)
	ch.roster.init(ch)
	ch.tx.ch = ch
	ch.keys = ch.newKeySpace()
	if h := l.cfg.history; h != nil {
		ch.log = &messageLog{limits: h, budget: &l.endpoint.history, epoch: newEpoch()}
	}
	if n := l.endpoint.pond.node; n != nil {
		ch.link, ch.began = newLink(n, ch), n.clock()
	}
	return ch
}

// Name returns the name that clients use, such as "/chat/42".
func (ch *Channel) Name() string { return ch.name }

// Lobby returns the lobby whose pattern matches the name. Clients choose the names
// of channels, but there are few lobbies: their patterns make good labels for
// metrics.
func (ch *Channel) Lobby() *Lobby { return ch.lobby }

// Param returns a parameter of the name: "42" for "room_id" in "/chat/:room_id".
// It is empty if the pattern has no parameter of that name.
func (ch *Channel) Param(name string) string { return ch.params.Get(name) }

// paramBehind returns the parameter of an event, or of the channel if the event does
// not have one of that name.
func (ch *Channel) paramBehind(event pattern.Params, name string) string {
	if value, ok := event.Lookup(name); ok {
		return value
	}
	return ch.Param(name)
}

// SetState stores a value of your program in the channel, usually a pointer to the
// state of the room. Create it in [Lobby.OnFirstJoin]. SetState replaces the previous
// value. Clients never receive it. Handlers of different clients run concurrently, so
// guard the state with a mutex. The channel drops the value when it has no members any
// more, after [Lobby.OnLastLeave]. In a cluster, each node has its own value.
func (ch *Channel) SetState(state any) { ch.state.Store(&state) }

// State returns the value that was set with SetState, or nil.
func (ch *Channel) State() any {
	if state := ch.state.Load(); state != nil {
		return *state
	}
	return nil
}

// Len returns the number of members, on all nodes of a cluster as far as they are known.
func (ch *Channel) Len() int {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.link != nil {
		return len(ch.members) + len(ch.link.remote.shown)
	}
	return len(ch.members)
}

// lenHere returns the number of members that are connected to this node.
func (ch *Channel) lenHere() int {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return len(ch.members)
}

// User returns a member. In a cluster it may be connected to another node.
func (ch *Channel) User(id string) (User, bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	m := ch.userLocked(id)
	if m == nil {
		return User{}, false
	}
	return m.user(), true
}

// Users returns the members, sorted by ID, on all nodes of a cluster as far as they are
// known. It is a snapshot.
func (ch *Channel) Users() iter.Seq[User] {
	ch.mu.Lock()
	users := make([]User, 0, len(ch.members))
	for _, m := range ch.members {
		users = append(users, m.user())
	}
	if ch.link != nil {
		for _, m := range ch.link.remote.shown {
			users = append(users, m.user())
		}
	}
	ch.mu.Unlock()
	slices.SortFunc(users, func(a, b User) int { return strings.Compare(a.ID, b.ID) })
	return slices.Values(users)
}

// member returns the member with this ID, or [ErrNotMember].
func (ch *Channel) member(id string) (*member, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	m := ch.members[id]
	if m == nil {
		return nil, ErrNotMember
	}
	return m, nil
}

// send sends an event to an audience.
func (ch *Channel) send(event, request string, payload any, to Audience) error {
	body, err := wire.View(payload)
	if err != nil {
		return err
	}
	if ch.lobby.endpoint.hub.Overloaded() {
		return ErrOverloaded
	}
	var relayed *cluster.Item
	if ch.link != nil {
		if relayed, err = ch.link.outgoing(event, request, body, to); err != nil {
			return err
		}
	}
	d := ch.draft(wire.Broadcast, event, request, body)
	recipients := 0
	if relayed != nil && relayed.Log != nil { // all nodes send it when it is in the log, this one included
		err = ch.commit(func(tx *tx) error {
			recipients = len(ch.members) - len(ch.pickLocked(to))
			return ch.link.node.push(ch.link.name, *relayed)
		})
	} else if ch.log != nil && to.except {
		ch.lobby.endpoint.makeHistoryRoom(d.size())
		err = ch.commit(func(tx *tx) error {
			recipients = tx.publish(&d, to, ch.log.top+1, now())
			tx.relay(relayed)
			return nil
		})
	} else {
		f := d.frame()
		err = ch.commit(func(tx *tx) error {
			recipients = tx.broadcast(f, d.handled(), to)
			tx.relay(relayed)
			return nil
		})
	}
	if err == nil {
		ch.sent(event, recipients)
	}
	return err
}

func (ch *Channel) sent(event string, recipients int) {
	if f := ch.lobby.endpoint.pond.cfg.observer.Sent; f != nil {
		ch.lobby.endpoint.pond.observe("Sent", func() { f(ch, event, recipients) })
	}
}

// Assign sets an assign of a member. Handlers can read assigns; clients never receive
// them. It returns [ErrNotMember] if the channel has no such member.
//
// If the member is connected to another node of a cluster, Assign returns when that node is
// asked to set the assign. All nodes have the value soon after that: what encoding/json
// decodes it to. Assign returns an error if the value cannot be encoded, or if the node is a
// server of another PondSocket implementation.
func (ch *Channel) Assign(id, key string, value any) error {
	m, err := ch.member(id)
	if err == nil {
		return m.assign(key, value)
	}
	if ch.link == nil {
		return err
	}
	encoded, err := wire.Value(value)
	if err != nil {
		return err
	}
	return ch.link.requestChange(memberChange{Do: doAssign, User: id, Key: key, Value: encoded}, nil)
}

// Evict removes a member and sends the reason to it and to the remaining members.
// The connection of the member stays open. Evict returns [ErrNotMember] if the
// channel has no such member. If the member is connected to another node of a cluster,
// Evict returns when that node is asked to evict it; if the node has no connection to the
// broker, it receives the request when the connection is restored.
func (ch *Channel) Evict(id, reason string) error {
	m, err := ch.member(id)
	switch {
	case err == nil:
		return m.evict(reason)
	case ch.link != nil:
		return ch.link.evict(id, reason)
	}
	return err
}

// Close closes the channel. Its members receive reason, or a default text if
// reason is empty, and leave with [LeaveChannelClosed]. Their connections stay
// open. Joining the same name again creates a new channel. In a cluster, the channel is
// closed on all nodes; a node without a connection to the broker closes it when the
// connection is restored.
func (ch *Channel) Close(reason string) {
	if reason == "" {
		reason = "Channel has been destroyed"
	}
	it, request := ch.link.closing(reason)
	_ = ch.commit(func(tx *tx) error { // a closed channel stays closed
		if it != nil {
			tx.close(it, request)
		}
		return nil
	})
	ch.closeHere(reason)
}

// closeHere closes the channel on this node.
func (ch *Channel) closeHere(reason string) {
	body := append(wire.AppendString([]byte(`{"message":`), reason), '}')
	f := ch.notice(wire.ErrorAction, wire.Destroyed, body)
	// Do this first, so that a client that joins again immediately gets a new channel.
	ch.lobby.endpoint.registry.remove(ch)
	var members []*member
	_ = ch.commit(func(tx *tx) error { // a closed channel stays closed
		members = make([]*member, 0, len(ch.members))
		tx.sendSeated(f, false, nil)
		for _, m := range ch.feeding {
			tx.queue(m, f, false) // the rest of its replay is not sent
		}
		ch.roster.batching = true
		for _, m := range ch.members {
			members = append(members, m)
			tx.remove(m, LeaveChannelClosed, reason)
		}
		ch.roster.reset()
		tx.end()
		return nil
	})
	ch.link.detach()
	for _, m := range members {
		m.conn.inbox.start()
	}
	ch.endGraces()
}

// end closes a channel that nothing refers to any more.
func (ch *Channel) end() {
	_ = ch.commit(func(tx *tx) error { // a closed channel stays closed
		tx.end()
		return nil
	})
	ch.link.detach()
}

// end closes the channel and frees its history.
func (tx *tx) end() {
	tx.ch.closed = true
	if l := tx.ch.link; l != nil {
		l.remote = remoteMembers{people: remotePeople{ended: l.endPeople()}}
	}
	if log := tx.ch.log; log != nil {
		log.drop(len(log.kept()))
	}
}

// tooLarge is the error for something that exceeds a limit in bytes.
func tooLarge(what string) error {
	return refuse(http.StatusRequestEntityTooLarge, what+" is too large")
}

// An Audience is a part of a channel's members. Its members are determined when
// something is sent to it. Sending to the zero Audience is an error.
type Audience struct {
	channel *Channel
	ids     []string
	member  *member     // a member that is named besides ids; nil if there is none
	sender  *member     // whose message is handled; nil if there is none
	stored  func(error) // called when other nodes can get the message, or never will; may be nil

	identities []string // named besides ids

	except  bool    // all except the named ones
	request *string // the ID of the message that this answers, which may be empty; nil if it is not an answer
	err     error   // error of sending to the audience
}

// To returns the members with these IDs. Unknown IDs are ignored.
func (ch *Channel) To(ids ...string) Audience { return Audience{channel: ch, ids: ids} }

// Except returns all members except those with these IDs.
func (ch *Channel) Except(ids ...string) Audience {
	return Audience{channel: ch, ids: ids, except: true}
}

// others returns all members except m, as the audience of an answer to request.
func (m *member) others(request *string) Audience {
	return Audience{channel: m.channel, member: m, sender: m, except: true, request: request}
}

// Broadcast sends an event to the audience. The payload is a JSON object: a
// struct, a map, a [json.RawMessage] that holds one, or nil for the empty object.
// Broadcast returns [ErrClosed], [ErrOverloaded], [ErrNotAccepted], or an error
// that describes why the payload is not a JSON object.
func (a Audience) Broadcast(event string, payload any) error {
	switch {
	case a.err != nil:
		return a.err
	case a.channel == nil:
		return errNoAudience
	}
	if a.request != nil {
		return a.channel.send(event, *a.request, payload, a)
	}
	return a.channel.send(event, newRequestID(), payload, a)
}

// errNoAudience is the error for the zero Audience.
var errNoAudience = errors.New("pond: the zero Audience belongs to no channel")

// Broadcast sends an event to all members; see [Audience.Broadcast].
func (ch *Channel) Broadcast(event string, payload any) error {
	return ch.Except().Broadcast(event, payload)
}

// allMembers is the audience of all members.
var allMembers = Audience{except: true}

// all returns all members as the audience of a message that m sent.
func (m *member) all() Audience { return Audience{sender: m, except: true} }

// pickLocked returns the seats of the members that an audience names, each once.
func (ch *Channel) pickLocked(to Audience) []*transport.Seat {
	if to.member != nil {
		if to.member.left {
			return nil
		}
		return []*transport.Seat{&to.member.seat}
	}
	if len(to.ids)+len(to.identities) == 0 {
		return nil
	}
	seats := make([]*transport.Seat, 0, len(to.ids)+len(to.identities))
	pick := func(m *member) {
		if !m.picked {
			m.picked = true
			seats = append(seats, &m.seat)
		}
	}
	for _, id := range to.ids {
		if m := ch.members[id]; m != nil {
			pick(m)
		}
	}
	for _, identity := range to.identities {
		for _, m := range ch.people[identity] {
			pick(m)
		}
	}
	for _, seat := range seats {
		seat.Owner.(*member).picked = false
	}
	return seats
}

// names returns the IDs that the audience names.
func (a Audience) names() []string {
	if a.member != nil {
		return []string{a.member.conn.id}
	}
	return slices.Clone(a.ids)
}

// othersLocked returns the seats of all seated members except these.
func (ch *Channel) othersLocked(seats []*transport.Seat) []*transport.Seat {
	except := make(map[*transport.Seat]bool, len(seats))
	for _, seat := range seats {
		except[seat] = true
	}
	var others []*transport.Seat
	for _, m := range ch.members {
		if m.feeding == nil && !except[&m.seat] {
			others = append(others, &m.seat)
		}
	}
	return others
}
