package cluster_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// withHistory gives the channels a history, which the broker keeps.
func withHistory(c *cluster) {
	c.opts = []pond.LobbyOption{pond.WithHistory(pond.History{Newcomers: 100})}
}

// follow connects a client that asks for recovery.
func (c *cluster) follow(s *server, opts ...pondtest.JoinOption) *pondtest.Session {
	c.t.Helper()
	session := c.connect(s)
	c.admitted(session.Join(room, nil, append([]pondtest.JoinOption{pondtest.Want("recover")}, opts...)...))
	return session
}

// events describes what a client received: numbers of "said" messages, and other events.
func events(t *testing.T, s *pondtest.Session) (list []string) {
	t.Helper()
	for _, m := range s.Drain() {
		text := m.Event
		var v struct {
			N      int
			Reason string
		}
		m.Bind(t, &v)
		switch {
		case m.Event == "said":
			text = fmt.Sprint(v.N)
		case v.Reason != "":
			text += " " + v.Reason
		}
		list = append(list, text)
	}
	return list
}

func expectEvents(t *testing.T, s *pondtest.Session, want ...string) {
	t.Helper()
	if got := events(t, s); !slices.Equal(got, want) {
		t.Fatalf("received %q, want %q", got, want)
	}
}

// All members on all nodes see the same messages in the same order, with the same offsets.
func TestLogOrder(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		var clients []*pondtest.Session
		for i := range 4 {
			clients = append(clients, c.follow(s[i%len(s)]))
		}
		c.bus.SetFaults(memorybroker.Faults{MaxDelay: 20 * time.Millisecond})
		for n := range 50 {
			clients[n%4].Send(room, "say", number(n))
		}
		c.pass(5 * time.Second)
		if got := c.d.SameOrder("said", clients...); len(got) != 50 {
			t.Errorf("%d messages, want 50", len(got))
		}
	}, withHistory)
}

// Clients recover on any node, and get exactly what they missed.
func TestRecovery(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.follow(s[0]), c.follow(s[0])
		for n := range 5 {
			ann.Send(room, "say", number(n))
		}
		c.settle()
		expectEvents(t, bob, "0", "1", "2", "3", "4")
		at := bob.Position(room)
		bob.Close()
		for n := 5; n < 8; n++ {
			ann.Send(room, "say", number(n))
		}
		c.settle()
		for _, node := range s {
			back := c.follow(node, pondtest.From(at, bob.ID()))
			expectEvents(t, back, "5", "6", "7", "RECOVERED")
			if got := back.Position(room); got != ann.Position(room) && len(ann.Drain()) == 0 {
				t.Errorf("position %v, want %v", got, ann.Position(room))
			}
			back.Close()
		}
		late := c.start("late")
		back := c.follow(late, pondtest.From(at, bob.ID()))
		expectEvents(t, back, "5", "6", "7", "RECOVERED")
		news := c.follow(late, pondtest.Last(2))
		expectEvents(t, news, "6", "7", "RECOVERED")
		ann.Send(room, "say", number(8))
		c.settle()
		expectEvents(t, back, "8")
		expectEvents(t, news, "8")
	}, withHistory)
}

// An event stream recovers with Last-Event-ID on another node.
func TestLastEventID(t *testing.T) {
	for _, n := range []int{2, 3} {
		runOne(t, n, pondtest.SSE, func(t *testing.T, c *cluster, s []*server) {
			target := "/socket?want=recover&join=" + room
			stream := c.d.Connect(pondtest.SSE, "/a"+target)
			c.settle()
			for n := range 3 {
				if err := s[1].endpoint.Publish(t.Context(), room, "said", number(n)); err != nil {
					t.Fatal(err)
				}
			}
			c.settle()
			stream.Receive() // the acknowledgement
			stream.Receive()
			id := stream.Position(room).ID()
			stream.Close()
			again := c.d.Connect(pondtest.SSE, "/b"+target, pondtest.Header("Last-Event-ID", id))
			c.settle()
			var got []string
			for _, m := range again.Drain() {
				if m.Event == "said" {
					got = append(got, string(m.Payload))
				}
			}
			if !slices.Equal(got, []string{`{"n":1}`, `{"n":2}`}) {
				t.Errorf("after %s the stream received %q", id, got)
			}
		}, withHistory, func(c *cluster) { c.endpoint = []pond.EndpointOption{pond.WithJoinByURL()} })
	}
}

// A message that a member was excepted from stays hidden when the client recovers on
// another node.
func TestRecoveryHides(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.follow(s[0]), c.follow(s[1])
		at := bob.Position(room)
		bob.Send(room, "tell-others", number(1))
		c.settle()
		if err := c.channel(s[0]).Except(bob.ID(), "other").Broadcast("said", number(2)); err != nil {
			t.Fatal(err)
		}
		c.settle()
		ann.Send(room, "say", number(3))
		c.settle()
		expectEvents(t, ann, "1", "2", "3")
		expectEvents(t, bob, "3")
		bob.Close()
		back := c.follow(s[0], pondtest.From(at, bob.ID()))
		expectEvents(t, back, "3", "RECOVERED")
	}, withHistory)
}

// Lost messages of the broker are read from the log: in order, each once.
func TestLogRepairs(t *testing.T) {
	for _, faults := range []memorybroker.Faults{
		{Drop: 0.3},
		{Drop: 0.3, Silent: true},
		{Duplicate: 0.5},
		{Fail: 0.3, TimeOut: 0.3, Drop: 0.2, MaxDelay: 50 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%+v", faults), func(t *testing.T) {
			run(t, func(t *testing.T, c *cluster, s []*server) {
				clients := []*pondtest.Session{c.follow(s[0]), c.follow(s[1]), c.follow(s[len(s)-1])}
				c.bus.SetFaults(faults)
				for n := range 60 {
					clients[n%3].Send(room, "say", number(n))
					if n%10 == 0 {
						c.pass(time.Second)
					}
				}
				c.pass(20 * time.Second)
				c.bus.SetFaults(memorybroker.Faults{})
				c.pass(repairTime)
				got := c.d.SameOrder("said", clients...)
				seen := map[int]int{}
				for _, m := range got {
					var v struct{ N int }
					m.Bind(t, &v)
					seen[v.N]++
				}
				for n := range 60 {
					if seen[n] != 1 {
						t.Errorf("message %d was received %d times", n, seen[n])
					}
				}
			}, withHistory)
		})
	}
}

// A log that begins again is a new epoch: members are told, and get what is in the new log.
func TestNewEpoch(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.follow(s[0]), c.follow(s[1])
		plain := c.join(s[1]) // asks for nothing, and is told nothing
		ann.Send(room, "say", number(1))
		c.settle()
		bob.Drain()
		ann.Drain()
		plain.Drain()
		old := bob.Position(room)
		c.bus.LoseLogs(topic)
		ann.Send(room, "say", number(2))
		ann.Send(room, "say", number(3))
		c.pass(repairTime)
		expectEvents(t, ann, "GAP epoch", "2", "3")
		expectEvents(t, bob, "GAP epoch", "2", "3")
		expectEvents(t, plain, "2", "3")
		fresh := bob.Position(room)
		if fresh.Epoch == old.Epoch || fresh.Offset == 0 {
			t.Errorf("position %v after %v", fresh, old)
		}
		back := c.connect(s[0])
		answer := back.Join(room, nil, pondtest.Want("recover"), pondtest.From(old, ""))
		var ack struct {
			Recover struct {
				Recovered bool
				Reason    string
			}
		}
		answer.Bind(t, &ack)
		if ack.Recover.Recovered || ack.Recover.Reason != "epoch" {
			t.Errorf("a position of the old log was answered with %v", answer)
		}
		c.admitted(c.connect(s[0]).Join(room, nil, pondtest.Want("recover"), pondtest.From(fresh, "")))
	}, withHistory)
}

// A batch that is stored although its call failed is not stored twice.
func TestLogRetry(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.follow(s[0]), c.follow(s[1])
		s[0].broker.FailAppends(topic, 3)
		ann.Send(room, "say", number(1))
		ann.Send(room, "say", number(2))
		c.pass(5 * time.Second)
		ann.Send(room, "say", number(3))
		c.pass(repairTime)
		expectEvents(t, ann, "1", "2", "3")
		expectEvents(t, bob, "1", "2", "3")
		var stored []string
		for e, err := range s[1].endpoint.History(t.Context(), room, pond.Last(10)) {
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, string(e.Payload))
		}
		if !slices.Equal(stored, []string{`{"n":1}`, `{"n":2}`, `{"n":3}`}) {
			t.Errorf("the log has %q", stored)
		}
	}, withHistory)
}

// While the broker is away, nothing is sent that is not stored. Short outages cost time;
// after 30 s the sender gets an error, and the message appears nowhere.
func TestLogOutage(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.follow(s[0]), c.follow(s[1])
		s[0].broker.Disconnect()
		ann.Send(room, "say", number(1))
		c.pass(20 * time.Second)
		ann.Quiet()
		s[0].broker.Connect()
		c.pass(repairTime)
		expectEvents(t, ann, "1")
		expectEvents(t, bob, "1")

		s[0].broker.Disconnect()
		id := ann.Send(room, "say", number(2))
		c.pass(35 * time.Second)
		m := ann.Receive()
		if m.RequestID != id || m.Action != "ERROR" || kit.Status(t, m) != http.StatusServiceUnavailable {
			t.Errorf("the sender received %v", m)
		}
		s[0].broker.Connect()
		c.pass(repairTime)
		bob.Quiet()
		ann.Send(room, "say", number(3))
		c.settle()
		expectEvents(t, ann, "3")
		expectEvents(t, bob, "3")
	}, withHistory)
}

// What is queued for the log is limited. Beyond that, nothing happens anywhere, and the
// sender knows it.
func TestLogOverload(t *testing.T) {
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		ann := c.follow(s[0])
		c.bus.Pause()
		big := map[string]string{"text": string(make([]byte, 1<<16))}
		accepted := 0
		var err error
		for err == nil && accepted < 1000 {
			if err = c.channel(s[0]).Broadcast("big", big); err == nil {
				accepted++
			}
		}
		if !errors.Is(err, pond.ErrOverloaded) || accepted < 10 {
			t.Errorf("after %d messages: %v", accepted, err)
		}
		c.bus.Resume()
		c.pass(10 * time.Second)
		if n := len(ann.Drain()); n != accepted {
			t.Errorf("%d messages arrived, want the %d that were accepted", n, accepted)
		}
	}, withHistory, func(c *cluster) { c.endpoint = []pond.EndpointOption{pond.WithOutboxSize(64 << 20)} })
}

// A loss that the broker does not report, and that no later message reveals, is found when
// the nodes compare what they have with the log.
func TestSilentLoss(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.follow(s[0]), c.follow(s[1])
		c.bus.SetFaults(memorybroker.Faults{Drop: 1, Silent: true})
		ann.Send(room, "say", number(1))
		c.pass(repairTime)
		expectEvents(t, ann, "1")
		expectEvents(t, bob, "1")
	}, withHistory)
}

// Entries of the log that are not for clients take offsets, and change nothing else: a
// client that recovers up to one of them is told that it has everything.
func TestOtherEntries(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.follow(s[0])
		at := ann.Position(room)
		ann.Send(room, "say", number(1))
		c.settle()
		junk := func(number uint64) {
			t.Helper()
			_, err := s[1].broker.Append(t.Context(), topic, pond.Batch{
				Producer: "other", First: number, Data: [][]byte{[]byte(`{"other":true}`)},
				Keep: pond.Retention{Messages: 100, Bytes: 1 << 20, Age: time.Hour},
			})
			if err != nil {
				t.Fatal(err)
			}
			c.settle()
		}
		junk(1)
		for _, node := range s {
			back := c.follow(node, pondtest.From(at, ""))
			expectEvents(t, back, "1", "RECOVERED")
			if got := back.Position(room).Offset; got != 2 {
				t.Errorf("position %d, want 2", got)
			}
		}
		ann.Send(room, "say", number(2))
		junk(2)
		c.settle()
		expectEvents(t, ann, "1", "2")
	}, withHistory)
}

// Publish stores a message from any node, also without members, and returns when it is
// stored. History reads it anywhere.
func TestPublishStores(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		for n, node := range s {
			if err := node.endpoint.Publish(t.Context(), room, "said", number(n)); err != nil {
				t.Fatal(err)
			}
		}
		if got := s[0].tap.subscribed(); len(got) > 0 {
			t.Errorf("a node without members subscribed to %q", got)
		}
		for _, node := range s {
			var got []string
			for e, err := range node.endpoint.History(t.Context(), room, pond.Last(10)) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.Event+string(e.Payload))
			}
			if len(got) != len(s) || got[0] != `said{"n":0}` {
				t.Errorf("history on node %s: %q", node.name, got)
			}
		}
		s[0].broker.Disconnect()
		err := s[0].endpoint.Publish(t.Context(), room, "said", number(9))
		if err == nil {
			t.Error("Publish succeeded without a broker")
		}
		s[0].broker.Connect()
		bob := c.follow(s[1], pondtest.Last(1))
		expectEvents(t, bob, fmt.Sprint(len(s)-1), "RECOVERED")
	}, withHistory)
}

// A client whose position the node cannot check, because the broker is away, is told so.
func TestRecoveryUnavailable(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.follow(s[0])
		bob := c.follow(s[1])
		s[1].broker.Disconnect()
		ann.Send(room, "say", number(1))
		c.settle()
		ann.Drain()
		at := ann.Position(room)
		back := c.connect(s[1])
		answer := back.Join(room, nil, pondtest.Want("recover"), pondtest.From(at, ann.ID()))
		var ack struct {
			Recover struct {
				Recovered bool
				Reason    string
			}
		}
		answer.Bind(t, &ack)
		if ack.Recover.Recovered || ack.Recover.Reason != "unavailable" {
			t.Errorf("the answer was %v", answer)
		}
		s[1].broker.Connect()
		c.pass(repairTime)
		expectEvents(t, bob, "1")
	}, withHistory)
}

// A client that is ahead of its new node gets nothing twice and misses nothing.
func TestRecoveryAheadOfNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.follow(s[0]), c.follow(s[1])
		c.bus.SetFaults(memorybroker.Faults{Drop: 1, Silent: true}) // nothing arrives by itself
		ann.Send(room, "say", number(1))
		ann.Send(room, "say", number(2))
		c.settle()
		if err := s[0].endpoint.Publish(t.Context(), room, "said", number(3)); err != nil {
			t.Fatal(err)
		}
		late := c.start("late")
		at := c.follow(late, pondtest.Last(1)) // which reads the log
		at.Drain()
		back := c.follow(s[1], pondtest.From(at.Position(room), at.ID()))
		expectEvents(t, back, "RECOVERED")
		expectEvents(t, bob, "1", "2", "3") // the node has caught up for all
	}, withHistory)
}

// Closing a channel ends its log: the next one begins with a new epoch.
func TestCloseDropsLog(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.follow(s[0]), c.follow(s[1])
		ann.Send(room, "say", number(1))
		c.settle()
		old := ann.Position(room)
		ann.Drain()
		bob.Drain()
		c.channel(s[0]).Close("over")
		c.settle()
		expectEvents(t, ann, "destroyed")
		expectEvents(t, bob, "destroyed")
		c.admitted(bob.Join(room, nil, pondtest.Want("recover"), pondtest.Last(5)))
		if at := bob.Position(room); at.Epoch == old.Epoch {
			t.Error("the log goes on after the channel was closed")
		}
		expectEvents(t, bob, "RECOVERED")
	}, withHistory)
}
