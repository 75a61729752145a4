package pond

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
)

// evictFor evicts a user at the request of another node.
func (l *link) evictFor(m *clusterwire.Message) {
	until := l.node.until(m)
	switch m.Ext.Action {
	case closeAction:
		if l.ch.began <= until {
			l.ch.closeHere(m.Reason)
		}
		return
	case personAction:
		_ = l.ch.commit(func(tx *tx) error { // in a closed channel, nobody is left
			tx.personMessage(m)
			return nil
		})
		return
	case "":
	default:
		return
	}
	if m.Ext.Identities == "" {
		if member, err := l.ch.member(m.User); err == nil && member.began <= until {
			_ = member.evict(m.Reason) // it has just left
		}
		return
	}
	identities, _ := clusterwire.Strings(m.Ext.Identities) // none, if a node is broken
	for _, identity := range identities {
		l.ch.evictIdentityHere(identity, m.Reason, until)
	}
}

// closeAction is the action of the message that closes a channel.
const closeAction = "CLOSE"

// evictMessage returns a message that evicts a user on another node.
func (l *link) evictMessage(user, reason string) clusterwire.Message {
	m := l.message(clusterwire.EvictUser)
	m.User, m.Reason, m.Ext.Clock = user, reason, l.node.stamp()
	return m
}

// evict asks the node of a user to evict it. Other implementations may do so without a
// message to the other nodes, so evict sends that message too.
func (l *link) evict(id, reason string) error {
	m := l.evictMessage(id, reason)
	it, err := l.encode(&m)
	if err != nil {
		return err
	}
	it.Event = true // if it is lost, the Observer is notified
	var host string
	err = l.ch.commit(func(tx *tx) error {
		remote := l.remote.shown[id]
		if remote == nil {
			return ErrNotMember
		}
		host = remote.remote.node
		return l.pushRequest(it, cluster.Request{ID: m.ID, Clock: m.Ext.Clock, User: id, Reason: reason})
	})
	if err == nil && !l.node.nodes.Ours(host) {
		time.AfterFunc(probeTimeout, func() { l.evicted(host, id) })
	}
	return err
}

// evicted notifies the other nodes that a user was evicted, unless the node of the user
// did.
func (l *link) evicted(host, id string) {
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		if !l.remote.claims.Remove(host, id) {
			return nil
		}
		m := l.message(clusterwire.UserLeft)
		m.User = id
		tx.tell(&m, "")
		tx.showRemote(id)
		return nil
	})
}

// evictIdentity asks the other nodes to evict the users with an identity. It returns
// whether there are any, as far as this node knows.
func (l *link) evictIdentity(identity, reason string) (known bool, err error) {
	m := l.evictMessage(clusterwire.Nobody, reason)
	m.Ext.Identities = stringArray([]string{identity})
	it, err := l.encode(&m)
	if err != nil {
		return false, err
	}
	it.Event = true // if it is lost, the Observer is notified
	err = l.ch.commit(func(*tx) error {
		for _, m := range l.remote.shown {
			known = known || m.remote.identity == identity
		}
		known = known || len(l.remote.people.other[identity].nodes()) > 0
		return l.pushRequest(it, cluster.Request{ID: m.ID, Clock: m.Ext.Clock, Identity: identity, Reason: reason})
	})
	return known, err
}

// pushRequest queues a request, and remembers it.
func (l *link) pushRequest(it *cluster.Item, r cluster.Request) error {
	it.Done = l.ch.lobby.endpoint.control.givenUp
	if err := l.node.push(l.name, *it); err != nil {
		return err
	}
	l.remember(r)
	return nil
}

// remember stores a request for nodes that do not receive it.
func (l *link) remember(r cluster.Request) {
	r.Channel = l.channel
	l.ch.lobby.endpoint.control.sent.Add(r, time.Now())
}

// closing returns the message that closes the channel on other nodes, or nil.
func (l *link) closing(reason string) (it *cluster.Item, r cluster.Request) {
	if l == nil {
		return nil, r
	}
	m := l.evictMessage(clusterwire.Nobody, reason)
	m.Ext.Action = closeAction
	it, err := l.encode(&m)
	if err != nil {
		l.node.gaveUp(l.name, 1, err)
		return nil, r
	}
	it.Event = true // if it is lost, the Observer is notified
	it.Done = l.ch.lobby.endpoint.control.givenUp
	return it, cluster.Request{ID: m.ID, Clock: m.Ext.Clock, Action: closeAction, Reason: reason}
}

// callRemoteLeave runs a handler for a member of another node.
func (ch *Channel) callRemoteLeave(h *registered[*LeaveContext], d departure) {
	n := ch.link.node
	ctx := &LeaveContext{stdContext: context.WithoutCancel(n.run), member: d.member, reason: d.reason}
	h.call(ctx, func(f *failure) {
		if f.hidden() {
			f.log(ctx, n.pond, "pond: handler failed", slog.String("channel", ch.name), slog.String("user", d.member.remote.id))
		}
	})
}

// memberAction is the action of a request to the node of a member to change its assigns or
// its presence. Its payload is a [memberChange].
const memberAction = clusterwire.MemberAction

// A memberChange is a call of a method of Channel for a member on another node.
type memberChange struct {
	Do    string          `json:"do"` // one of these
	User  string          `json:"user"`
	Key   string          `json:"key,omitempty"`   // of an assign
	Value json.RawMessage `json:"value,omitempty"` // of an assign, or a presence
}

const (
	doAssign  = "assign"
	doTrack   = "track"
	doUpdate  = "update"
	doUpsert  = "upsert"
	doUntrack = "untrack"
)

// errForeign is the error for changes of users that are connected to other implementations,
// which do not accept such requests.
var errForeign = errors.New("pond: the member is connected to a server of another implementation, and only that server can change it")

// requestChange asks the node of a member to change it, unless check, which is called under the
// channel's lock, returns an error. It returns [ErrNotMember] if there is no such member on
// another node.
func (l *link) requestChange(r memberChange, check func(*member) error) error {
	if l == nil {
		return ErrNotMember
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return err
	}
	m := l.message(clusterwire.UserMessage)
	m.Event, m.RequestID, m.Payload, m.From = memberAction, newRequestID(), payload, clusterwire.FromChannel
	m.Recipients = clusterwire.Recipients{To: clusterwire.Listed, IDs: []string{clusterwire.Nobody}}
	m.Ext.Action = memberAction
	it, err := l.encode(&m)
	if err != nil {
		return err
	}
	it.Event = true // if it is lost, the Observer is notified
	err = l.ch.commit(func(*tx) error {
		remote := l.remote.shown[r.User]
		switch {
		case remote == nil:
			return ErrNotMember
		case !l.node.nodes.Ours(remote.remote.node):
			return errForeign
		}
		if check != nil {
			if err := check(remote); err != nil {
				return err
			}
		}
		return l.node.push(l.name, *it)
	})
	if errors.Is(err, ErrClosed) {
		return ErrNotMember // a closed channel has no members
	}
	return err
}

// requestPresence is requestChange for a change of presence.
func (l *link) requestPresence(do, id string, presence any, check func(*member) error) error {
	if l == nil {
		return ErrNotMember
	}
	value, err := l.ch.lobby.endpoint.presence(presence)
	if err != nil {
		return err
	}
	return l.requestChange(memberChange{Do: do, User: id, Value: value}, check)
}

// changeMember changes a member on this node at the request of another one. If that fails, the
// member changed or left in the meantime.
func (l *link) changeMember(m *clusterwire.Message) {
	var r memberChange
	_ = json.Unmarshal(m.Payload, &r) // without a member, if a node is broken
	member, err := l.ch.member(r.User)
	if err != nil {
		return
	}
	switch r.Do {
	case doAssign:
		err = member.assign(r.Key, decodeAssign(r.Value))
	case doTrack:
		err = member.track(r.Value)
	case doUpdate:
		err = member.update(r.Value)
	case doUpsert:
		err = member.setPresence(r.Value, nil)
	case doUntrack:
		err = member.untrack()
	}
	_ = err
}

// How fast a node requests the state of its channels after a loss: syncBatch channels
// in each syncPause. The first pause is random, because all nodes may do so at the same
// time.
const (
	syncBatch = 10
	syncPause = 200 * time.Millisecond
)

// sync schedules a link to request the state of other nodes, and to send its own.
func (n *node) sync(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.wanted = time.Now()
	if l.queued {
		return
	}
	l.queued = true
	n.syncs = append(n.syncs, l)
	if !n.syncing {
		n.syncing = true
		time.AfterFunc(rand.N(syncPause), n.syncNext) //nolint:gosec // it spreads requests
	}
}

func (n *node) syncNext() {
	n.mu.Lock()
	batch := n.syncs[:min(syncBatch, len(n.syncs))]
	wanted := make([]time.Time, len(batch))
	for i, l := range batch {
		l.queued = false
		wanted[i] = l.wanted
	}
	if n.syncs = n.syncs[len(batch):]; len(n.syncs) == 0 {
		n.syncs, n.syncing = nil, false
	} else {
		time.AfterFunc(syncPause, n.syncNext)
	}
	n.mu.Unlock()
	for i, l := range batch {
		asked := l.requestedSince(wanted[i])
		if asked.IsZero() {
			asked = time.Now()
			l.requestState()
			l.announce(true)
		}
		l.expectStates(asked)
	}
}

// requestedSince returns when another node requested the state of the channel after a
// time, or zero. All nodes receive the answers, and the members on this node are among them.
// So if all nodes lost their connections at the same time, one request per channel is
// sufficient; otherwise, each node would answer each other one. A node without members
// did not answer.
func (l *link) requestedSince(t time.Time) (asked time.Time) {
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		if at := l.remote.requested; at.After(t) && len(tx.ch.members) > 0 {
			asked = at
		}
		return nil
	})
	return asked
}

// postponeSync reports whether the node may not receive messages. If so, answers may not
// have arrived, and the link requests the state again when the node receives them.
func (n *node) postponeSync(l *link) bool {
	if n.health() == nil { // degraded may be some seconds old
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !l.unanswered {
		l.unanswered = true
		n.unanswered = append(n.unanswered, l)
	}
	return true
}

func (n *node) syncUnanswered() {
	n.mu.Lock()
	links := n.unanswered
	n.unanswered = nil
	for _, l := range links {
		l.unanswered = false
	}
	n.mu.Unlock()
	for _, l := range links {
		n.sync(l)
	}
}

// requestState asks the other nodes for their members.
func (l *link) requestState() {
	m := l.message(clusterwire.StateRequest)
	m.FromNode = l.node.id
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		tx.tell(&m, "request")
		return nil
	})
}

// Pond's nodes send their whole state on request and periodically, unless they have no
// members. So a node that is connected and does not answer has no members, and its message
// about the last one that left was lost.
const (
	answerTimeout = 2 * time.Second  // after a request
	answerPause   = 16 * time.Second // at most, while nothing arrives from the nodes that do not answer
	stateTimeouts = 4                // node timeouts without a request
)

// An expectation is that each node with members of a channel sends its state. A node that
// has no connection cannot do so, and may not have received the request. Therefore, a node
// has no members if messages arrive from it before the last request and after it, but not
// its state.
type expectation struct {
	since     time.Time           // the first request
	asked     time.Time           // the last request
	pause     time.Duration       // after it
	connected map[string]struct{} // nodes from which something arrived before it
}

// expectStates removes the members of nodes that do not answer a recent request for the
// state, and are able to. It replaces earlier calls.
func (l *link) expectStates(asked time.Time) {
	err := l.ch.commit(func(*tx) error { // a closed channel has no members
		l.remote.expected = asked
		return nil
	})
	if err == nil {
		l.expect(expectation{since: asked, asked: time.Now(), pause: answerTimeout})
	}
}

func (l *link) expect(e expectation) {
	middle := e.asked.Add(e.pause / 2)
	time.AfterFunc(e.pause/2, func() {
		silent := false
		l.forget(e.since, func(string) bool {
			silent = true
			return false
		})
		if silent {
			l.node.forward.probe()
		}
	})
	time.AfterFunc(e.pause, func() {
		if l.node.postponeSync(l) {
			return
		}
		next := expectation{since: e.since, asked: time.Now(), pause: min(2*e.pause, answerPause), connected: map[string]struct{}{}}
		silent := false
		l.forget(e.since, func(node string) bool {
			_, before := e.connected[node]
			if before && l.node.nodes.SeenSince(node, middle) && l.node.echoedSince(middle) {
				return true
			}
			silent = true
			if l.node.nodes.SeenSince(node, e.asked) {
				next.connected[node] = struct{}{}
			}
			return false
		})
		if !silent {
			return
		}
		if len(next.connected) > 0 {
			next.pause = answerTimeout
			l.requestState()
		}
		l.expect(next)
	})
}

// An announcePause follows an announcement that was made because changes were lost. If that
// one is lost, too, the next one is made after the pause.
type announcePause struct {
	length time.Duration
	end    time.Time
}

// The pause doubles if the announcement is lost.
const (
	minAnnouncePause = 5 * time.Second
	maxAnnouncePause = 2 * time.Minute
)

// dirtyDue returns the topics in which changes were lost, if the members can be announced
// now. The caller must announce them.
func (n *node) dirtyDue(now time.Time) map[string]*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.degraded != nil {
		return nil
	}
	due := map[string]*link{}
	for topic, l := range n.dirty {
		p := n.pauses[topic]
		if now.Before(p.end) {
			continue
		}
		delete(n.dirty, topic)
		p.length = min(max(2*p.length, minAnnouncePause), maxAnnouncePause)
		p.end = now.Add(p.length)
		n.pauses[topic] = p
		due[topic] = l
	}
	for topic, p := range n.pauses {
		if _, lost := n.dirty[topic]; !lost && now.Sub(p.end) > sendGiveUp+sendTimeout {
			delete(n.pauses, topic) // it was not lost
		}
	}
	return due
}

// errMissed is the reason for [Observer.Lost] if the broker had the messages.
var errMissed = errors.New("pond: another node did not receive the messages, because a connection was interrupted")

// wereMissed handles the report of another node about events of this one.
func (n *node) wereMissed(report []byte) {
	lost := n.losses.AddReport(report, n.lanes.Events)
	if lost == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost += int(min(lost, math.MaxInt32))
	n.lostReason = errMissed
}
