package pond

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/wire"
)

// A link connects a channel to the same channel on other nodes. It is attached once its
// topic is subscribed to, before the first join handler runs, and is detached when the
// channel ends.
type link struct {
	// Static after construction.
	node     *node
	ch       *Channel
	name     string // of the topic
	endpoint string // as messages have it, like channel
	channel  string

	attached atomic.Bool

	mu     sync.Mutex // guards the following fields
	change *attempt   // a call of attach in progress
	topic  *topic     // nil unless it is attached
	ended  bool

	due atomic.Int64 // when the members here are announced again, or 0

	// Guarded by node.mu.
	queued, unanswered bool      // in syncs and unanswered of the node
	wanted             time.Time // when the state was last to be requested

	remote remoteMembers // guarded by the channel's mu

	log *remoteLog // nil unless the broker keeps the history of the channel
}

func newLink(n *node, ch *Channel) *link {
	endpoint := clusterwire.EndpointName(ch.lobby.endpoint.Path())
	l := &link{node: n, ch: ch, endpoint: endpoint, channel: ch.name, name: clusterwire.Topic(endpoint, ch.name)}
	if n.log != nil && ch.log != nil {
		l.log = &remoteLog{link: l, keep: ch.log.limits.retention()}
	}
	return l
}

// attach subscribes to the topic of a channel. Concurrent joins share the attempt,
// unless the client leaves whose goroutine makes it. It returns when ctx or the node
// ends, and after [attachTimeout].
func (l *link) attach(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, attachTimeout, errAttachTimeout)
	defer cancel()
	l.node.start()
	stop := context.AfterFunc(l.node.joins, cancel)
	defer stop()
	for {
		l.mu.Lock()
		change := l.change
		switch {
		case l.ended:
			l.mu.Unlock()
			return ErrClosed
		case l.attached.Load():
			l.mu.Unlock()
			return nil
		case change == nil:
			change = newAttempt()
			l.change = change
			l.mu.Unlock()
			return l.lead(ctx, change)
		}
		l.mu.Unlock()
		if !change.wait(ctx) {
			return context.Cause(ctx)
		}
		if change.err != nil {
			return change.err
		}
	}
}

// errAttachTimeout is the error of an attempt to attach a channel that took too long.
var errAttachTimeout = errors.New("pond: the broker did not confirm a subscription in time")

// lead makes an attempt to attach the channel.
func (l *link) lead(ctx context.Context, change *attempt) error {
	t, err := l.open(ctx)
	if err == nil {
		l.requestState()
		if l.ch.lobby.hasEdges() {
			l.awaitStates()
		}
	}
	l.mu.Lock()
	l.change = nil
	ended := l.ended
	if err == nil && !ended {
		l.topic = t
		l.attached.Store(true)
	}
	l.mu.Unlock()
	if err == nil && ended {
		l.node.unsubscribe(t, l)
		err = ErrClosed
	}
	if context.Cause(ctx) == context.Canceled { //nolint:errorlint // the cause itself
		change.finish(nil) // this client left: the next one tries
	} else {
		change.finish(err)
	}
	return err
}

// stateWait is how long a join waits for the members on other nodes if it matters whether
// there are some. Nodes answer within maxAnswerDelay. Those without members do not answer,
// so it is not known when all did.
const stateWait = 2 * maxAnswerDelay

// awaitStates waits for the answers to the request for the state.
func (l *link) awaitStates() {
	wait := time.NewTimer(stateWait)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-l.node.joins.Done():
	}
}

func (l *link) open(ctx context.Context) (*topic, error) {
	n := l.node
	if n.attaching.Add(1) > attachLimit {
		n.attaching.Add(-1)
		l.ch.lobby.endpoint.limited(LimitAttaching)
		return nil, ErrOverloaded
	}
	defer n.attaching.Add(-1)
	t, err := n.subscribe(ctx, l.name, l)
	if err != nil || l.log == nil {
		return t, err
	}
	if err := l.log.load(ctx, t); err != nil {
		n.unsubscribe(t, l)
		return nil, err
	}
	return t, nil
}

// detach ends the subscription of a channel that ended. The channel's lock must not be
// held.
func (l *link) detach() {
	if l == nil {
		return
	}
	l.mu.Lock()
	t := l.topic
	l.topic, l.ended = nil, true
	l.mu.Unlock()
	if t != nil {
		l.node.unsubscribe(t, l)
	}
}

// attach makes sure that messages of other nodes reach the channel before a client
// joins it. stale reports that the node cannot determine whether it has all messages
// that the client has.
func (c *conn) attach(ch *Channel, from *wire.From) (stale bool, err *Error) {
	l := ch.link
	if l == nil {
		return false, nil
	}
	if !l.attached.Load() {
		if err := l.attach(c.standard()); err != nil {
			return false, unavailableError(err)
		}
	}
	if l.log == nil || from == nil || from.Epoch == "" {
		return false, nil
	}
	return !l.log.reach(c.standard(), Position{from.Epoch, from.Offset}), nil
}

// message returns a message about the channel, without the members of its type.
func (l *link) message(t clusterwire.Type) clusterwire.Message {
	return l.node.message(t, l.endpoint, l.channel)
}

// encode encodes a message for the broker.
func (l *link) encode(m *clusterwire.Message) (*cluster.Item, error) { return l.node.encode(m) }

// Limits of a page of a state; that of bytes is approximate.
const (
	statePageUsers = 500
	statePageBytes = 256 << 10

	stateOverhead = 4 << 10 // of a message, in addition to its users and identities
	userOverhead  = 64      // of a user in it, in addition to the data
)

// statePages are the messages of an announcement. They are queued a few at a time, because
// the queue to the broker is limited, and events of the channel wait behind them. The fields
// are guarded by the channel's mu.
type statePages struct {
	link    *link
	ids     []string // members that are not in a page yet
	started bool
	done    bool     // the last page is queued, or a page was lost
	queued  int      // pages that the broker does not have yet, except the last one
	large   []string // members that were announced without assigns, for the first time
}

// next returns the next page.
func (p *statePages) next(tx *tx) clusterwire.Message {
	l := p.link
	m := l.message(clusterwire.StateResponse)
	if !p.started {
		m.Ext.Part = clusterwire.FirstPart
		p.started = true
	}
	limit := l.node.maxBytes() - stateOverhead
	size := 0
	for ; len(p.ids) > 0 && len(m.Users) < statePageUsers && size < statePageBytes; p.ids = p.ids[1:] {
		member := tx.ch.members[p.ids[0]]
		if member == nil {
			continue
		}
		u := member.state()
		if userSize(&u) > limit {
			u.Assigns = clusterwire.EncodeAssigns(nil, member.hiddenState())
			if userSize(&u) > limit {
				u.Assigns, u.Presence = clusterwire.EncodeAssigns(nil, clusterwire.Hidden{Identity: member.conn.identity}), nil
			}
			if !member.large {
				member.large = true
				p.large = append(p.large, u.ID)
			}
		}
		if size += userSize(&u); size > limit && len(m.Users) > 0 {
			return m
		}
		m.Users = append(m.Users, u)
	}
	graces := l.remote.people.graces()
	if len(p.ids) > 0 || size+len(graces) > limit && len(m.Users) > 0 {
		return m
	}
	p.done = true
	m.Ext.Part |= clusterwire.LastPart
	m.Ext.Identities = graces
	if len(tx.ch.members) > 0 {
		l.due.Store(l.node.nextAnnouncement())
	}
	return m
}

func userSize(u *clusterwire.User) int {
	return len(u.ID) + len(u.Assigns) + len(u.Presence) + userOverhead
}

// errNoEvent is the error for an event without a name, which crashes other
// implementations.
var errNoEvent = refuse(http.StatusBadRequest, "an event needs a name in a cluster")

// outgoing encodes an event for the members on other nodes. It returns nil if none of
// them can be in the audience. The caller must not hold the channel's lock.
func (l *link) outgoing(event, request string, body []byte, to Audience) (*cluster.Item, error) {
	if event == "" {
		return nil, errNoEvent
	}
	m := l.message(clusterwire.UserMessage)
	m.Event, m.RequestID, m.Payload, m.From = event, request, body, clusterwire.FromChannel
	if to.sender != nil {
		m.From = to.sender.conn.id
	}
	if m.RequestID == "" {
		m.RequestID = newRequestID()
	}
	if !l.address(&m, to) {
		return nil, nil //nolint:nilnil // nothing to send
	}
	it, err := l.encode(&m)
	if err != nil {
		return nil, err
	}
	it.Event = true
	if l.stores(to) {
		it.Log, it.Done = l.log.keep, to.storedOrAnswered(l.channel, request)
	} else {
		it.Done = to.stored
	}
	return it, nil
}

// notice encodes a notice of the server itself for the members on other nodes. It returns
// nil without a broker.
func (l *link) notice(event, body string) *cluster.Item {
	if l == nil {
		return nil
	}
	m := l.message(clusterwire.UserMessage)
	m.Event, m.RequestID, m.Payload, m.From = event, newRequestID(), []byte(body), clusterwire.FromChannel
	m.Recipients.To, m.Ext.Action = clusterwire.AllUsers, string(wire.System)
	it, err := l.encode(&m)
	if err != nil {
		l.node.gaveUp(l.name, 0, err)
		return nil
	}
	return it
}

// address sets the recipients of a message. It returns false if all of them are on this
// node.
func (l *link) address(m *clusterwire.Message, to Audience) bool {
	names := to.names()
	if !l.stores(to) { // or a reader of the log may have been one of them
		names = l.elsewhere(names)
	}
	switch {
	case !to.except && len(to.identities) > 0:
		m.Ext.Identities = stringArray(to.identities)
		m.Recipients = clusterwire.Recipients{To: clusterwire.Listed, IDs: append(names, clusterwire.Nobody)}
	case !to.except:
		m.Recipients = clusterwire.Recipients{To: clusterwire.Listed, IDs: names}
		return len(names) > 0
	case to.member != nil:
		m.Recipients.To = clusterwire.AllExceptSender
		m.From = to.member.conn.id
	case len(names) == 0:
		m.Recipients.To = clusterwire.AllUsers
	case len(names) == 1:
		m.Recipients.To = clusterwire.AllExceptSender
		m.From = names[0]
	default:
		m.Ext.Except = stringArray(names)
		m.Recipients = clusterwire.Recipients{To: clusterwire.Listed, IDs: []string{clusterwire.Nobody}}
	}
	return true
}

// elsewhere returns the IDs that do not belong to members on this node.
func (l *link) elsewhere(ids []string) []string {
	if len(ids) == 0 {
		return nil
	}
	l.ch.mu.Lock()
	defer l.ch.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return l.ch.members[id] != nil })
}

// relay sends a message to the other nodes, in the order of commits. It does nothing if
// the message is nil.
func (tx *tx) relay(it *cluster.Item) {
	if it == nil {
		return
	}
	l := tx.ch.link
	if err := l.node.push(l.name, *it); err != nil {
		events := 0
		if it.Event {
			events = 1
		}
		l.node.gaveUp(l.name, events, err)
		if it.Done != nil {
			it.Done(err)
		}
	}
}

// receive handles a message of another node.
func (l *link) receive(t *topic, e Entry) {
	if l.log != nil && e.Pos != (Position{}) {
		l.log.receive(e)
		return
	}
	if clusterwire.IsFrom(e.Data, l.node.id) {
		return // the members on this node have it
	}
	m, err := clusterwire.Decode(e.Data, l.endpoint, l.ch.name, clusterwire.DefaultLimits)
	if err != nil || m.Source == l.node.id || !l.node.saw(&m) {
		return
	}
	ok, missed := t.isNew(&m)
	if !ok {
		return
	}
	if missed != (cluster.Span{}) {
		l.node.misses.Add(m.Source, l.name, missed)
		l.ch.lobby.endpoint.control.lost()
	}
	switch {
	case m.Type != clusterwire.UserMessage:
		l.apply(&m)
	case m.Ext.Action == memberAction:
		l.changeMember(&m)
	case !m.IsNotice():
		l.deliver(&m)
	}
}

// gap recovers from lost messages.
func (l *link) gap(error) {
	_ = l.ch.commit(func(*tx) error { // a closed channel has no members
		l.remote.states = nil
		l.remote.expected = time.Time{}
		return nil
	})
	if l.log != nil {
		_ = l.log.catchUp() // or later
	}
	l.node.sync(l)
	l.ch.lobby.endpoint.control.lost()
}

// deliver sends a message of another node to the members on this node.
func (l *link) deliver(m *clusterwire.Message) {
	ch := l.ch
	endpoint := ch.lobby.endpoint
	endpoint.hub.Pace()
	to, ok := ch.audience(m)
	if !ok {
		return
	}
	if m.RequestID == "" {
		m.RequestID = newRequestID()
	}
	if m.Ext.Action == string(wire.System) {
		f := newFrame(wire.System, m.Event, ch.name, m.RequestID, m.Payload)
		_ = ch.commit(func(tx *tx) error { // a closed channel has no members
			tx.broadcast(f, false, to)
			return nil
		})
		return
	}
	d := ch.draft(wire.Broadcast, m.Event, m.RequestID, m.Payload)
	if ch.log != nil && l.log == nil && to.except {
		endpoint.makeHistoryRoom(d.size())
		_ = ch.commit(func(tx *tx) error {
			tx.publish(&d, to, ch.log.top+1, now())
			return nil
		})
		return
	}
	f := d.frame()
	_ = ch.commit(func(tx *tx) error {
		tx.broadcast(f, d.handled(), to)
		return nil
	})
}

// audience returns the members on this node that must receive a message of another
// node.
func (ch *Channel) audience(m *clusterwire.Message) (to Audience, ok bool) {
	if m.Ext.Except != "" {
		ids, err := clusterwire.Strings(m.Ext.Except)
		return ch.Except(ids...), err == nil
	}
	switch m.Recipients.To {
	case clusterwire.AllUsers:
		return ch.Except(), true
	case clusterwire.AllExceptSender:
		return ch.Except(m.From), true
	}
	to = ch.To(m.Recipients.IDs...)
	if m.Ext.Identities != "" {
		identities, err := clusterwire.Strings(m.Ext.Identities)
		if err != nil {
			return to, false
		}
		to.identities = identities
	}
	return to, true
}

// unavailableError is the answer to a join that failed because of the broker.
func unavailableError(err error) *Error {
	return &Error{
		Code: http.StatusServiceUnavailable, Err: err,
		Message: "the channel is not available, because the server has no connection to the cluster",
	}
}
