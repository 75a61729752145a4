package pond

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
)

// beat returns the time between two heartbeats.
func (n *node) beat() time.Duration { return n.timeout / 3 }

// health returns the reason why the node may not receive messages of others, or nil.
func (n *node) health() error {
	if err := n.broker.Health(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.heart == nil, n.private == nil:
		return errNotStarted
	case time.Since(n.echoed) > n.beat()*3/2:
		return errDeaf
	}
	return nil
}

// judge records the health of the node, and finds dead nodes. A node that receives
// nothing itself finds none.
func (n *node) judge(health error) {
	n.mu.Lock()
	changed := !n.judged || (n.degraded == nil) != (health == nil)
	n.degraded, n.judged = health, true
	if health != nil {
		n.troubled = time.Now()
	}
	n.mu.Unlock()
	now := time.Now()
	if health != nil {
		n.nodes.Hold(now)
	} else if dead := n.nodes.Sweep(now); len(dead) > 0 {
		n.forward.peers.Remove(dead...)
		n.background(func() { n.bury(dead) })
	}
	if health == nil {
		n.syncUnanswered()
	}
	if !changed {
		return
	}
	n.forward.peers.Wake()
	if health != nil {
		n.pond.log(n.run, slog.LevelWarn, "pond: no connection to the cluster", slog.Any("error", health))
	} else {
		n.pond.log(n.run, slog.LevelInfo, "pond: connected to the cluster", slog.String("node", n.id))
	}
	if f := n.pond.cfg.observer.Degraded; f != nil {
		n.pond.observe("Degraded", func() { f(n.pond, health) })
	}
}

// echoedSince reports whether the node received its own heartbeat at a time or later.
func (n *node) echoedSince(t time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.echoed.Before(t)
}

// background runs something that changes what clients see. It may run handlers for outgoing
// events, which must not delay or end the goroutine that sends heartbeats.
func (n *node) background(f func()) {
	n.tasks.Add()
	go func() {
		defer n.tasks.Done()
		f()
	}()
}

// backgroundUnlessClosing is background, but does nothing at the end of a shutdown, which
// does not wait for f any more.
func (n *node) backgroundUnlessClosing(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closing {
		n.background(f)
	}
}

// bury removes the users of dead nodes.
func (n *node) bury(dead []string) {
	for _, l := range n.links() {
		for _, id := range dead {
			l.bury(id)
		}
	}
}

// saw records that a message of another node arrived. It returns false if there are too
// many nodes.
func (n *node) saw(m *clusterwire.Message) bool {
	known, returned := n.nodes.Seen(m.Source, m.Ext.Boot != "", time.Now())
	if returned {
		n.forward.askForKeys() // its key was forgotten
		for _, l := range n.links() {
			n.sync(l)
		}
	}
	return known
}

// links returns all links that are attached.
func (n *node) links() (links []*link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.topics {
		links = append(links, t.linksLocked()...)
	}
	return links
}

// linksOf returns the links of a topic that are attached.
func (n *node) linksOf(topic string) []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.topics[topic]; t != nil {
		return t.linksLocked()
	}
	return nil
}

func (t *topic) linksLocked() (links []*link) {
	for _, s := range t.subscribers {
		if l, ok := s.(*link); ok {
			links = append(links, l)
		}
	}
	return links
}

// announceDue announces the members on this node of channels whose changes were lost,
// and periodically those of all channels, for nodes that considered this one dead.
func (n *node) announceDue() {
	now := time.Now()
	dirty := n.dirtyDue(now)
	if len(dirty) == 0 && now.Sub(n.announced) < min(n.timeout/18, 5*time.Second) {
		return
	}
	n.announced = now
	silence := now.Add(-stateTimeouts * n.timeout)
	expire := now.Sub(n.expired) >= n.beat() && n.troubled.Before(silence) // or it may have missed something
	if expire {
		n.expired = now
	}
	for _, l := range n.links() {
		_, lost := dirty[l.name]
		if expire {
			n.background(func() { l.expire(silence) })
		}
		if due := l.due.Load(); lost || due != 0 && now.UnixNano() >= due {
			l.announce(lost)
		}
		delete(dirty, l.name)
	}
	for _, l := range dirty {
		if l != nil {
			l.announceNone()
		}
	}
}

// announceNone notifies the other nodes that a channel that ended here has no members on
// this node.
func (l *link) announceNone() {
	m := l.message(clusterwire.StateResponse)
	m.Ext.Part = clusterwire.FirstPart | clusterwire.LastPart
	it, err := l.encode(&m)
	if err == nil {
		it.Done = l.lostUnlessSent()
		err = l.node.push(l.name, *it)
	}
	if err != nil {
		l.node.lostMembers(l)
	}
	for _, live := range l.node.linksOf(l.name) {
		live.announce(false) // it began meanwhile: a member may have joined before the message
	}
}

// nextAnnouncement returns when the members of a channel are announced again.
func (n *node) nextAnnouncement() int64 {
	return time.Now().Add(n.timeout*2/3 + rand.N(n.timeout*2/3)).UnixNano() //nolint:gosec // it spreads announcements
}

// bury removes the members of a dead node. Members that another implementation only
// reported, without being their node, are removed a second later, unless their real
// node claims them.
func (l *link) bury(node string) {
	var doubt []string
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		tx.collect(func() {
			people := tx.peopleOf(node)
			var removed []string
			removed, doubt = l.remote.claims.RemoveNode(node)
			delete(l.remote.states, node)
			for _, user := range removed {
				tx.showRemote(user)
			}
			tx.inherit(people)
			for _, user := range doubt[:min(len(doubt), maxProbes)] {
				m := l.message(clusterwire.UserGetRequest)
				m.User, m.RequestID, m.FromNode = user, newRequestID(), l.node.id
				tx.tell(&m, "")
			}
		})
		return nil
	})
	if len(doubt) > 0 {
		time.AfterFunc(probeTimeout, func() { l.removeDoubted(node, doubt) })
	}
}

// peopleOf returns the identities on a node that is dead, with a member of each, and
// forgets that they are there. The caller removes the members, and then calls inherit.
func (tx *tx) peopleOf(node string) map[string]*member {
	people := map[string]*member{}
	for identity, p := range tx.ch.link.remote.people.other {
		if s, ok := p.staying[node]; ok {
			people[identity] = s.member
			delete(p.staying, node)
		}
		for m := range p.members {
			if m.remote.counted.node == node {
				people[identity] = m
			}
		}
		if p.owed != nil && p.owed.owner == node {
			if time.Since(p.owed.at) < 2*tx.ch.link.node.timeout {
				people[identity] = p.owed.departure.member
			}
			p.owed = nil
		}
		if people[identity] != nil {
			p.waiting = nil // inherit decides
		}
	}
	return people
}

// inherit decides which node runs the handler for identities that were on a dead node, and
// are on no other: the node with the smallest ID among those with members of the channel.
func (tx *tx) inherit(people map[string]*member) {
	l := tx.ch.link
	var heirs []string
	if len(tx.ch.members) > 0 {
		heirs = append(heirs, l.node.id)
	}
	for _, node := range l.remote.claims.Nodes() {
		if l.node.nodes.Ours(node) {
			heirs = append(heirs, node)
		}
	}
	for identity, m := range people {
		_, here := l.remote.people.here[identity]
		here = here || len(tx.ch.people[identity]) > 0 || tx.ch.persons.has(identity)
		if !here && len(heirs) > 0 && len(l.remote.people.other[identity].nodes()) == 0 {
			tx.owe(identity, departure{member: m, reason: LeaveDisconnected}, slices.Min(heirs))
		}
		tx.personChanged(identity)
	}
}

// expire removes the members of nodes that have not sent their state since a time.
func (l *link) expire(since time.Time) {
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		tx.forget(since, func(string) bool { return true })
		tx.expireStays()
		return nil
	})
}

// forget calls the function with each node that has not sent its state since a call of
// expectStates, and removes the members of the node if it returns true. It does nothing if
// another call replaced that one, or will.
func (l *link) forget(since time.Time, gone func(node string) bool) {
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		if l.remote.expected.Equal(since) {
			tx.forget(since, gone)
		}
		return nil
	})
}

// forget calls the function with each of pond's nodes that has members, and has not sent
// its state since a time. If the function returns true, it removes the members of the node,
// except those about whom the node has sent something since.
func (tx *tx) forget(since time.Time, gone func(node string) bool) {
	l := tx.ch.link
	r := &l.remote
	tx.collect(func() {
		for node, at := range r.stated {
			switch {
			case len(r.claims.Of(node)) == 0:
				delete(r.stated, node)
			case at.Before(since) && l.node.nodes.Ours(node) && gone(node):
				joined := r.claims.Since(node, since) // a node that had no members did not answer
				r.stated[node] = since
				for _, user := range r.claims.Retain(node, joined) {
					tx.showRemote(user)
				}
				tx.keepStays(node, "")
			}
		}
	})
}

// How many users are searched for when the server that reported them is dead, and how
// long their nodes may take to answer.
const (
	maxProbes    = 1000
	probeTimeout = time.Second
)

func (l *link) removeDoubted(node string, users []string) {
	_ = l.ch.commit(func(tx *tx) error { // a closed channel has no members
		tx.collect(func() {
			for _, user := range l.remote.claims.RemoveDoubted(node, users) {
				tx.showRemote(user)
			}
		})
		return nil
	})
}

// Times of heartbeats that nodes ask for.
const (
	askedTime  = time.Second            // within which all nodes answered a request for their keys
	answerIn   = 200 * time.Millisecond // at most, after which a node answers
	askPause   = 5 * time.Second        // between requests for keys after losses
	probePause = time.Second            // between requests for heartbeats because a node did not answer
)

// Actions of heartbeats.
const (
	askAction  = "ASK"  // the other nodes send a heartbeat, with their keys
	stopAction = "STOP" // the node stops, and has no event streams any more
)

// announcedKey returns the key for heartbeats: "" while the node does not receive
// requests of other nodes.
func (f *forwarding) announcedKey() string {
	if !f.reachable.Load() {
		return ""
	}
	return string(f.key)
}

// echo handles the node's own heartbeat. When it contains the request for the keys of
// other nodes, these received it too.
func (f *forwarding) echo(m *clusterwire.Message) {
	if m.Ext.Action == askAction && f.peers.Asking() {
		f.peers.Complete(time.Now().Add(askedTime))
	}
}

// receiveHeartbeat handles the heartbeat of another node.
func (f *forwarding) receiveHeartbeat(m *clusterwire.Message) {
	if m.Ext.Action == stopAction {
		f.peers.Remove(m.Source)
		return
	}
	f.peers.Add(m.Ext.Boot, m.Source, cluster.Key(m.Ext.Key))
	if m.Ext.Action == askAction && f.answering.CompareAndSwap(false, true) {
		time.AfterFunc(rand.N(answerIn), func() { //nolint:gosec // it spreads answers
			f.answering.Store(false)
			f.node.sendBeat(false)
		})
	}
}

// askForKeys asks the other nodes for their keys, because some may have been missed. With many
// losses, the next tick does it.
func (f *forwarding) askForKeys() {
	f.peers.Complete(time.Time{})
	if f.due(&f.asked, askPause) {
		f.node.sendBeat(false)
	}
}

// probe asks the other nodes for a heartbeat, because one of them did not answer.
func (f *forwarding) probe() {
	if f.due(&f.probed, probePause) {
		f.node.sendBeat(true)
	}
}

// due reports whether something was not done for a while, and sets its time.
func (f *forwarding) due(last *time.Time, pause time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(*last) < pause {
		return false
	}
	*last = now
	return true
}

// stop notifies the other nodes that this one has no event streams any more. It is called
// when no other heartbeat follows.
func (f *forwarding) stop(ctx context.Context) {
	if !f.reachable.Load() || f.node.broker.Health() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = f.node.broker.Publish(ctx, clusterwire.Heartbeat, [][]byte{f.node.heartbeat(stopAction)}) // or they notice later
}

// auditLogs periodically compares the channels with their logs, because a broker may
// fail to report a loss, and prevents the logs from ending while there are members. In
// between, it compares a few of them: if all logs were lost, such as by FLUSHALL of Redis,
// the members must be notified soon.
func (n *node) auditLogs() {
	now := time.Now()
	all := now.Sub(n.audited) >= n.beat()
	if n.log == nil || !all && now.Sub(n.sampled) < sampleTime || !n.auditing.CompareAndSwap(false, true) {
		return
	}
	n.sampled = now
	if all {
		n.audited = now
	}
	n.tasks.Add()
	go func() {
		defer n.tasks.Done()
		defer n.auditing.Store(false)
		logs := n.logs()
		if !all {
			rand.Shuffle(len(logs), func(i, j int) { logs[i], logs[j] = logs[j], logs[i] }) //nolint:gosec // a sample
			if !n.audit(logs[:min(len(logs), sampleTopics)]) || len(logs) <= sampleTopics {
				return
			}
		}
		n.audit(logs)
	}()
}

// logs returns the logs of all channels that have members, or had some.
func (n *node) logs() (logs []*remoteLog) {
	for _, l := range n.links() {
		if l.log != nil && l.log.opened.Load() {
			logs = append(logs, l.log)
		}
	}
	return logs
}

// audit reads the logs that are ahead of their channels. It reports whether there is a log
// that was lost.
func (n *node) audit(logs []*remoteLog) (lost bool) {
	for len(logs) > 0 {
		some := logs[:min(len(logs), auditTopics)]
		logs = logs[len(some):]
		topics := make([]string, len(some))
		for i, r := range some {
			topics[i] = r.link.name
		}
		ctx, cancel := context.WithTimeout(n.run, logTimeout)
		tops, err := n.log.Tops(ctx, topics)
		cancel()
		if err != nil {
			return false // the next time
		}
		for i, r := range some {
			if r.missing(tops[i]) || tops[i] == (Position{}) {
				r.soon()
			}
			lost = lost || !r.isOf(tops[i])
			r.renew()
		}
	}
	return lost
}

// isOf reports whether the channel is in the epoch of a position.
func (r *remoteLog) isOf(p Position) bool {
	ch := r.link.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return p.Epoch == ch.log.epoch
}
