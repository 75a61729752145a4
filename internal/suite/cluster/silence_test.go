package cluster_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

// defaultTimeout uses the default of WithNodeTimeout.
func defaultTimeout(c *cluster) { c.pond = append(c.pond, pond.WithNodeTimeout(90*time.Second)) }

// A node that returns after a loss keeps the members of a node that has not returned yet:
// that node cannot answer.
func TestMembersOfNodeThatReturnsLater(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		one, two := c.join(s[0]), c.join(s[1])
		two.Send(room, "track", json.RawMessage(`{"u":"two"}`))
		one.Send(room, "track", json.RawMessage(`{"u":"one"}`))
		c.rest()
		one.Drain()
		for _, d := range []time.Duration{300 * time.Millisecond, 2500 * time.Millisecond, 5 * time.Second, 40 * time.Second} {
			s[0].broker.Disconnect()
			s[1].broker.Disconnect()
			c.pass(200 * time.Millisecond)
			s[0].broker.Connect()
			c.pass(d)
			c.agree(s[:1], one, two)
			s[1].broker.Connect()
			c.pass(40 * time.Second)
			c.agree(s, one, two)
			one.Quiet()
		}
	}, defaultTimeout)
}

// The answer of a node may take longer than usual, because the backend is slow.
func TestMembersBehindSlowBackend(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		one, two := c.join(s[0]), c.join(s[1])
		one.Send(room, "track", json.RawMessage(`{"u":"one"}`))
		two.Send(room, "track", json.RawMessage(`{"u":"two"}`))
		c.rest()
		one.Drain()
		c.bus.SetFaults(memorybroker.Faults{MinDelay: 1100 * time.Millisecond, MaxDelay: 1100 * time.Millisecond})
		s[0].broker.Disconnect()
		s[0].broker.Connect()
		for range 20 {
			c.pass(time.Second)
			two.Send(room, "say", number(1))
			c.agree(s, one, two)
		}
		for _, m := range one.Drain() {
			if m.Event != "said" {
				t.Errorf("received %v", m)
			}
		}
	}, defaultTimeout)
}

// A node whose last member left while another node had no connection does not answer that
// one, although it is connected.
func TestLastLeaveWithoutConnection(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		one, two := c.join(s[0]), c.join(s[1])
		c.rest()
		s[1].broker.Disconnect()
		one.Leave(room)
		c.pass(20 * time.Second) // the channel on the first node ends
		c.agree(s[1:2], one, two)
		s[1].broker.Connect()
		c.pass(5 * time.Second)
		c.agree(s[1:2], two)
	}, defaultTimeout)
}

// The leave handler does not run for a person who is on a node that cannot answer.
func TestLeaveOfPersonWhoseNodeReturnsLater(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[0])
		one, two := c.join(s[0], ann), c.join(s[1], ann)
		c.diary.wrote(t, "ann comes to a")
		one.Leave(room)
		c.pass(time.Second)
		s[0].broker.Disconnect()
		s[1].broker.Disconnect()
		s[0].broker.Connect()
		c.pass(4 * time.Second)
		s[1].broker.Connect()
		c.pass(4 * time.Second)
		c.diary.wrote(t)
		two.Leave(room)
		c.pass(4 * time.Second)
		c.diary.wrote(t, "ann goes from b")
	}, withPeople, defaultTimeout)
}

// The join handler does not run for a person who is on a node that cannot answer.
func TestJoinOfPersonWhoseNodeReturnsLater(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[0])
		c.join(s[1], ann)
		c.diary.wrote(t, "ann comes to b")
		s[0].broker.Disconnect()
		s[1].broker.Disconnect()
		s[0].broker.Connect()
		c.pass(3 * time.Second)
		c.join(s[0], ann)
		s[1].broker.Connect()
		c.pass(4 * time.Second)
		c.diary.wrote(t)
	}, withPeople, defaultTimeout)
}
