package cluster_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// checkLists checks the presence that clients received last.
func (p *player) checkLists() {
	users, _ := p.users()
	var values []json.RawMessage
	for _, u := range users {
		if u.presence != "" {
			values = append(values, json.RawMessage(u.presence))
		}
	}
	want := sorted(values)
	for _, c := range p.clients {
		if c.member != nil && users[c.member.id].presence != "" && c.member.list != want {
			p.fail("c%d received the presence %s, want %s", c.number, c.member.list, want)
		}
	}
}

// checkLeft checks that the leave handler ran once for each membership.
func (p *player) checkLeft() {
	for _, n := range p.all {
		n.mu.Lock()
		if len(n.here) > 0 || !maps.Equal(n.joined, n.left) {
			p.fail("node %s: memberships %v, calls of the leave handler %v, members %v", n.name, n.joined, n.left, n.here)
		}
		n.mu.Unlock()
	}
	for _, m := range p.members {
		m.node.mu.Lock()
		if !m.acked.IsZero() && m.node.joined[m.id] == 0 {
			p.fail("user %s was acknowledged by node %s, and did not join it", m.id, m.node.name)
		}
		m.node.mu.Unlock()
	}
}

// numbers returns the messages that a member received.
func (p *player) numbers(m *membership) (list []int) {
	for _, e := range m.events {
		if e.Event != "said" {
			continue
		}
		var r request
		if err := json.Unmarshal(e.Payload, &r); err != nil {
			p.fail("%w", err)
		}
		list = append(list, r.N)
	}
	return list
}

// checkMessages checks who received what.
func (p *player) checkMessages() {
	messages := p.sentSoFar()
	for _, m := range p.members {
		if m.acked.IsZero() {
			continue
		}
		got := map[int]bool{}
		last := map[string]int{}
		for _, n := range p.numbers(m) {
			sent := messages[n]
			switch {
			case sent == nil:
				p.fail("%v received %d, which was not sent", m, n)
				return
			case got[n] && !p.storedTwice(n):
				p.fail("%v received %v twice", m, sent)
			case !sent.isFor(m):
				p.fail("%v received %v", m, sent)
			case sent.done && sent.err != nil && sent.kind != "publish":
				p.fail("%v received %v, which failed", m, sent)
			case !p.history.logged && !m.acked.IsZero() && p.arrived(sent.at).Before(m.asked) && !p.faulty:
				p.fail("%v received %v, which was sent before", m, sent)
			}
			got[n] = true
			order := sent.node.name
			if sent.stored(p) {
				continue // see checkLog
			}
			if n < last[order] {
				p.fail("%v received %v after %d", m, sent, last[order])
			}
			last[order] = n
		}
		for _, n := range slices.Sorted(maps.Keys(messages)) {
			if sent := messages[n]; !got[n] && p.due(sent, m) {
				p.fail("%v did not receive %v, which the broker took at %v", m, sent, p.taken[n])
			}
		}
	}
}

// isFor reports whether a message is for a member.
func (s *message) isFor(m *membership) bool {
	switch s.kind {
	case "others":
		return s.from != m.id
	case "users":
		return slices.Contains(s.to, m.id)
	case "people":
		return slices.Contains(s.to, m.client.person)
	}
	return true
}

func (s *message) stored(p *player) bool {
	return p.history.logged && s.kind != "users" && s.kind != "people"
}

// due reports whether a member must have received a message.
func (p *player) due(s *message, m *membership) bool {
	if s.err != nil || !s.done || !s.isFor(m) || !m.acked.Before(s.at) || s.stored(p) && (p.lines.log.lost || p.history.kept < all) {
		return false // see checkLog
	}
	if m.alive.Before(s.at) {
		return false
	}
	if s.node == m.node && !s.stored(p) {
		return true // no broker is necessary
	}
	if len(p.taken[s.n]) == 0 {
		return false // see checkLost
	}
	by := p.arrived(p.taken[s.n][0])
	if m.alive.Before(by) {
		return false
	}
	if s.stored(p) {
		return m.until.IsZero() // see checkLog
	}
	return !p.mayMiss(m.node, s.at, by)
}

// arrived returns when everything arrived that the broker took at a time.
func (p *player) arrived(at time.Time) time.Time {
	if !p.faulty {
		return at
	}
	by := at.Add(8 * (maxDelay + 2*time.Millisecond))
	for _, i := range p.lines.pauses {
		if i.overlaps(at, by) {
			by = i.to.Add(8 * (maxDelay + 2*time.Millisecond))
		}
	}
	return by
}

// retried is a time after which a message that the broker takes was perhaps rejected before.
const retried = 20 * time.Millisecond

// checkLost checks that exactly the messages and requests were counted that the broker did not
// take, and perhaps those that other nodes missed, or that the broker took when they were already
// given up: only the request to close a channel is sent again in the same form. It is given up
// together with earlier messages, so that may happen soon after it was made.
func (p *player) checkLost() {
	lost := map[*node]int{}
	for n, s := range p.sentSoFar() {
		switch {
		case !s.done:
			p.fail("%v: no answer", s)
		case s.err != nil && s.kind != "publish":
			if len(p.taken[n]) > 0 {
				p.fail("%v failed, and the broker took it", s)
			}
		case s.leaves() && len(p.taken[n]) == 0:
			lost[s.node]++
		}
	}
	taken := p.takenSoFar()
	late := map[*node]int{}
	for _, c := range p.commands {
		switch {
		case !c.asked():
		case len(taken[c.n]) == 0:
			lost[c.node]++
		case c.kind == "destroy" && taken[c.n][0].Sub(c.at) >= retried:
			late[c.node]++
		}
	}
	missed := 0 // by all nodes
	for _, n := range p.all {
		n.mu.Lock()
		missed += n.missed
		n.mu.Unlock()
	}
	for _, n := range p.all {
		n.mu.Lock()
		if others := missed - n.missed; n.lost < lost[n] || n.lost > lost[n]+late[n]+others {
			p.fail("node %s lost %d messages and requests, others missed %d, and it counted %d", n.name, lost[n], others, n.lost)
		}
		if n.lost > 0 && !p.faulty {
			p.fail("node %s lost %d messages", n.name, n.lost)
		}
		n.mu.Unlock()
	}
}

// leaves reports whether a message is for members that may be on other nodes.
func (s *message) leaves() bool {
	switch s.kind {
	case "users":
		return slices.ContainsFunc(s.to, func(id string) bool { return s.here[id] == 0 })
	case "people":
		return len(s.to) > 0
	}
	return true
}

func (m *membership) String() string {
	return fmt.Sprintf("c%d (%s on node %s, from %s to %s)", m.client.number, m.id, m.node.name, clock(m.acked), clock(m.until))
}

func (s *message) String() string {
	return fmt.Sprintf("%d (%s of %q at node %s, to %q, at %s: %v)", s.n, s.kind, s.from, s.node.name, s.to, clock(s.at), s.err)
}

func clock(t time.Time) string { return t.Format("04:05.000") }
