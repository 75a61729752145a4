package cluster_test

import (
	"encoding/json"
	"testing"
	"time"
)

// A member that leaves during an outage disappears from the other nodes soon after it, even
// if the channel on its node ended meanwhile.
func TestLastLeaveDuringOutage(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		one, two := c.join(s[0]), c.join(s[1])
		one.Send(room, "track", json.RawMessage(`{"u":"one"}`))
		c.rest()
		s[0].broker.Disconnect()
		one.Leave(room)
		c.pass(45 * time.Second) // the queued message about the leave is given up
		c.agree(s[1:], one, two)
		s[0].broker.Connect()
		c.pass(10 * time.Second)
		c.agree(s[1:], two)
	}, defaultTimeout)
}

// A client that joins again at the time of that announcement is a member on all nodes.
func TestJoinAfterLastLeaveDuringOutage(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		one, two := c.join(s[0]), c.join(s[1])
		c.rest()
		s[0].broker.Disconnect()
		one.Leave(room)
		c.pass(45 * time.Second)
		s[0].broker.Connect()
		again := c.join(s[0])
		c.pass(10 * time.Second)
		c.agree(s, again, two)
	}, defaultTimeout)
}

// The leave handler for a person runs once if the message that its last client on one node
// left is lost, and another client leaves another node later.
func TestLeaveOfPersonAfterOutage(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[1])
		one, two := c.join(s[0], ann), c.join(s[1], ann)
		c.diary.wrote(t, "ann comes to a")
		s[0].broker.Disconnect()
		one.Leave(room)
		c.pass(45 * time.Second)
		s[0].broker.Connect()
		c.pass(time.Minute)
		two.Leave(room)
		c.pass(4 * time.Second)
		c.diary.wrote(t, "ann goes from b")
	}, withPeople, defaultTimeout)
}
