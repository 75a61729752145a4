package cluster_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pondsocket/pond/pondtest"
)

// A client is one client, over its connections.
type client struct {
	number    int
	person    string // its identity
	transport pondtest.Transport
	recovers  bool              // it asks for recovery
	session   *pondtest.Session // nil if it is not connected
	node      *node             // of the session
	member    *membership       // nil if it is not a member, and did not ask to be one
	former    string            // its user ID before
	at        pondtest.Position
	returns   bool // it joins again as soon as possible
	closes    bool // it ended its connection
}

// A membership is what a client received between a request to join and its end.
type membership struct {
	client  *client
	id      string // of the user
	former  string // that recovery was requested for
	from    pondtest.Position
	node    *node
	request string

	asked   time.Time
	acked   time.Time // zero: never
	until   time.Time // zero: it lasted until the end of the history
	alive   time.Time // when the client last looked, and it had not ended
	leaving bool
	kicked  map[string]bool    // evictions of others that it was notified of
	events  []pondtest.Message // since the acknowledgement, which is the first one
	list    string             // of presence, as last received
}

// read reads what a client received.
func (p *player) read(c *client) {
	if c.session == nil {
		return
	}
	for _, m := range c.session.Drain() {
		if err := p.receive(c, m); err != nil {
			p.fail("c%d: %w", c.number, err)
		}
	}
	if at := c.session.Position(room); at != (pondtest.Position{}) {
		c.at = at
	}
	if c.session.Ended() {
		p.cutOff(c)
		p.gone(c)
	}
	if c.returns && c.session != nil && c.member == nil && !p.settling {
		p.join(c, c.node, step{})
	}
	c.returns = false
	if c.member != nil {
		c.member.alive = time.Now()
	}
}

func (p *player) receive(c *client, m pondtest.Message) error {
	switch {
	case m.Event == "RECONNECT" && c.node.dead:
		return nil
	case m.Channel != room:
		return fmt.Errorf("received %v", m)
	}
	member := c.member
	if member == nil {
		if m.Action == "ERROR" || m.Event == "UNAUTHORIZED" || m.RequestID == "leave" {
			return nil // it asked for something when it was not a member any more
		}
		return fmt.Errorf("received %v after its membership", m)
	}
	if member.acked.IsZero() {
		switch {
		case m.RequestID != member.request && m.Action == "ERROR":
			return nil // about a message of the membership before
		case m.RequestID != member.request:
			return fmt.Errorf("received %v before the answer to its request to join", m)
		case m.Event == "ACKNOWLEDGE":
			member.acked = time.Now()
			member.events = append(member.events, m)
		default:
			if !p.faulty {
				return fmt.Errorf("received %v", m)
			}
			p.end(c)
		}
		return nil
	}
	switch m.Event {
	case "EVICTED":
		return p.ending(c, m, "evict", "evict person")
	case "destroyed":
		return p.ending(c, m, "destroy")
	case "EXIT_ACKNOWLEDGE":
		p.end(c)
		return nil
	case "kicked_out": // EVICTED follows
		return nil
	case "kicked":
		var v struct{ UserID, Reason string }
		if err := json.Unmarshal(m.Payload, &v); err != nil {
			return err
		}
		notice := v.UserID + " " + v.Reason
		if member.kicked[notice] {
			return fmt.Errorf("received %v twice", m)
		}
		if member.kicked == nil {
			member.kicked = map[string]bool{}
		}
		member.kicked[notice] = true
		return nil
	}
	if m.Action == "PRESENCE" {
		var v struct{ Presence []json.RawMessage }
		if err := json.Unmarshal(m.Payload, &v); err != nil {
			return err
		}
		member.list = sorted(v.Presence)
		return nil
	}
	member.events = append(member.events, m)
	return nil
}

// sorted returns a list of values as text.
func sorted(values []json.RawMessage) string {
	var texts []string
	for _, v := range values {
		texts = append(texts, string(v))
	}
	slices.Sort(texts)
	return fmt.Sprint(texts)
}

// end ends the membership of a client.
func (p *player) end(c *client) {
	if c.member != nil {
		c.member.until = time.Now()
		c.member = nil
	}
}

// gone notes that the connection of a client ended.
func (p *player) gone(c *client) {
	p.end(c)
	if c.session != nil {
		c.former = c.session.ID()
	}
	c.session, c.node, c.closes = nil, nil, false
}
