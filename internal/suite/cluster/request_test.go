package cluster_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A node sends a request again if it does not know whether it arrived. The client that
// connected in between is not disconnected.
func TestDisconnectOnce(t *testing.T) {
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[1], pondtest.Query("who", "ann"))
		c.pass(time.Second)
		c.bus.SetFaults(memorybroker.Faults{TimeOut: 1})
		if err := s[0].endpoint.DisconnectIdentity("ann", 4001, "changed password"); err != nil {
			t.Fatal(err)
		}
		c.settle()
		if n := s[1].endpoint.Len(); n != 0 {
			t.Fatalf("%d connections", n)
		}
		c.connect(s[1], pondtest.Query("who", "ann"))
		c.settle()
		c.bus.SetFaults(memorybroker.Faults{})
		c.pass(3 * time.Second)
		if n := s[1].endpoint.Len(); n != 1 {
			t.Errorf("%d connections, want the second one", n)
		}
	})
}

// The same for the channel that clients joined after the first one was closed.
func TestCloseOnce(t *testing.T) {
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[0])
		bob := c.join(s[1])
		c.pass(time.Second)
		c.bus.SetFaults(memorybroker.Faults{TimeOut: 1})
		c.channel(s[0]).Close("round over")
		c.settle()
		c.bus.SetFaults(memorybroker.Faults{})
		c.admitted(bob.Join(room, nil)) // the next round
		c.pass(3 * time.Second)
		if _, ok := s[1].endpoint.Channel(room); !ok {
			t.Error("the new channel was closed too")
		}
	})
}

// Requests that do not reach the other nodes are reported.
func TestLostRequests(t *testing.T) {
	var lost, missed int
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[0])
		bob := c.join(s[1], pondtest.Query("who", "ann"))
		c.pass(time.Second)
		ch := c.channel(s[0])
		s[0].broker.Disconnect()
		for name, request := range map[string]func() error{
			"Evict":              func() error { return ch.Evict(bob.ID(), "banned") },
			"EvictIdentity":      func() error { return ch.EvictIdentity("ann", "banned") },
			"DisconnectIdentity": func() error { return s[0].endpoint.DisconnectIdentity("ann", 4001, "banned") },
			"Disconnect":         func() error { return s[0].endpoint.Disconnect(bob.ID(), 4001, "banned") },
		} {
			if err := request(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		ch.Close("closed")
		c.pass(time.Minute)
		if lost != 5 {
			t.Errorf("%d requests were reported, want 5", lost)
		}
	}, observeLosses(&lost, &missed))
}

// A history with a short age does not end while there are members.
func TestShortHistory(t *testing.T) {
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		ann := c.follow(s[0])
		c.follow(s[1])
		ann.Send(room, "say", number(1))
		c.settle()
		ann.Drain()
		at := ann.Position(room)
		c.pass(5 * time.Minute)
		for _, m := range ann.Drain() {
			t.Errorf("received %v, although nothing was sent", m)
		}
		if epoch := ann.Position(room).Epoch; epoch != at.Epoch {
			t.Errorf("the epoch changed from %q to %q", at.Epoch, epoch)
		}
	}, func(c *cluster) {
		c.pond = []pond.Option{pond.WithNodeTimeout(90 * time.Second)}
		c.opts = []pond.LobbyOption{pond.WithHistory(pond.History{Age: 20 * time.Second})}
	})
}

// Requests are numbered like other messages, so they do not look like losses.
func TestRequestsAreNotMissed(t *testing.T) {
	var lost, missed int
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1], pondtest.Query("who", "bob"))
		cid := c.join(s[1])
		c.pass(time.Second)
		ch := c.channel(s[0])
		for i, request := range []func() error{
			func() error { return ch.Assign(cid.ID(), "color", "red") },
			func() error { return ch.Evict(cid.ID(), "") },
			func() error { return ch.EvictIdentity("bob", "") },
			func() error { return s[0].endpoint.Disconnect(bob.ID(), 4001, "") },
		} {
			if err := request(); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
			ann.Send(room, "say", number(1))
			c.pass(time.Second)
		}
		ch.Close("")
		c.pass(time.Minute)
		if lost+missed != 0 {
			t.Errorf("%d lost, %d missed", lost, missed)
		}
	}, observeLosses(&lost, &missed))
}

// A node that did not receive a request reports it with the next message, also to the node
// that sent it.
func TestMissedRequest(t *testing.T) {
	for name, request := range map[string]func(*cluster, *server) error{
		"EvictIdentity":      func(c *cluster, s *server) error { return c.channel(s).EvictIdentity("ann", "banned") },
		"DisconnectIdentity": func(_ *cluster, s *server) error { return s.endpoint.DisconnectIdentity("ann", 0, "banned") },
	} {
		t.Run(name, func(t *testing.T) {
			var lost, missed int
			runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
				c.join(s[0])
				c.join(s[1], pondtest.Query("who", "ann"))
				c.pass(time.Second)
				c.channel(s[0]).Broadcast("said", number(1))
				if err := s[0].endpoint.DisconnectIdentity("bob", 0, ""); err != nil {
					t.Fatal(err)
				}
				c.pass(time.Second)
				s[1].broker.Disconnect()
				if err := request(c, s[0]); err != nil {
					t.Fatal(err)
				}
				c.settle()
				s[1].broker.Connect()
				c.pass(time.Minute)
				if lost != 1 || missed != 1 {
					t.Errorf("%d lost, %d missed, want 1 of each", lost, missed)
				}
			}, observeLosses(&lost, &missed))
		})
	}
}

func observeLosses(lost, missed *int) func(*cluster) {
	return func(c *cluster) {
		c.pond = []pond.Option{pond.WithObserver(&pond.Observer{
			Lost:   func(_ *pond.Pond, n int, _ error) { *lost += n },
			Missed: func(_ *pond.Pond, n int) { *missed += n },
		})}
	}
}

// The name of the nodes' own topic is not available to clients.
func TestNameOfRequestsIsRejected(t *testing.T) {
	const name = "__control__"
	runOne(t, 1, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		if m := c.connect(s[0]).Join(name, nil); kit.Status(t, m) != http.StatusBadRequest {
			t.Errorf("the answer is %v", m)
		}
		err := s[0].endpoint.Publish(t.Context(), name, "said", number(1))
		if refused, ok := errors.AsType[*pond.Error](err); !ok || refused.Code != http.StatusBadRequest {
			t.Errorf("Publish: %v", err)
		}
	}, func(c *cluster) {
		c.setupNode = func(s *server) { s.endpoint.Lobby("*", kit.Admit) }
	})
}
