package cluster_test

import (
	"maps"
	"time"
)

// How long nodes may differ after the last fault. The terms are those of the design.
const (
	longestRetry = 2 * time.Second        // of messages to the broker
	syncDelay    = 250 * time.Millisecond // random, before requests for members and before answers
	answerTime   = 2 * time.Second        // after which nodes that do not answer have no members
	stopTime     = 5 * time.Second        // of messages of a node that stops
	transit      = 5 * maxDelay           // of messages that were on their way

	// The log is read when a message is missing, and again a second after a failure.
	logTime = longestRetry + time.Second + transit
)

// beat returns the longest time until a node that is alive sent a heartbeat.
func (h *history) beat() time.Duration { return h.timeout*11/30 + h.tick() }

// tick returns the time between two checks of the state of other nodes.
func (h *history) tick() time.Duration { return h.timeout / 18 }

// missing returns how long members may be missing: until the node that has them sent
// what it could not send, or a heartbeat, if it was considered dead.
func (h *history) missing() time.Duration {
	return max(longestRetry, h.beat()) + syncDelay + transit
}

// ghosts returns how long members may be shown that left, if their node is alive: it
// need not have other members, and then it does not answer.
func (h *history) ghosts() time.Duration { return h.missing() + answerTime }

// dead returns how long members of a node may be shown that crashed or stopped: until
// the others know that they receive everything, and then for the timeout.
func (h *history) dead() time.Duration { return stopTime + h.beat() + h.timeout + 2*h.tick() }

// silent returns how long nodes may differ after losses that the broker did not report.
// The next periodic announcement repairs them; nodes without members send none.
func (h *history) silent() time.Duration { return 4*h.timeout + 2*h.beat() + 2*h.tick() }

// settle checks that the nodes agree in time after the last fault.
func (p *player) settle() {
	h, last := &p.history, time.Now()
	until := func(d time.Duration) { p.pass(time.Until(last.Add(d))) }
	if h.logged && !p.silence && !p.lines.log.lost {
		until(logTime)
		p.snapshot()
		p.checkLog()
	}
	until(h.beat() + 2*h.tick())
	for _, n := range p.nodes {
		if err := n.pond.Degraded(); err != nil && !n.dead {
			p.fail("node %s is degraded: %w", n.name, err)
		}
	}
	if !p.silence {
		p.stage = "missing"
		until(h.missing())
		p.checkUsers(func(*membership) bool { return true })
		p.stage = "ghosts"
		until(h.ghosts())
		p.checkUsers(func(m *membership) bool { return m.node.dead })
		p.stage = "dead"
		until(h.dead())
	} else {
		until(h.silent())
	}
	p.checkUsers(nil)
	p.checkLists()
	for _, c := range p.clients {
		if c.member != nil && c.member.acked.IsZero() {
			p.fail("c%d: no answer to its request to join", c.number)
		}
	}
}

// mute checks that a living node that the others do not hear is considered dead, considers
// nobody dead itself, and returns as soon as they hear it.
func (p *player) mute() {
	var quiet *node
	for _, n := range p.nodes {
		if !n.dead {
			quiet = n
		}
	}
	p.stage = "muting node " + quiet.name
	quiet.muted.Store(true)
	p.pass(p.history.timeout * 5 / 4)
	want, on := p.users()
	heard := maps.Clone(want)
	for _, m := range p.members {
		if m.node == quiet {
			delete(heard, m.id)
		}
	}
	for _, n := range p.nodes {
		if n == quiet {
			p.checkNode(n, on[n], want, nil)
		} else {
			p.checkNode(n, on[n], heard, nil)
		}
	}
	p.stage = "after muting node " + quiet.name
	quiet.muted.Store(false)
	p.pass(p.history.missing())
	p.checkUsers(nil)
}

// checkUsers checks that all nodes show exactly the members that are connected, with their
// presence and assigns. Members of the past are allowed if tolerated says so.
func (p *player) checkUsers(tolerated func(*membership) bool) {
	want, on := p.users()
	past := map[string]*membership{}
	for _, m := range p.members {
		past[m.id] = m
	}
	for _, n := range p.nodes {
		p.checkNode(n, on[n], want, func(id string) bool {
			return tolerated != nil && past[id] != nil && past[id].node != n && tolerated(past[id])
		})
	}
}

// checkNode checks which members a node shows that has some. Others are allowed if
// tolerated says so.
func (p *player) checkNode(n *node, members int, want map[string]user, tolerated func(id string) bool) {
	if n.dead {
		return
	}
	got, err := n.shown()
	if err != nil {
		p.fail("node %s: %w", n.name, err)
	}
	live := got != nil
	maps.DeleteFunc(got, func(id string, _ user) bool {
		_, present := want[id]
		return !present && tolerated != nil && tolerated(id)
	})
	if members > 0 && !maps.Equal(got, want) || members == 0 && live {
		p.fail("%s, %s: node %s has %d members and shows\n%v, want\n%v", p.stage, clock(time.Now()), n.name, members, got, want)
	}
}

// disconnected notes the members on other nodes that a node shows when it loses its
// connection, or that of all nodes.
func (n *node) disconnected() {
	if n.dead || n.kept != nil {
		return
	}
	n.channel, _ = n.endpoint.Channel(room)
	n.kept, _ = n.shown()
	if n.kept == nil {
		n.kept = map[string]user{}
	}
	here := n.members()
	maps.DeleteFunc(n.kept, func(id string, _ user) bool { return here[id] > 0 })
}

// checkKept checks that a node that has no connection still shows the members on other
// nodes that stayed.
func (p *player) checkKept(n *node) {
	kept := n.kept
	n.kept = nil
	ch, live := n.endpoint.Channel(room)
	if n.dead || !live || ch != n.channel {
		return
	}
	got, _ := n.shown()
	connected, _ := p.users() // others may have left just before, while the node was reading a log
	for id := range kept {
		_, stays := connected[id]
		if _, ok := got[id]; !ok && stays {
			p.fail("node %s does not show %s any more, without a connection", n.name, id)
		}
	}
}

// mayMiss reports whether a node may have missed messages of a time.
func (p *player) mayMiss(n *node, from, to time.Time) bool {
	for _, i := range p.lines.losses {
		if (i.node == nil || i.node == n) && i.overlaps(from, to) {
			return true
		}
	}
	return false
}
