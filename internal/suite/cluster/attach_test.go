package cluster_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

const topic = "socket:" + room

// refused checks that a join was rejected because the broker is away.
func refused(t *testing.T, m pondtest.Message) {
	t.Helper()
	if m.Event != "UNAUTHORIZED" || kit.Status(t, m) != http.StatusServiceUnavailable {
		t.Fatalf("got %v, want a rejection with 503", m)
	}
}

// A client cannot join while the broker is away, no handler runs, and nothing has to be
// restarted when the broker is back. Members that are there talk to each other.
func TestJoinWithoutBroker(t *testing.T) {
	joins := 0
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		s[0].broker.Disconnect()
		s[1].broker.Disconnect()
		joins = 0
		bob := c.connect(s[1])
		refused(t, bob.Join(room, nil))
		if joins > 0 {
			t.Error("a join handler ran before the channel was attached")
		}
		if _, ok := s[1].endpoint.Channel(room); ok {
			t.Error("the rejected join left a channel behind")
		}

		eve := c.join(s[0]) // the channel is attached there
		ann.Send(room, "say", number(1))
		expect(t, ann, 1)
		expect(t, eve, 1)

		s[0].broker.Connect()
		s[1].broker.Connect()
		c.admitted(bob.Join(room, nil))
		time.Sleep(time.Second) // until the lane tries again
		ann.Drain()
		bob.Drain()
		ann.Send(room, "say", number(2))
		expect(t, bob, 2)
	}, func(c *cluster) {
		c.admit = func(ctx *pond.JoinContext) error {
			joins++
			return ctx.Accept()
		}
	})
}

// An event stream with the channel in its URL gets the time after which it tries again.
func TestJoinByURLWithoutBroker(t *testing.T) {
	runOne(t, 2, pondtest.SSE, func(t *testing.T, c *cluster, s []*server) {
		s[0].broker.Disconnect()
		resp := c.d.Do(kit.Request(http.MethodGet, "/a/socket?join="+room, "", "Accept: text/event-stream"))
		if body := kit.ReadAll(t, resp); !strings.HasPrefix(body, "retry: ") || strings.Contains(body, "data:") {
			t.Errorf("status %d, %q", resp.StatusCode, body)
		}
		s[0].broker.Connect()
		c.d.Connect(pondtest.SSE, "/a/socket?join="+room)
		c.settle()
		if c.channel(s[0]).Len() != 1 {
			t.Error("the stream is not a member")
		}
	}, func(c *cluster) { c.endpoint = []pond.EndpointOption{pond.WithJoinByURL()} })
}

// A broker that does not answer costs a join five seconds.
func TestJoinTimeout(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.connect(s[0])
		c.bus.Pause()
		began := time.Now()
		refused(t, ann.Join(room, nil))
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the join was rejected after %v, want 5s", took)
		}
		c.bus.Resume()
		c.admitted(ann.Join(room, nil))
	})
}

// Joins of one channel share a subscription. If the client that began it leaves, another
// one goes on.
func TestJoinsShareSubscription(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		var clients []*pondtest.Session
		for range 5 {
			clients = append(clients, c.connect(s[0]))
		}
		c.bus.Pause()
		for _, client := range clients {
			client.SendJoin(room, nil)
			c.settle()
		}
		clients[0].Close()
		time.Sleep(time.Second)
		if calls := s[0].tap.counted("subscribe " + topic); calls != 1 {
			t.Errorf("%d calls of Subscribe, want 1", calls)
		}
		c.bus.Resume()
		for _, client := range clients[1:] {
			c.admitted(client.Receive())
		}
		if got := s[0].tap.subscribed(); !slices.Equal(got, []string{topic}) {
			t.Errorf("subscribed to %q", got)
		}
	})
}

// A client that the server disconnects does not wait for the broker any more, and does
// not spoil it for those that wait with it.
func TestJoinIsCancelled(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.connect(s[0]), c.connect(s[0])
		c.bus.Pause()
		ann.SendJoin(room, nil)
		c.settle()
		bob.SendJoin(room, nil)
		c.settle()
		time.Sleep(time.Second)
		if err := s[0].endpoint.Disconnect(ann.ID(), 0, ""); err != nil {
			t.Fatal(err)
		}
		c.settle()
		if calls := s[0].tap.counted("subscribe " + topic); calls != 2 {
			t.Errorf("%d calls of Subscribe, want 2: one for each client", calls)
		}
		c.bus.Resume()
		c.admitted(bob.Receive())
	})
}

// Shutdown does not wait for the broker either.
func TestShutdownCancelsJoins(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.connect(s[0])
		c.bus.Pause()
		ann.SendJoin(room, nil)
		c.settle()
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := s[0].Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		c.settle()
		refused(t, ann.Receive())
		ann.Closed()
		c.bus.Resume()
		<-done
		if took := time.Since(began); took > 0 {
			t.Errorf("the shutdown took %v", took)
		}
	})
}

// The subscription of a channel ends five seconds after its last member left, and not
// before: clients that join again need no new one.
func TestUnsubscribe(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		for range 3 {
			ann.Leave(room)
			time.Sleep(4 * time.Second)
			c.admitted(ann.Join(room, nil))
		}
		if calls := s[0].tap.counted("subscribe " + topic); calls != 1 {
			t.Errorf("%d calls of Subscribe, want 1", calls)
		}
		ann.Leave(room)
		time.Sleep(5 * time.Second)
		c.settle()
		if got := s[0].tap.subscribed(); len(got) > 0 {
			t.Errorf("subscribed to %q", got)
		}
		c.admitted(ann.Join(room, nil))
		bob := c.join(s[1])
		ann.Drain()
		bob.Send(room, "say", number(1))
		expect(t, ann, 1)
	})
}

// A node subscribes to a limited number of channels at the same time, and keeps a limited
// number of subscriptions that no member needs.
func TestAttachLimit(t *testing.T) {
	limited := 0
	observer := &pond.Observer{Limited: func(_ *pond.Endpoint, l pond.Limit) {
		if l == pond.LimitAttaching {
			limited++
		}
	}}
	runOne(t, 1, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		var clients []*pondtest.Session
		for range 1001 {
			clients = append(clients, c.connect(s[0]))
		}
		c.bus.Pause()
		for i, client := range clients {
			client.SendJoin(fmt.Sprint("/chat/", i), nil)
			synctest.Wait()
		}
		refused(t, clients[1000].Receive())
		if limited != 1 {
			t.Errorf("the observer was notified %d times, want 1", limited)
		}
		c.bus.Resume()
		for _, client := range clients[:1000] {
			client.Receive()
		}
		c.admitted(clients[1000].Join("/chat/1000", nil))
		for i, client := range clients {
			client.Leave(fmt.Sprint("/chat/", i))
		}
		synctest.Wait()
		if n := len(s[0].tap.subscribed()); n != 1000 {
			t.Errorf("%d channels without members are subscribed to, want 1000", n)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := len(s[0].tap.subscribed()); n != 0 {
			t.Errorf("%d channels are subscribed to, want 0", n)
		}
	}, func(c *cluster) { c.pond = []pond.Option{pond.WithObserver(observer)} })
}

// What leave handlers send during a shutdown reaches the members on other nodes, and the
// broker is closed behind it.
func TestShutdownSendsLastMessages(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		bob := c.join(s[1])
		ann.Drain()
		c.stop(s[0])
		m := bob.Receive()
		kit.Is(t, m, "BROADCAST", "bye", "{}")
		ann.Closed()
		if err := s[0].broker.Health(); err != pond.ErrClosed { //nolint:errorlint // the contract says so
			t.Errorf("Health of the broker is %v, want ErrClosed", err)
		}
		bob.Send(room, "say", number(1))
		expect(t, bob, 1)
	}, func(c *cluster) {
		c.leave = func(ctx *pond.LeaveContext) error { return ctx.Broadcast("bye", nil) }
	})
}

// Requests to join that are declined create no logs, and do not keep existing ones.
func TestDeclinedJoinsLeaveNoLog(t *testing.T) {
	admitted := true
	run(t, func(t *testing.T, c *cluster, s []*server) {
		top := func() pond.Position {
			t.Helper()
			tops, err := s[0].broker.Tops(t.Context(), []string{topic})
			if err != nil {
				t.Fatal(err)
			}
			return tops[0]
		}
		admitted = false
		bob := c.connect(s[1])
		if m := bob.Join(room, nil); m.Event != "UNAUTHORIZED" {
			t.Fatalf("got %v", m)
		}
		if at := top(); at != (pond.Position{}) {
			t.Errorf("a declined join created the log %v", at)
		}
		admitted = true
		ann := c.join(s[0])
		ann.Send(room, "say", number(1))
		c.settle()
		ann.Leave(room)
		c.pass(time.Second)
		if at := top(); at.Offset != 1 {
			t.Fatalf("the log is at %v", at)
		}
		admitted = false
		for range 20 {
			bob.Join(room, nil)
			c.pass(time.Second)
		}
		if at := top(); at != (pond.Position{}) {
			t.Errorf("declined joins kept the log %v", at)
		}
		admitted = true
		c.admitted(bob.Join(room, nil, pondtest.Want("recover")))
		if at := top(); at.Epoch == "" || at != pond.Position(bob.Position(room)) {
			t.Errorf("the client is at %v, and the log at %v", bob.Position(room), at)
		}
	}, func(c *cluster) {
		c.opts = []pond.LobbyOption{pond.WithHistory(pond.History{Age: 10 * time.Second})}
		c.admit = func(ctx *pond.JoinContext) error {
			if admitted {
				return ctx.Accept()
			}
			return ctx.Decline(0, "no")
		}
	})
}

// A node that handles a request to join while the log does not exist reads the log if another
// node creates it.
func TestLogBeginsDuringJoin(t *testing.T) {
	proceed := make(chan struct{})
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		proceed = make(chan struct{})
		bob := c.connect(s[1], pondtest.Query("who", "slow"))
		bob.SendJoin(room, nil, pondtest.Want("recover"), pondtest.Last(10))
		c.settle()
		ann := c.join(s[0])
		ann.Send(room, "say", number(1))
		c.settle()
		close(proceed)
		c.settle()
		ann.Send(room, "say", number(2))
		c.settle()
		var got []string
		for _, m := range bob.Drain() {
			got = append(got, m.Event)
		}
		if fmt.Sprint(got) != "[ACKNOWLEDGE said RECOVERED said]" {
			t.Errorf("received %v", got)
		}
	}, func(c *cluster) {
		c.opts = []pond.LobbyOption{pond.WithHistory(pond.History{Newcomers: 10})}
		c.admit = func(ctx *pond.JoinContext) error {
			if ctx.User().Identity() == "slow" {
				<-proceed
			}
			return ctx.Accept()
		}
	})
}

// If the broker cannot create the log when a client is accepted, the join fails.
func TestLogCannotBegin(t *testing.T) {
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		bob := c.connect(s[1])
		bob.SendJoin(room, nil)
		c.pass(time.Minute)
		refused(t, bob.Receive())
		s[1].broker.Connect()
		c.pass(repairTime)
		c.admitted(bob.Join(room, nil))
	}, func(c *cluster) {
		first := true
		c.opts = []pond.LobbyOption{pond.WithHistory(pond.History{})}
		c.admit = func(ctx *pond.JoinContext) error {
			if first {
				first = false
				c.nodes["b"].broker.Disconnect()
			}
			return ctx.Accept()
		}
	})
}

// A name that is too long for a topic of the broker is rejected like other invalid names, and
// not as if the broker were away.
func TestLongChannelName(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		longest := "/chat/" + strings.Repeat("x", 1024-len("socket:/chat/"))
		ann, bob := c.connect(s[0]), c.connect(s[1])
		c.admitted(ann.Join(longest, nil))
		c.admitted(bob.Join(longest, nil))
		ann.Send(longest, "say", number(1))
		expect(t, bob, 1)
		if m := ann.Join(longest+"x", nil); kit.Status(t, m) != http.StatusBadRequest {
			t.Errorf("the join was answered with %s, want an error 400", m.Event)
		}
		refused, ok := errors.AsType[*pond.Error](s[0].endpoint.Publish(t.Context(), longest+"x", "said", nil))
		if !ok || refused.Code != http.StatusBadRequest {
			t.Errorf("Publish returned %v", refused)
		}
	}, func(c *cluster) { c.endpoint = append(c.endpoint, pond.WithMaxChannelName(4096)) })
}
