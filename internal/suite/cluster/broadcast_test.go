package cluster_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// A broadcast reaches the members on all nodes once, others do not get it, and the
// request ID and the payload are those of the sender.
func TestBroadcast(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		for i, node := range s {
			client := c.join(node)
			stranger := c.connect(node)
			stranger.Join("/chat/2", nil)
			ann.Drain()
			id := ann.Send(room, "say", number(i))
			m := client.Receive()
			kit.Is(t, m, "BROADCAST", "said", string(number(i)))
			if m.RequestID != id {
				t.Errorf("got request ID %s, want %s", m.RequestID, id)
			}
			client.Quiet()
			stranger.Quiet()
			expect(t, ann, i)
			client.Leave(room)
		}
	})
}

// A member that does not read gets only the newest messages, also of members on other nodes.
func TestKeepLatest(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		bob.Stall()
		ann.Send(room, "say", map[string]any{"n": 0, "fill": strings.Repeat("x", 100<<10)}) // more than the network takes
		c.settle()
		c.pass(time.Second)
		for n := range 5 {
			ann.Send(room, "say", number(n+1))
		}
		c.settle()
		bob.Resume()
		expect(t, bob, 0, 5)
		expect(t, ann, 0, 1, 2, 3, 4, 5)
	}, func(c *cluster) {
		c.opts = []pond.LobbyOption{pond.WithSlowClients(pond.KeepLatest(nil))}
	})
}

// One sender's messages are in order everywhere.
func TestOrder(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		bob := c.join(s[1])
		var want []int
		for n := range 200 {
			ann.Send(room, "say", number(n))
			want = append(want, n)
		}
		expect(t, bob, want...)
		expect(t, ann, want...)
	})
}

// A move is the payload of a typed event.
type move struct{ From, To int }

const moved pond.Event[move] = "moved"

// Typed events arrive on other nodes as they were sent.
func TestTypedEvents(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		ann.Send(room, "move", move{1, 2})
		kit.Is(t, bob.Receive(), "BROADCAST", "moved", `{"From":1,"To":2}`)
		kit.Is(t, ann.Receive(), "BROADCAST", "moved", `{"From":1,"To":2}`)
		ann.Send(room, "move", map[string]string{"From": "x"})
		if m := ann.Receive(); kit.Status(t, m) != http.StatusBadRequest {
			t.Errorf("a payload of another type was answered with %v", m)
		}
		bob.Quiet()
	}, func(c *cluster) {
		c.setup = func(l *pond.Lobby) {
			pond.On(l, "move", func(ctx *pond.EventContext, m move) error { return ctx.Broadcast(moved.With(m)) })
		}
	})
}

// Filters for outgoing events see what comes from other nodes, too.
func TestOutgoing(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		ann.Send(room, "say", number(1))
		ann.Send(room, "say", number(2))
		expect(t, ann, 1)
		expect(t, bob, 1)
	}, func(c *cluster) {
		c.setup = func(l *pond.Lobby) {
			l.OnOutgoing("said", func(ctx *pond.OutgoingContext) error {
				if string(ctx.Payload()) == string(number(2)) {
					ctx.Block()
				}
				return nil
			})
		}
	})
}

// A filter that ends its goroutine or blocks harms one message for one member, and not the
// connection to the cluster.
func TestFailingOutgoing(t *testing.T) {
	for _, withLog := range []bool{false, true} {
		t.Run(fmt.Sprint("log ", withLog), func(t *testing.T) {
			run(t, func(t *testing.T, c *cluster, s []*server) {
				ann, bob := c.join(s[0]), c.join(s[1])
				for n := range 5 {
					ann.Send(room, "say", number(n))
				}
				c.pass(time.Second)
				expect(t, bob, 0, 2, 3, 4)
				expect(t, ann, 0, 2, 3, 4)
			}, func(c *cluster) {
				if withLog {
					withHistory(c)
				}
				c.setup = func(l *pond.Lobby) {
					l.OnOutgoing("said", func(ctx *pond.OutgoingContext) error {
						if string(ctx.Payload()) == string(number(1)) {
							runtime.Goexit()
						}
						return nil
					})
				}
			})
		})
	}
}

// Audiences mean the same on all nodes.
func TestAudiences(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		bob, eve := c.join(s[1]), c.join(s[1])
		last := c.join(s[len(s)-1])
		ch := c.channel(s[0])

		ann.Send(room, "tell-others", number(1))
		expect(t, ann)
		expect(t, bob, 1)
		expect(t, eve, 1)
		expect(t, last, 1)

		send := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			c.settle()
		}
		send(ch.To(bob.ID()).Broadcast("said", number(2)))
		expect(t, bob, 2)
		expect(t, eve)
		expect(t, ann)
		expect(t, last)

		send(ch.To(bob.ID(), ann.ID(), "unknown", last.ID()).Broadcast("said", number(3)))
		expect(t, bob, 3)
		expect(t, eve)
		expect(t, ann, 3)
		expect(t, last, 3)

		send(ch.Except(bob.ID()).Broadcast("said", number(4)))
		expect(t, bob)
		expect(t, eve, 4)
		expect(t, ann, 4)
		expect(t, last, 4)

		send(ch.Except(bob.ID(), ann.ID(), eve.ID()).Broadcast("said", number(5)))
		expect(t, bob)
		expect(t, eve)
		expect(t, ann)
		expect(t, last, 5)

		send(ch.To().Broadcast("said", number(6)))
		expect(t, bob)
		expect(t, ann)
	})
}
