package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// Times within which nodes notice something.
const (
	deathTime  = nodeTimeout + nodeTimeout/9 // that another node is dead: until the second tick
	repairTime = 3 * time.Second             // after the last fault
)

// pass lets time pass.
func (c *cluster) pass(d time.Duration) {
	time.Sleep(d)
	c.settle()
}

// Two parts of a cluster forget each other when the time is over and not before, clients
// see it, and know each other again soon after the parts are one.
func TestPartition(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob, eve := c.join(s[0]), c.join(s[1]), c.join(s[len(s)-1])
		bob.Send(room, "track", json.RawMessage(`{"u":"bob"}`))
		ann.Send(room, "track", json.RawMessage(`{"u":"ann"}`))
		c.rest()
		ann.Drain()
		bob.Drain()
		c.bus.Partition([]string{"a"}, []string{"b", "c"})
		c.pass(nodeTimeout / 2)
		c.agree(s, ann, bob, eve)
		c.pass(deathTime - nodeTimeout/2)
		c.agree(s[:1], ann)
		c.agree(s[1:], bob, eve)
		expectChanges(t, ann, `LEAVE {"u":"bob"} of {"u":"ann"}`)
		expectChanges(t, bob, `LEAVE {"u":"ann"} of {"u":"bob"}`)

		c.pass(time.Minute)
		c.bus.Heal()
		c.pass(repairTime)
		c.agree(s, ann, bob, eve)
		both := `JOIN {"u":"%s"} of {"u":"ann"} {"u":"bob"}`
		expectChanges(t, ann, fmt.Sprintf(both, "bob"))
		expectChanges(t, bob, fmt.Sprintf(both, "ann"))
		c.pass(time.Minute)
		ann.Quiet()
		bob.Quiet()
	})
}

// A node that has lost its broker is dead for the others, but takes nobody for dead. What
// its clients did meanwhile is known everywhere when it returns.
func TestNodeWithoutBroker(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, tom, bob := c.join(s[0]), c.join(s[0]), c.join(s[1])
		c.rest()
		s[0].broker.Disconnect()
		c.pass(time.Minute)
		c.agree(s[:1], ann, tom, bob)
		c.agree(s[1:], bob)

		tom.Leave(room)
		eve := c.join(s[0])
		bob.Close()
		kim := c.join(s[1])
		c.pass(time.Minute)
		s[0].broker.Connect()
		c.pass(repairTime)
		c.agree(s, ann, eve, kim)
		eve.Send(room, "say", number(1))
		expect(t, kim, 1)
	})
}

// If the backend stops for long, nobody is dead, and nothing changes when it goes on.
func TestBackendStops(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		ann.Send(room, "track", json.RawMessage(`{"u":"ann"}`))
		bob.Send(room, "track", json.RawMessage(`{"u":"bob"}`))
		c.rest()
		ann.Drain()
		for _, d := range []time.Duration{nodeTimeout / 2, nodeTimeout, time.Minute} {
			c.bus.Pause()
			c.pass(d)
			c.agree(s, ann, bob)
			c.bus.Resume()
			c.pass(repairTime)
			c.agree(s, ann, bob)
			ann.Quiet()
		}
	})
}

// A user that leaves while a single message is lost is not forgotten about: the loss is
// reported, or noticed with the next announcement.
func TestLostMessages(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprint("silent ", silent), func(t *testing.T) {
			run(t, func(t *testing.T, c *cluster, s []*server) {
				ann := c.join(s[0])
				c.rest()
				clients := []*pondtest.Session{ann}
				c.bus.SetFaults(memorybroker.Faults{Drop: 0.5, Silent: silent})
				for i := range 20 {
					clients = append(clients, c.join(s[i%len(s)]))
					if i%3 == 0 {
						clients[i/3].Leave(room)
					}
					c.pass(100 * time.Millisecond)
				}
				c.bus.SetFaults(memorybroker.Faults{})
				c.pass(repairTime)
				c.agree(s, clients[7:]...)
			})
		})
	}
}

// A node that misses that the last user of another one left finds out: at once if the
// broker reports the loss, and otherwise after a while.
func TestLostLastLeave(t *testing.T) {
	for silent, within := range map[bool]time.Duration{false: repairTime, true: 5 * nodeTimeout} {
		t.Run(fmt.Sprint("silent ", silent), func(t *testing.T) {
			run(t, func(t *testing.T, c *cluster, s []*server) {
				ann, bob := c.join(s[0]), c.join(s[1])
				c.rest()
				c.bus.SetFaults(memorybroker.Faults{Drop: 1, Silent: silent})
				ann.Leave(room)
				c.settle()
				c.bus.SetFaults(memorybroker.Faults{})
				c.pass(within)
				c.agree(s[1:], bob)
			})
		})
	}
}

// Duplicates from the broker reach no client twice.
func TestDuplicates(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob, eve := c.join(s[0]), c.join(s[1]), c.join(s[1])
		c.rest()
		c.bus.SetFaults(memorybroker.Faults{Duplicate: 1})
		ann.Send(room, "say", number(1))
		expect(t, bob, 1)
		expect(t, ann, 1)
		eve.Drain()
		if err := c.channel(s[0]).Evict(eve.ID(), "spam"); err != nil {
			t.Fatal(err)
		}
		c.settle()
		if got := kicks(t, bob); !slices.Equal(got, []string{"SYSTEM kicked"}) {
			t.Errorf("another member received %q", got)
		}
		if got := s[1].left[eve.ID()]; len(got) != 1 {
			t.Errorf("the leave handler ran %d times", len(got))
		}
	})
}

// A batch that was sent although its call failed is sent again, and received once.
func TestRetry(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		c.rest()
		c.bus.SetFaults(memorybroker.Faults{TimeOut: 0.7})
		var want []int
		for n := range 20 {
			ann.Send(room, "say", number(n))
			want = append(want, n)
		}
		c.pass(20 * time.Second)
		expect(t, ann, want...)
		expect(t, bob, want...)
	})
}

// Operators see that the connection is lost, what was lost with it, and that it is back.
func TestDegraded(t *testing.T) {
	var notes []string
	lost := 0
	observer := &pond.Observer{
		Degraded: func(_ *pond.Pond, reason error) { notes = append(notes, fmt.Sprint(reason)) },
		Lost:     func(_ *pond.Pond, n int, _ error) { lost += n },
	}
	run(t, func(t *testing.T, c *cluster, s []*server) {
		notes, lost = nil, 0
		ann, bob := c.join(s[0]), c.join(s[1])
		c.pass(time.Second)
		if err := s[0].Degraded(); err != nil {
			t.Fatalf("degraded: %v", err)
		}
		notes = nil
		s[0].broker.Disconnect()
		c.pass(time.Second)
		if err := s[0].Degraded(); err == nil {
			t.Error("not degraded without a broker")
		}
		if err := s[1].Degraded(); err != nil {
			t.Errorf("the other node is degraded: %v", err)
		}
		for n := range 10 {
			ann.Send(room, "say", number(n))
		}
		if got := len(said(t, ann)); got != 10 {
			t.Errorf("a member on the same node received %d messages, want 10", got)
		}
		c.pass(time.Minute)
		if lost != 10 {
			t.Errorf("%d messages are reported as lost, want 10", lost)
		}
		s[0].broker.Connect()
		c.pass(repairTime)
		if err := s[0].Degraded(); err != nil {
			t.Errorf("degraded with a broker: %v", err)
		}
		if want := []string{"memorybroker: disconnected", "<nil>"}; !slices.Equal(notes, want) {
			t.Errorf("the observer got %q, want %q", notes, want)
		}
		bob.Quiet()
		ann.Send(room, "say", number(11))
		expect(t, bob, 11)
	}, func(c *cluster) { // one observer that fails, and two that do not
		failing := &pond.Observer{
			Degraded: func(*pond.Pond, error) { panic("degraded") },
			Lost:     func(*pond.Pond, int, error) { panic("lost") },
		}
		c.pond = []pond.Option{pond.WithObserver(failing), pond.WithObserver(observer)}
	})
}

// A server starts without a broker, and needs no restart when there is one.
func TestStartWithoutBroker(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		for _, node := range s {
			node.broker.Disconnect()
		}
		ann, bob := c.connect(s[0]), c.connect(s[1])
		refused(t, ann.Join(room, nil))
		c.pass(time.Minute)
		if err := s[0].Degraded(); err == nil {
			t.Error("not degraded without a broker")
		}
		for _, node := range s {
			node.broker.Connect()
		}
		c.pass(repairTime)
		if err := s[0].Degraded(); err != nil {
			t.Errorf("degraded with a broker: %v", err)
		}
		c.admitted(ann.Join(room, nil))
		c.admitted(bob.Join(room, nil))
		c.rest()
		c.agree(s, ann, bob)
		ann.Send(room, "say", number(1))
		expect(t, bob, 1)
	})
}

// A node connects to the broker when its server starts, before the first client.
func TestServeConnects(t *testing.T) {
	bus, connected := memorybroker.New(), make(chan error, 1)
	p := pond.New(pond.WithBroker(bus.Broker("a")), pond.WithObserver(&pond.Observer{
		Degraded: func(_ *pond.Pond, reason error) { connected <- reason },
	}))
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, &http.Server{}, l) }()
	if err := <-connected; err != nil {
		t.Errorf("degraded: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// In a server that does not call Serve, it connects with the first request.
func TestFirstRequestConnects(t *testing.T) {
	var notes []error
	pondtest.Run(t, http.NotFoundHandler(), func(t *testing.T, _ *pondtest.Driver) {
		bus := memorybroker.New()
		p := pond.New(pond.WithBroker(bus.Broker("a")), pond.WithObserver(&pond.Observer{
			Degraded: func(_ *pond.Pond, reason error) { notes = append(notes, reason) },
		}))
		p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		synctest.Wait()
		if len(notes) != 1 || notes[0] != nil {
			t.Errorf("the observer got %v", notes)
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Degraded returns the reason of the broker, even if the node has not tried to subscribe yet.
func TestDegradedNamesReason(t *testing.T) {
	pondtest.Run(t, http.NotFoundHandler(), func(t *testing.T, _ *pondtest.Driver) {
		broker := memorybroker.New().Broker("a")
		broker.Disconnect()
		p := pond.New(pond.WithBroker(broker))
		if err := p.Degraded(); err == nil || err.Error() != broker.Health().Error() {
			t.Errorf("degraded: %v, want %v", err, broker.Health())
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A node whose subscription receives nothing any more, although the broker says that all
// is well, is degraded and takes nobody for dead.
func TestDeafNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		c.rest()
		c.bus.SetFaults(memorybroker.Faults{Drop: 1, Silent: true})
		c.pass(time.Minute)
		c.agree(s, ann, bob)
		if err := s[0].Degraded(); err == nil {
			t.Error("a node that receives nothing is not degraded")
		}
		c.bus.SetFaults(memorybroker.Faults{})
		c.pass(repairTime)
		if err := s[0].Degraded(); err != nil {
			t.Errorf("degraded: %v", err)
		}
		c.agree(s, ann, bob)
	})
}

// The users of a node that stops in an orderly way leave at once, everywhere, and their
// presence with them.
func TestStop(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		ann.Send(room, "track", json.RawMessage(`{"u":"ann"}`))
		bob.Send(room, "track", json.RawMessage(`{"u":"bob"}`))
		c.rest()
		bob.Drain()
		c.stop(s[0])
		c.agree(s[1:], bob)
		expectChanges(t, bob, `LEAVE {"u":"ann"} of {"u":"bob"}`)
	})
}

// Shutdown returns when its context is done, even if the node takes long to handle what its
// broker delivered. It does not handle the rest.
func TestStopInTime(t *testing.T) {
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		c.join(s[1])
		c.rest()
		stuck := make(chan struct{})
		s[1].tap.mu.Lock()
		s[1].tap.stuck = stuck
		s[1].tap.mu.Unlock()
		before := s[1].tap.counted("since " + topic)
		c.bus.SetFaults(memorybroker.Faults{Drop: 1})
		for n := range 3 {
			ann.Send(room, "say", number(n)) // the node reads the log after each gap
			c.settle()
		}
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			done <- s[1].Shutdown(ctx)
		}()
		c.pass(10 * time.Second)
		select {
		case err := <-done:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown returned %v", err)
			}
		default:
			t.Error("Shutdown does not return")
		}
		close(stuck)
		c.settle()
		if n := s[1].tap.counted("since "+topic) - before; n != 1 {
			t.Errorf("the node read the log %d times, want once", n)
		}
	}, withHistory)
}

// A join, an event and a leave cost each of the nodes one message. While nothing happens,
// there are heartbeats, and one announcement of a channel in some time.
func TestCost(t *testing.T) {
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		c.pass(time.Minute)
		before := s[0].tap.counted("publish " + topic)
		ann.Send(room, "say", number(1))
		c.settle()
		if n := s[0].tap.counted("publish "+topic) - before; n != 1 {
			t.Errorf("a broadcast was %d messages", n)
		}
		kit.Is(t, ann.Receive(), "BROADCAST", "said", `{"n":1}`)
	})
}

// A node sends the messages in its queue when the broker says that the other nodes are
// subscribed. Meanwhile it is not degraded, and heartbeats are sent.
func TestMessagesWaitForSubscribers(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		c.rest()
		var failed bool
		ready := make(chan struct{})
		s[0].tap.mu.Lock()
		s[0].tap.await = func(ctx context.Context) error {
			if !failed {
				failed = true
				return errors.New("not now")
			}
			return until(ctx, ready)
		}
		s[0].tap.mu.Unlock()
		for n := range 3 {
			ann.Send(room, "say", number(n))
		}
		expect(t, ann, 0, 1, 2)
		c.pass(2 * nodeTimeout)
		expect(t, bob)
		if err := s[0].Degraded(); err != nil {
			t.Errorf("degraded: %v", err)
		}
		close(ready)
		c.pass(repairTime)
		expect(t, bob, 0, 1, 2)
	})
}
