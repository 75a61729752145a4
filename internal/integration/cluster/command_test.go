package cluster_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// A command is a request of the application to end memberships or connections, at any
// node. Its number is in the reason that clients receive.
type command struct {
	n      int
	kind   string
	user   string // unless it is for a person or a channel
	person string
	node   *node
	at     time.Time
	err    error
	local  bool                // the user is on the same node, so no other node is asked
	ended  map[string]bool     // users whose membership or connection it ended
	on     map[*node]time.Time // when it did so on a node
}

func (c *command) String() string {
	return fmt.Sprintf("%d (%s of %q at node %s, at %s: %v)", c.n, c.kind, c.user+c.person, c.node.name, clock(c.at), c.err)
}

const reasonPrefix = "command "

// command performs a step that is a command.
func (p *player) command(s step, n *node, client *client) {
	ch, live := n.endpoint.Channel(room)
	disconnects := strings.HasPrefix(s.what, "disconnect")
	if n.dead || client.session == nil || !live && !disconnects {
		return
	}
	p.number++
	c := &command{n: p.number, kind: s.what, node: n, at: time.Now(), ended: map[string]bool{}, on: map[*node]time.Time{}}
	p.commands[c.n] = c
	member, reason := client.member, fmt.Sprint(reasonPrefix, c.n)
	switch s.what {
	case "evict":
		c.user = client.session.ID()
		c.local = n.members()[c.user] > 0
		c.err = ch.Evict(c.user, reason)
	case "evict person":
		c.person = client.person
		c.err = ch.EvictIdentity(c.person, reason)
	case "destroy":
		p.lines.log.lost = true
		ch.Close(reason)
	case "disconnect":
		c.user, c.local = client.session.ID(), client.node == n
		c.err = n.endpoint.Disconnect(c.user, 0, reason)
	case "disconnect person":
		c.person = client.person
		c.err = n.endpoint.DisconnectIdentity(c.person, 0, reason)
	}
	p.readAll()
	switch {
	case p.faulty:
	case s.what == "evict" && (c.err == nil) != (member != nil), c.err != nil && !errors.Is(c.err, pond.ErrNotMember):
		p.fail("c%d: %v", client.number, c)
	case member != nil && client.member == member:
		p.fail("c%d is still a member after %v", client.number, c)
	}
}

// asked reports whether the other nodes were asked to execute the command.
func (c *command) asked() bool {
	return c.err == nil && !c.local || c.kind == "evict person" && errors.Is(c.err, pond.ErrNotMember)
}

func (c *command) isFor(m *membership) bool {
	return (c.user == "" || c.user == m.id) && (c.person == "" || c.person == m.client.person)
}

// obey notes that a command ended a membership or a connection of a client.
func (p *player) obey(c *client, m *membership, reason string, kinds ...string) {
	var n int
	if _, err := fmt.Sscanf(reason, reasonPrefix+"%d", &n); err != nil || p.commands[n] == nil {
		p.fail("%v ended with the reason %q", m, reason)
		return
	}
	what := p.commands[n]
	switch {
	case what.kind != kinds[0] && what.kind != kinds[len(kinds)-1] || !what.isFor(m):
		p.fail("%v ended because of %v", m, what)
	case what.ended[m.id]:
		p.fail("%v ended because of %v, as a membership of the same user before", m, what)
	}
	if at, again := what.on[m.node]; again && at.Before(time.Now()) {
		p.fail("%v ended because of %v, which node %s executed at %v", m, what, m.node.name, at)
	}
	what.ended[m.id], what.on[m.node] = true, time.Now()
}

// ending handles the message that a membership ended.
func (p *player) ending(c *client, m pondtest.Message, kinds ...string) error {
	var v struct{ Reason, Message string }
	if err := json.Unmarshal(m.Payload, &v); err != nil {
		return err
	}
	if v.Reason == "" {
		v.Reason = v.Message
	}
	p.obey(c, c.member, v.Reason, kinds...)
	p.end(c)
	c.returns = c.number >= clients/2 // it joins again at once
	return nil
}

// cutOff checks why the server ended a connection.
func (p *player) cutOff(c *client) {
	if c.closes || c.node.dead {
		return
	}
	m := c.member
	if m == nil {
		m = &membership{client: c, id: c.session.ID(), node: c.node}
	}
	if c.transport == pondtest.WebSocket {
		_, reason := c.session.Closed()
		p.obey(c, m, reason, "disconnect", "disconnect person")
		return
	}
	for _, what := range p.commands {
		if strings.HasPrefix(what.kind, "disconnect") && what.isFor(m) {
			return
		}
	}
	p.fail("the connection of %v ended", m)
}

// checkCommands checks that commands reached all members that they were for.
func (p *player) checkCommands() {
	taken := p.takenSoFar()
	for _, c := range p.commands {
		for _, m := range p.members {
			if m.acked.IsZero() || !m.acked.Before(c.at) || !c.isFor(m) {
				continue
			}
			if m.until.IsZero() && (c.asked() || c.local) && !c.node.dead && !p.silence {
				p.fail("%v is still there in the end, although %v is repeated", m, c)
			}
			by := c.at
			if m.node != c.node {
				if len(taken[c.n]) == 0 {
					continue // nobody promises that it arrives
				}
				if by = p.arrived(taken[c.n][0]); p.mayMiss(m.node, c.at, by) {
					continue
				}
				if strings.HasPrefix(c.kind, "disconnect") && !m.node.heardCommands(c.at) {
					continue
				}
			}
			if m.alive.After(by) {
				p.fail("%v did not end, although the broker took %v at %v", m, c, taken[c.n])
			}
		}
	}
}

// heardCommands reports whether the node subscribed to commands about connections
// before a time.
func (n *node) heardCommands(at time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.controls.IsZero() && n.controls.Before(at)
}
