package pond

import (
	"maps"
	"slices"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
)

// remotePeople is what a channel knows about identities on other nodes. It is empty
// unless the lobby counts identities. It is guarded by the channel's mu.
//
// An identity is on a node from the join of its first member there until the node
// announces that it is not any more, after the leave handler of its last member and its
// grace. The node where it leaves last, as far as that node knows, runs the handler for
// the last leave of an identity.
type remotePeople struct {
	here  map[string]bool          // identities that are on this node without members; true in a grace
	other map[string]*remotePerson // identities that are on other nodes, or of which something is to be done
	ended map[string]struct{}      // of a closed channel: another node runs the handler
}

// A remotePerson is an identity on other nodes.
type remotePerson struct {
	members map[*member]struct{}
	staying map[string]stay // nodes on which the identity is without members
	waiting *waiting        // the identity left this node while others had it, or nil
	owed    *owed           // a handler has to run, or nil
	aways   cluster.Aways   // since the identity last came to a node
	changed chan struct{}   // closed when something changes; nil while no goroutine waits
}

// A stay is the time between the end of the last member of an identity on a node, and the
// end of the identity there.
type stay struct {
	member *member // the last one
	grace  bool    // the person is expected to return
	until  time.Time
}

// A waiting identity left this node while others had it. See [cluster.Aways].
type waiting struct {
	departure departure
	until     time.Time
}

// An owed call of the handler for the last leave of an identity is due on a node, because
// the node of its last member cannot run it.
type owed struct {
	departure departure
	owner     string // the node that must run it
	at        time.Time
}

// How long a node remembers what it can only forget when it receives a message about it.
const (
	stayMargin  = time.Minute // in addition to the grace
	waitingTime = time.Minute
)

// personAction is the action of a message about identities that are not on a node any
// more. Its reason is one of these.
const (
	personAction = clusterwire.PersonAction

	personLeaves = "leaves" // the handler for the last leave will run
	personLeft   = "left"   // it ran
	personAway   = "away"   // it did not, because the person is on other nodes: ext.except
	personShut   = "shut"   // the same, and the node is shutting down
)

// graceAction is the action of a message that the last member of an identity on a node
// left, and that the person is expected to return. Without it, the identity leaves.
const graceAction = "GRACE"

// person returns what is known about an identity, and creates it if there is nothing.
func (r *remotePeople) person(identity string) *remotePerson {
	p := r.other[identity]
	if p == nil {
		p = &remotePerson{members: map[*member]struct{}{}, staying: map[string]stay{}}
		if r.other == nil {
			r.other = map[string]*remotePerson{}
		}
		r.other[identity] = p
	}
	return p
}

// nodes returns the nodes that the identity is on, sorted.
func (p *remotePerson) nodes() []string {
	if p == nil {
		return nil
	}
	on := map[string]struct{}{}
	for m := range p.members {
		on[m.remote.counted.node] = struct{}{}
	}
	for node, s := range p.staying {
		if time.Now().Before(s.until) {
			on[node] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(on))
}

// away records that the identity left a node while others had it.
func (p *remotePerson) away(node string, others []string, waits bool) {
	if p.aways == nil {
		p.aways = cluster.Aways{}
	}
	p.aways[node] = cluster.Away{Others: others, Waits: waits}
}

// counted is where a member of another node is counted as one of its identity.
type counted struct{ identity, node string }

// count counts a member of another node as one of its identity, or not any more.
func (tx *tx) count(m *member, as counted) {
	if !tx.ch.lobby.countsIdentities() || as == m.remote.counted {
		return
	}
	r := &tx.ch.link.remote.people
	was := m.remote.counted
	if was.identity != "" {
		delete(r.person(was.identity).members, m)
	}
	m.remote.counted = as
	if as.identity != "" {
		p := r.person(as.identity)
		p.members[m] = struct{}{}
		p.aways = nil
		delete(p.staying, as.node)
		if p.owed != nil && p.owed.owner != tx.ch.link.node.id {
			p.owed = nil
		}
		tx.returned(as.identity)
		tx.personChanged(as.identity)
	}
	if was.identity != "" {
		tx.personChanged(was.identity)
	}
}

// returned ends the grace of an identity on this node, because it has a member on another.
func (tx *tx) returned(identity string) {
	if here := tx.ch.link.remote.people.here; here[identity] {
		here[identity] = false // the grace may not have begun yet
		tx.ch.lobby.endpoint.graces.endReturned(identity, tx.ch)
	}
}

// expects reports whether an identity may return to this node, and not only to another.
func (l *link) expects(identity string) bool {
	if l == nil {
		return true
	}
	l.ch.mu.Lock()
	defer l.ch.mu.Unlock()
	grace, ok := l.remote.people.here[identity]
	return grace || !ok // the client did not become a member
}

// personChanged must be called after what is known about an identity changed.
func (tx *tx) personChanged(identity string) {
	r := &tx.ch.link.remote.people
	p := r.other[identity]
	if p == nil {
		return
	}
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
	if len(p.nodes()) > 0 {
		return
	}
	if w := p.waiting; w != nil {
		p.waiting = nil
		id := tx.ch.link.node.id
		if time.Now().Before(w.until) && p.aways.Mine(id) {
			tx.owe(identity, w.departure, id)
		}
	}
	if p.owed == nil {
		delete(r.other, identity)
	}
}

// owe notes that a node must run the handler for the last leave of an identity.
func (tx *tx) owe(identity string, d departure, owner string) {
	ch := tx.ch
	ch.link.remote.people.person(identity).owed = &owed{departure: d, owner: owner, at: time.Now()}
	if owner == ch.link.node.id {
		ch.link.node.backgroundUnlessClosing(func() { ch.settleOwed(identity) })
	}
}

// settleOwed runs the handler for the last leave of an identity that was not on this node
// at last, unless it has returned.
func (ch *Channel) settleOwed(identity string) {
	p := ch.persons.acquire(ch, identity)
	defer p.release()
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	var due *owed
	_ = ch.commit(func(tx *tx) error { // nothing is due in a closed channel
		if known := ch.link.remote.people.other[identity]; known != nil && known.owed != nil && known.owed.owner == ch.link.node.id {
			due, known.owed = known.owed, nil
			tx.personChanged(identity)
		}
		return nil
	})
	if due != nil {
		p.runLeave(due.departure)
	}
}

// tellPerson notifies the other nodes about an identity that is not on this one any more.
func (l *link) tellPerson(identity, reason string, others []string) {
	if l == nil {
		return
	}
	_ = l.ch.commit(func(tx *tx) error { // in a closed channel, nobody is left
		tx.tellPerson(identity, reason, others)
		return nil
	})
}

func (tx *tx) tellPerson(identity, reason string, others []string) {
	m := tx.ch.link.evictMessage(clusterwire.Nobody, reason)
	m.Ext.Action, m.Ext.Identities = personAction, stringArray([]string{identity})
	if len(others) > 0 {
		m.Ext.Except = stringArray(others)
	}
	tx.tell(&m, "")
}

// departs notes that an identity is not on this node any more, and reports whether the
// handler for its last leave must run here.
func (l *link) departs(identity string, d departure) (last bool) {
	if l == nil {
		return true
	}
	shut := l.ch.lobby.endpoint.isClosing()
	err := l.ch.commit(func(tx *tx) error {
		r := &l.remote.people
		grace := r.here[identity]
		delete(r.here, identity)
		others := r.other[identity].nodes()
		switch last = len(others) == 0; {
		case last && grace:
			tx.tellPerson(identity, personLeaves, nil) // nodes may not wait for its return any more
		case last:
		case shut:
			tx.tellPerson(identity, personShut, others)
		default:
			p := r.other[identity]
			p.waiting = &waiting{departure: d, until: time.Now().Add(waitingTime)}
			p.away(l.node.id, others, true)
			tx.tellPerson(identity, personAway, others)
		}
		return nil
	})
	if err == nil {
		return last
	}
	l.ch.mu.Lock() // the channel was closed, on all nodes
	defer l.ch.mu.Unlock()
	_, other := l.remote.people.ended[identity]
	return !other
}

// endPeople returns the identities whose leave another node handles when a channel is
// closed: the node with the smallest ID on which they are.
func (l *link) endPeople() (ended map[string]struct{}) {
	for identity, p := range l.remote.people.other {
		if nodes := p.nodes(); len(nodes) > 0 && nodes[0] < l.node.id {
			if ended == nil {
				ended = map[string]struct{}{}
			}
			ended[identity] = struct{}{}
		}
	}
	return ended
}

// awaitPerson reports whether an identity is on other nodes, as far as this node knows. It
// waits while the identity leaves another node.
func (l *link) awaitPerson(identity string, c *conn) (elsewhere bool, err error) {
	if l == nil {
		return false, nil
	}
	late := time.NewTimer(answerTimeout)
	defer late.Stop()
	for patient := true; ; {
		elsewhere, wait := l.meet(identity, patient)
		if wait == nil {
			return elsewhere, nil
		}
		select {
		case <-wait:
		case <-late.C:
			patient = false
		case <-c.Done():
			return false, ErrClosed
		}
	}
}

// meet is awaitPerson, but returns a channel to wait for instead of waiting, if the caller
// is patient. The caller owns the person.
func (l *link) meet(identity string, patient bool) (elsewhere bool, wait <-chan struct{}) {
	l.ch.mu.Lock()
	defer l.ch.mu.Unlock()
	p := l.remote.people.other[identity]
	if p == nil {
		return false, nil
	}
	p.waiting, p.aways = nil, nil // it is on this node again
	if p.owed != nil && p.owed.owner == l.node.id {
		p.owed = nil // the handler did not run yet, so it did not leave
		return true, nil
	}
	if len(p.members) > 0 {
		return true, nil
	}
	leaving := false
	for _, s := range p.staying {
		alive := time.Now().Before(s.until)
		if s.grace && alive {
			return true, nil
		}
		leaving = leaving || alive
	}
	if !leaving || !patient {
		return false, nil
	}
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return false, p.changed
}

// stays adds to the message that a member left whether its identity remains on this node.
func (tx *tx) stays(m *member, reason LeaveReason, msg *clusterwire.Message) {
	if m.person == nil || len(tx.ch.people[m.conn.identity]) > 0 {
		return
	}
	identity := m.conn.identity
	r := &tx.ch.link.remote.people
	if r.here == nil {
		r.here = map[string]bool{}
	}
	r.here[identity] = tx.ch.lobby.cfg.grace > 0 && m.conn.mayReturn(reason)
	msg.Ext.Identities = stringArray([]string{identity})
	if r.here[identity] {
		msg.Ext.Action = graceAction
	}
}

// graces returns the identities in a grace on this node, as a JSON array.
func (r *remotePeople) graces() string {
	var list []string
	for identity, grace := range r.here {
		if grace && len(list) < statePageUsers {
			list = append(list, identity)
		}
	}
	if list == nil {
		return ""
	}
	return stringArray(list)
}

// stay handles the message that the last member of an identity on another node left.
func (tx *tx) stay(m *clusterwire.Message) {
	if m.Ext.Identities == "" || !tx.ch.lobby.countsIdentities() {
		return
	}
	r := &tx.ch.link.remote
	identities, _ := clusterwire.Strings(m.Ext.Identities) // none, if a node is broken
	for _, identity := range identities {
		last := r.shown[m.User]
		if last == nil {
			last = &member{channel: tx.ch, remote: &remoteUser{id: m.User, node: m.Source, identity: identity}}
		}
		p := r.people.person(identity)
		p.staying[m.Source] = tx.newStay(last, m.Ext.Action == graceAction)
		if last.remote.counted == (counted{identity, m.Source}) {
			delete(p.members, last)
		}
		if len(p.members) == 0 && m.Ext.Action != graceAction {
			tx.returned(identity) // and leaves, which also ends a grace of a single node
		}
		tx.personChanged(identity)
	}
}

func (tx *tx) newStay(m *member, grace bool) stay {
	return stay{member: m, grace: grace, until: time.Now().Add(tx.ch.lobby.cfg.grace + stayMargin)}
}

// keepStays handles the list of the identities in a grace on another node, which is part of
// its state.
func (tx *tx) keepStays(node, array string) {
	if !tx.ch.lobby.countsIdentities() {
		return
	}
	r := &tx.ch.link.remote.people
	identities, _ := clusterwire.Strings(array) // none, if there are none, or a node is broken
	if len(identities) < statePageUsers {
		for identity, p := range r.other {
			if s, ok := p.staying[node]; ok && s.grace && !slices.Contains(identities, identity) {
				delete(p.staying, node)
				tx.personChanged(identity)
			}
		}
	}
	for _, identity := range identities {
		p := r.person(identity)
		if _, ok := p.staying[node]; !ok {
			last := &member{channel: tx.ch, remote: &remoteUser{node: node, identity: identity}}
			p.staying[node] = tx.newStay(last, true)
			tx.personChanged(identity)
		}
	}
}

// expireStays forgets identities on other nodes whose end was not reported.
func (tx *tx) expireStays() {
	now := time.Now()
	for identity, p := range tx.ch.link.remote.people.other {
		before := len(p.staying)
		maps.DeleteFunc(p.staying, func(_ string, s stay) bool { return now.After(s.until) })
		if len(p.staying) < before {
			tx.personChanged(identity)
		}
	}
}

// personMessage handles the message that identities are not on another node any more.
func (tx *tx) personMessage(m *clusterwire.Message) {
	r := &tx.ch.link.remote.people
	identities, _ := clusterwire.Strings(m.Ext.Identities) // none, if a node is broken
	for _, identity := range identities {
		p := r.other[identity]
		if p == nil {
			continue
		}
		s, stays := p.staying[m.Source]
		if m.Reason == personLeaves {
			if s.grace = false; stays {
				p.staying[m.Source] = s
			}
			continue
		}
		delete(p.staying, m.Source)
		switch m.Reason {
		case personLeft:
			p.waiting, p.aways = nil, nil
			if p.owed != nil && p.owed.owner == m.Source {
				p.owed = nil
			}
		case personAway, personShut:
			others, _ := clusterwire.Strings(m.Ext.Except) // the same
			p.away(m.Source, others, m.Reason == personAway)
		}
		tx.personChanged(identity)
	}
}

// tracks reports whether a member of an identity on another node is tracked. It requires
// the channel's lock.
func (l *link) tracks(identity string) bool {
	if l == nil {
		return false
	}
	if p := l.remote.people.other[identity]; p != nil {
		for m := range p.members {
			if m.tracked != nil {
				return true
			}
		}
	}
	return false
}
