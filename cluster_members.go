package pond

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// remoteMembers is the knowledge of a channel about its members on other nodes. It is
// guarded by the channel's mu.
type remoteMembers struct {
	claims cluster.Members
	shown  map[string]*member             // the valid ones by user ID, except users with the ID of a member on this node
	states map[string]map[string]struct{} // users in the parts of a state that arrived so far, by node

	answering  bool // a timer for the answer to a request for the state runs
	announcing bool // an announcement is being sent,
	again      bool // and another one follows it,
	againEmpty bool // even without members

	requested time.Time // when another of pond's nodes last requested the state

	stated   map[string]time.Time // when a node sent its whole state, or its first member
	expected time.Time            // when the last call of expectStates was; zero if another one will follow

	people remotePeople
}

// A remoteUser belongs to each member on another node. Such a member has no connection,
// and is not in Channel.members. Its fields are guarded by the channel's mu.
type remoteUser struct {
	id, node, identity string
	assigns            map[string]json.RawMessage
	counted            counted
}

// userLocked returns a member here or on another node, or nil.
func (ch *Channel) userLocked(id string) *member {
	if m := ch.members[id]; m != nil || ch.link == nil {
		return m
	}
	return ch.link.remote.shown[id]
}

// hiddenState returns the data of a member here that has no field of its own.
func (m *member) hiddenState() clusterwire.Hidden {
	return clusterwire.Hidden{Identity: m.conn.identity, Tracked: m.tracked != nil && len(m.presence) == len(emptyObject)}
}

// Keys of queued messages. The ID of a user follows.
const (
	presenceKey = "presence "
	assignsKey  = "assigns "
)

// tell queues a message about a member for the other nodes. The message replaces one
// with the same key that is still queued, unless a message with the whole data of the
// member, or about the end of the membership, is queued behind that one.
func (tx *tx) tell(m *clusterwire.Message, key string) {
	l := tx.ch.link
	it, err := l.encode(m)
	if err == nil {
		it.Key = key
		switch m.Type {
		case clusterwire.UserJoined, clusterwire.UserGetResponse:
			it.Fixes = []string{presenceKey + m.User, assignsKey + m.User}
		case clusterwire.UserLeft:
			it.Fixes = []string{presenceKey + m.User, assignsKey + m.User}
			it.Done = l.lostUnlessSent()
		}
		err = l.node.push(l.name, *it)
	}
	if err != nil {
		l.node.lostMembers(l)
	}
}

// lostUnlessSent returns the function that is called when the broker has a message about
// members that left, or the message is lost.
func (l *link) lostUnlessSent() func(error) {
	return func(err error) {
		if err != nil {
			l.node.lostMembers(l)
		}
	}
}

// memberMessage returns a message about a member here.
func (tx *tx) memberMessage(t clusterwire.Type, m *member) clusterwire.Message {
	msg := tx.ch.link.message(t)
	msg.User = m.conn.id
	return msg
}

// tellJoined notifies the other nodes of a new member.
func (tx *tx) tellJoined(m *member) {
	l := tx.ch.link
	if l == nil {
		return
	}
	tx.showRemote(m.conn.id) // a member here hides one with the same ID
	delete(l.remote.people.here, m.conn.identity)
	msg := tx.memberMessage(clusterwire.UserJoined, m)
	msg.Assigns = clusterwire.EncodeAssigns(m.shared, clusterwire.Hidden{Identity: m.conn.identity})
	tx.tell(&msg, "")
	if l.due.Load() == 0 {
		l.due.Store(l.node.nextAnnouncement())
	}
}

// tellLeft notifies the other nodes that a membership ended.
func (tx *tx) tellLeft(m *member, reason LeaveReason) {
	if tx.ch.link == nil {
		return
	}
	msg := tx.memberMessage(clusterwire.UserLeft, m)
	tx.stays(m, reason, &msg)
	tx.tell(&msg, "")
	tx.showRemote(m.conn.id)
}

// tellPresence sends the other nodes the presence of a member, or that it has none.
func (tx *tx) tellPresence(m *member) {
	if tx.ch.link == nil || m.conn == nil {
		return
	}
	msg := tx.memberMessage(clusterwire.PresenceRemoved, m)
	if m.tracked != nil {
		msg.Type, msg.Presence = clusterwire.PresenceUpdate, m.presence
	}
	tx.tell(&msg, presenceKey+m.conn.id)
}

// tellAssigns sends the other nodes the assigns of a member.
func (tx *tx) tellAssigns(m *member) {
	msg := tx.memberMessage(clusterwire.AssignsUpdate, m)
	msg.Assigns = clusterwire.EncodeAssigns(m.shared, m.hiddenState())
	tx.tell(&msg, assignsKey+m.conn.id)
}

// announce sends the other nodes all members on this node. The other nodes then remove
// all further members of this node. Without members, it sends a message only if empty
// is set. It does not hold the channel's lock for long: members that join or leave in
// the meantime are reported in their order. If an announcement is being sent, another one
// follows it: other nodes could not tell their pages apart.
func (l *link) announce(empty bool) {
	l.due.Store(0)
	p := &statePages{link: l, done: true}
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		r := &l.remote
		if r.announcing {
			r.again, r.againEmpty = true, r.againEmpty || empty
			return nil
		}
		p.ids = slices.Collect(maps.Keys(tx.ch.members))
		r.announcing = len(p.ids) > 0 || empty || r.people.graces() != ""
		p.done = !r.announcing
		return nil
	})
	p.proceed()
}

// maxPages is how many pages of an announcement are queued for the broker at a time.
const maxPages = 4

// proceed queues further pages.
func (p *statePages) proceed() {
	l := p.link
	var large []string
	var again, empty bool
	for more := true; more; {
		more = false
		_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
			if p.done || p.queued == maxPages {
				return nil
			}
			tx.tellPage(p)
			large, p.large = append(large, p.large...), nil
			if more = !p.done; !more {
				r := &l.remote
				again, empty = r.again, r.againEmpty
				r.announcing, r.again, r.againEmpty = false, false, false
			}
			return nil
		})
	}
	for _, id := range large {
		l.node.pond.log(l.node.run, slog.LevelWarn, "pond: a member is too large for the cluster: other nodes have it without assigns",
			slog.String("channel", l.ch.name), slog.String("user", id))
	}
	if again {
		l.announce(empty)
	}
}

// tellPage queues the next page of an announcement.
func (tx *tx) tellPage(p *statePages) {
	l := tx.ch.link
	m := p.next(tx)
	it, err := l.encode(&m)
	if err == nil {
		it.FixesAll = true
		it.Done = l.lostUnlessSent()
		if !p.done {
			it.Done = p.sent
		}
		err = l.node.push(l.name, *it)
	}
	switch {
	case err != nil:
		l.node.lostMembers(l) // the announcement will be repeated
		p.end()
	case !p.done:
		p.queued++
	}
}

// end ends an announcement before the last page.
func (p *statePages) end() {
	p.done = true
	p.link.due.Store(p.link.node.nextAnnouncement())
}

// sent is called when the broker has a page, or the page is lost.
func (p *statePages) sent(err error) {
	l := p.link
	if err != nil {
		l.node.lostMembers(l)
	}
	l.node.backgroundUnlessClosing(func() {
		_ = l.ch.commit(func(*tx) error { // a closed channel has no members
			p.queued--
			if err != nil && !p.done {
				p.end()
				l.remote.announcing, l.remote.again, l.remote.againEmpty = false, false, false
			}
			return nil
		})
		p.proceed()
	})
}

// state returns the data about a member on this node that other nodes receive.
func (m *member) state() clusterwire.User {
	u := clusterwire.User{ID: m.conn.id}
	if m.tracked != nil {
		u.Presence = m.presence
	}
	u.Assigns = clusterwire.EncodeAssigns(m.shared, m.hiddenState())
	return u
}

// apply handles a message of another node about its members.
func (l *link) apply(m *clusterwire.Message) {
	switch m.Type {
	case clusterwire.EvictUser:
		if m.Ext.Action == personAction || l.node.isNewCommand(m) {
			l.evictFor(m)
		}
		return
	case clusterwire.UserRemove:
		if !l.node.isNewCommand(m) {
			return
		}
		if member, err := l.ch.member(m.User); err == nil && member.leave(nil, LeaveEvicted) == nil {
			member.conn.inbox.start()
		}
		return
	}
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		tx.collect(func() { tx.applyLocked(m) })
		return nil
	})
}

func (tx *tx) applyLocked(m *clusterwire.Message) {
	l := tx.ch.link
	claims := &l.remote.claims
	old, known := claims.From(m.Source, m.User)
	switch m.Type {
	case clusterwire.StateRequest:
		if m.Ext.Boot != "" {
			l.remote.requested = time.Now()
		}
		l.answerSoonLocked()
	case clusterwire.StateResponse:
		tx.applyState(m)
	case clusterwire.UserJoined, clusterwire.UserGetResponse:
		tx.claim(m.User, newClaim(m.Source, true, m.Assigns, m.Presence))
	case clusterwire.UserLeft:
		tx.stay(m)
		delete(l.remote.states[m.Source], m.User)
		if claims.Remove(m.Source, m.User) {
			tx.showRemote(m.User)
		}
	case clusterwire.PresenceUpdate:
		if !known {
			old = newClaim(m.Source, true, nil, nil)
		}
		old.Presence = bytes.Clone(m.Presence)
		tx.claim(m.User, old)
	case clusterwire.PresenceRemoved:
		if known {
			old.Presence = nil
			tx.claim(m.User, old)
		}
	case clusterwire.AssignsUpdate:
		if known {
			old.Assigns = m.ApplyAssigns(old.Assigns)
			clusterwire.TakeHidden(old.Assigns)
			tx.claim(m.User, old)
		}
	case clusterwire.UserGetRequest:
		if member := tx.ch.members[m.User]; member != nil {
			u := member.state()
			answer := tx.memberMessage(clusterwire.UserGetResponse, member)
			answer.RequestID, answer.Assigns, answer.Presence = m.RequestID, u.Assigns, u.Presence
			tx.tell(&answer, "")
		}
	}
}

// claim records the data of a node about a user.
func (tx *tx) claim(user string, c cluster.Claim) {
	r := &tx.ch.link.remote
	c.At = time.Now()
	if _, ok := r.stated[c.Node]; !ok {
		if r.stated == nil {
			r.stated = map[string]time.Time{}
		}
		r.stated[c.Node] = time.Now()
	}
	if users := r.states[c.Node]; users != nil {
		users[user] = struct{}{} // it arrived after the state began
	}
	if r.claims.Put(user, c) {
		tx.showRemote(user)
	}
}

// newClaim decodes the data of a node about a user.
func newClaim(node string, firsthand bool, assigns, presence []byte) cluster.Claim {
	c := cluster.Claim{Node: node, Firsthand: firsthand}
	var all map[string]json.RawMessage
	if len(assigns) > len(emptyObject) {
		_ = json.Unmarshal(assigns, &all) // it was checked when the message was decoded
	}
	if all == nil {
		all = map[string]json.RawMessage{}
	}
	hidden := clusterwire.TakeHidden(all)
	c.Assigns, c.Identity = all, hidden.Identity
	if len(presence) > len(emptyObject) || hidden.Tracked {
		c.Presence = bytes.Clone(presence) // the message is larger and is not kept
	}
	return c
}

// applyState handles a page of the members of another node.
func (tx *tx) applyState(m *clusterwire.Message) {
	r := &tx.ch.link.remote
	ours := m.Ext.Boot != ""
	firsthand := ours || clusterwire.IsFirsthand(m.Source)
	if m.Ext.Part&clusterwire.FirstPart != 0 {
		if r.states == nil {
			r.states = map[string]map[string]struct{}{}
		}
		r.states[m.Source] = map[string]struct{}{}
		if r.stated == nil {
			r.stated = map[string]time.Time{}
		}
	}
	for i := range m.Users {
		u := &m.Users[i]
		tx.claim(u.ID, newClaim(m.Source, firsthand, u.Assigns, u.Presence))
	}
	if users := r.states[m.Source]; users != nil && m.Ext.Part&clusterwire.LastPart != 0 {
		delete(r.states, m.Source)
		r.stated[m.Source] = time.Now()
		for _, user := range r.claims.Retain(m.Source, users) {
			tx.showRemote(user)
		}
		tx.keepStays(m.Source, m.Ext.Identities)
	}
}

// maxAnswerDelay is how long a node delays its answer to a request for its members.
const maxAnswerDelay = 50 * time.Millisecond

// answerSoonLocked announces the members on this node after a random time of at most
// maxAnswerDelay. Requests that arrive before then receive the same answer.
func (l *link) answerSoonLocked() {
	if l.remote.answering || len(l.ch.members) == 0 && l.remote.people.graces() == "" {
		return
	}
	l.remote.answering = true
	time.AfterFunc(rand.N(maxAnswerDelay), func() { //nolint:gosec // it spreads answers
		_ = l.ch.commit(func(*tx) error { // a closed channel has no members
			l.remote.answering = false
			return nil
		})
		l.announce(false)
	})
}

// showRemote updates the channel's view of a user from the claims of other nodes.
func (tx *tx) showRemote(id string) {
	ch := tx.ch
	r := &ch.link.remote
	claim, ok := r.claims.Get(id)
	m := r.shown[id]
	if ch.members[id] != nil {
		ok = false
	}
	switch {
	case !ok && m == nil:
		return
	case !ok:
		delete(r.shown, id)
		m.left = true
		tx.count(m, counted{})
		if tx.untrack(m, false) {
			tx.notifyUntracked(m)
		}
		return
	case m == nil:
		m = &member{channel: ch, remote: &remoteUser{id: id}}
		if r.shown == nil {
			r.shown = map[string]*member{}
		}
		r.shown[id] = m
	}
	m.remote.node, m.remote.identity, m.remote.assigns = claim.Node, claim.Identity, claim.Assigns
	if claim.Firsthand {
		tx.count(m, counted{claim.Identity, claim.Node})
	}
	switch {
	case claim.Presence == nil && m.tracked != nil:
		tx.untrack(m, false)
		tx.notifyUntracked(m)
		m.presence = nil
	case claim.Presence != nil && (m.tracked == nil || !bytes.Equal(claim.Presence, m.presence)):
		tx.setPresence(m, claim.Presence)
	}
}

// A presenceNotice is a change of presence that clients are notified of later.
type presenceNotice struct {
	event   string
	changed []byte
}

// maxNotices is how many changes of presence in one message of another node are
// reported to clients one by one. Each report has the whole list, so of further changes
// only the last of each kind is reported.
const maxNotices = 16

// collect runs f and notifies the tracked members of the changes that it made.
func (tx *tx) collect(f func()) {
	tx.collecting, tx.ch.roster.batching = true, true
	f()
	tx.collecting = false
	tx.ch.roster.settle()
	notices := tx.notices
	tx.notices = nil
	if len(notices) > maxNotices {
		last := map[string]presenceNotice{}
		for _, n := range notices {
			last[n.event] = n
		}
		notices = notices[:0]
		for _, event := range []string{wire.PresenceLeave, wire.PresenceUpdate, wire.PresenceJoin} {
			if n, ok := last[event]; ok {
				notices = append(notices, n)
			}
		}
	}
	for _, n := range notices {
		tx.ch.roster.broadcast(tx, n.event, n.changed)
	}
	if len(notices) > 0 {
		tx.flushSoon()
	}
}

// remoteSeat marks members of other nodes that are tracked.
var remoteSeat = new(transport.Seat)
