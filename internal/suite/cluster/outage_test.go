package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/pondtest"
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

// Other nodes have a member whose data is too large for the broker without its assigns, and
// all other members completely.
func TestLargeMember(t *testing.T) {
	sizes := []int{0, 0, 10, 40 << 10, 100 << 10, 40 << 10, 58 << 10, 10}
	var joined int
	run(t, func(t *testing.T, c *cluster, s []*server) {
		joined = 0
		clients := []*pondtest.Session{c.join(s[1]), c.join(s[0])}
		want := map[string]int{}
		for _, size := range sizes[len(clients):] {
			client := c.join(s[0], ann)
			client.Send(room, "track", json.RawMessage(`{}`))
			clients = append(clients, client)
			if want[client.ID()] = size; size > 64<<10 {
				want[client.ID()] = 0
			}
		}
		check := func(on *server) {
			t.Helper()
			c.agree([]*server{on}, clients...)
			got := map[string]int{}
			for u := range c.channel(on).Users() {
				if u.Identity() == "ann" {
					profile, _ := u.Get("profile").(string)
					got[u.ID] = len(profile)
				}
			}
			if !maps.Equal(got, want) {
				t.Errorf("node %s: sizes of assigns by user are %v, want %v", on.name, got, want)
			}
			if tracked := len(maps.Collect(c.channel(on).Presence())); tracked != len(want) {
				t.Errorf("node %s: %d members are tracked, want %d", on.name, tracked, len(want))
			}
		}
		c.pass(10 * time.Second)
		check(s[1])
		s[1].broker.Disconnect()
		s[1].broker.Connect()
		c.pass(10 * time.Second)
		check(s[1])
		last := c.start("last")
		clients = append(clients, c.join(last))
		c.pass(10 * time.Second)
		check(last)
	}, defaultTimeout, func(c *cluster) {
		c.bus = memorybroker.New(memorybroker.WithMaxBytes(64 << 10))
		c.admit = func(ctx *pond.JoinContext) error {
			if joined < len(sizes) && sizes[joined] > 0 {
				ctx.Assign("profile", strings.Repeat("x", sizes[joined]))
			}
			joined++
			return ctx.Accept()
		}
	})
}

// A rejecting broker accepts no message of the room while it is on.
type rejecting struct {
	pond.BrokerLog
	on *atomic.Bool
}

func (b rejecting) Publish(ctx context.Context, topic string, batch [][]byte) error {
	if b.on.Load() && strings.HasSuffix(topic, room) {
		return pond.ErrTooLarge
	}
	return b.BrokerLog.Publish(ctx, topic, batch)
}

// A node whose announcements are lost makes pauses between them that become longer.
func TestLostAnnouncements(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		var on atomic.Bool
		s[0].tap.BrokerLog = rejecting{s[0].broker, &on}
		one, two := c.join(s[0]), c.join(s[1])
		c.rest()
		on.Store(true)
		three := c.join(s[0])
		calls := "publish " + topic
		before := s[0].tap.counted(calls)
		c.pass(20 * time.Minute)
		if n := s[0].tap.counted(calls) - before; n < 8 || n > 40 { // with the periodic ones
			t.Errorf("%d attempts in 20 minutes", n)
		}
		on.Store(false)
		c.pass(3 * time.Minute)
		c.agree(s, one, two, three)
	}, defaultTimeout)
}

// Degraded does not wait for a tick of the node.
func TestDegradedAtOnce(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[0])
		c.pass(10 * time.Second)
		if err := s[0].Degraded(); err != nil {
			t.Fatal(err)
		}
		s[0].broker.Disconnect()
		if err := s[0].Degraded(); err == nil {
			t.Error("not degraded right after the connection was lost")
		}
		s[0].broker.Connect()
		c.pass(10 * time.Second)
		if err := s[0].Degraded(); err != nil {
			t.Error(err)
		}
	}, defaultTimeout)
}

// The members of a huge channel are announced a few pages at a time, even if the broker is
// slow: events of the channel do not wait behind all of them, and nothing is lost because the
// queue is full. A node that joins meanwhile gets all members, too.
func TestHugeChannelIsPaced(t *testing.T) {
	var lost, missed int
	runOne(t, 3, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		const members, size = 100, 100 << 10 // 10 MB: more than the queue of a channel may have
		padding := strings.Repeat("x", size)
		first := c.join(s[0])
		for range members - 1 {
			ann := c.join(s[0])
			if err := c.channel(s[0]).Assign(ann.ID(), "padding", padding); err != nil {
				t.Fatal(err)
			}
		}
		c.pass(time.Minute)
		pages, queued := 0, 0
		s[0].tap.onPublish(func(_ string, message []byte) {
			if strings.Contains(string(message[:min(200, len(message))]), `"STATE_RESPONSE"`) {
				time.Sleep(100 * time.Millisecond)
				pages++
				queued = max(queued, s[0].BrokerQueue().Bytes)
			}
		})
		bob := c.connect(s[1])
		bob.SendJoin(room, nil)
		c.pass(500 * time.Millisecond)
		eve := c.connect(s[2])
		eve.SendJoin(room, nil)
		c.pass(200 * time.Millisecond)
		began := time.Now()
		first.Send(room, "say", number(1))
		arrived := func() bool {
			return slices.ContainsFunc(bob.Drain(), func(m pondtest.Message) bool { return m.Event == "said" })
		}
		for !arrived() && time.Since(began) < time.Minute {
			c.pass(10 * time.Millisecond)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("a message took %v", d)
		}
		c.pass(20 * time.Second)
		if queued > 4<<20 {
			t.Errorf("%d bytes were queued", queued)
		}
		if most := 5 * members * size / (256 << 10); pages > most {
			t.Errorf("%d pages, want at most %d", pages, most)
		}
		for _, n := range s {
			if got := c.channel(n).Len(); got != members+2 {
				t.Errorf("node %s shows %d members", n.name, got)
			}
			for u := range c.channel(n).Users() {
				if _, ok := u.Get("padding").(string); !ok && !slices.Contains([]string{first.ID(), bob.ID(), eve.ID()}, u.ID) {
					t.Fatalf("node %s has no assigns of %s", n.name, u.ID)
				}
			}
		}
		if lost+missed > 0 {
			t.Errorf("%d lost, %d missed", lost, missed)
		}
	}, observeLosses(&lost, &missed), func(c *cluster) { c.pond = append(c.pond, pond.WithNodeTimeout(time.Minute)) })
}

// After a failure of the broker that did not end connections, a node is connected again soon
// after the broker accepts messages, and not only when it would have sent its next heartbeat.
func TestConnectedSoonAfterFailure(t *testing.T) {
	runOne(t, 3, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		for _, s := range s {
			c.join(s)
		}
		for range 3 {
			c.bus.SetFaults(memorybroker.Faults{Fail: 1})
			c.pass(100 * time.Second)
			for _, s := range s {
				if s.Degraded() == nil {
					t.Errorf("node %s is not degraded during the failure", s.name)
				}
			}
			c.bus.SetFaults(memorybroker.Faults{})
			c.pass(3 * time.Second)
			for _, s := range s {
				if err := s.Degraded(); err != nil {
					t.Errorf("node %s is degraded after the failure: %v", s.name, err)
				}
			}
			c.pass(time.Minute)
		}
	}, func(c *cluster) { c.pond = append(c.pond, pond.WithNodeTimeout(90*time.Second)) })
}

// The cost of the end of a node with many tracked members depends on their number, and not on
// its square. The list of presence is right after each message that changes many entries.
func TestManyTrackedMembers(t *testing.T) {
	const n = 3000
	runOne(t, 1, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		bob := c.join(s[0])
		bob.Send(room, "track", json.RawMessage(`{"u":"bob"}`))
		c.settle()
		expected := []string{bob.ID()}
		listed := func() {
			t.Helper()
			c.settle()
			var got []string
			for id := range c.channel(s[0]).Presence() {
				got = append(got, id)
			}
			if !slices.Equal(got, expected) {
				t.Errorf("%d members have a presence: %.200q, want %d: %.200q", len(got), got, len(expected), expected)
			}
			var p presence
			messages := bob.Drain()
			messages[len(messages)-1].Bind(t, &p)
			if len(p.Presence) != len(expected) {
				t.Errorf("the last list has %d members, want %d", len(p.Presence), len(expected))
			}
		}
		listed()
		user := func(i, version int) clusterwire.User {
			return clusterwire.User{ID: fmt.Sprint("u", i), Presence: fmt.Appendf(nil, `{"v":%d}`, version)}
		}
		p := c.peer("0123456789abcdef0123456789abcdef")
		var all []clusterwire.User
		for i := range n {
			all = append(all, user(i, 1))
			expected = append(expected, all[i].ID)
		}
		p.send(clusterwire.Message{Type: clusterwire.StateResponse, Users: all})
		listed()
		// Some entries change, 20 end, and one of these begins again and changes.
		var some []clusterwire.User
		for i := range 20 {
			some = append(some, user(100+i, 2), clusterwire.User{ID: all[i].ID})
		}
		some = append(some, user(5, 1), user(5, 2))
		p.send(clusterwire.Message{Type: clusterwire.StateResponse, Users: some})
		expected = append(slices.Delete(expected, 1, 21), all[5].ID)
		listed()

		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c.pass(2 * nodeTimeout)
		runtime.ReadMemStats(&after)
		expected = expected[:1]
		listed()
		if bytes := (after.TotalAlloc - before.TotalAlloc) / n; bytes > 10<<10 {
			t.Errorf("the end of the node allocated %d bytes for each of %d members", bytes, n)
		}
	})
}

// A node that closes a channel waits until the broker says that the other nodes are
// subscribed. Until then, the log does not end either.
func TestCloseWaitsForSubscribers(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.follow(s[0]), c.follow(s[1])
		c.rest()
		ready := make(chan struct{})
		s[0].tap.mu.Lock()
		s[0].tap.await = func(ctx context.Context) error {
			return until(ctx, ready)
		}
		s[0].tap.mu.Unlock()
		c.channel(s[0]).Close("over")
		c.settle()
		expectEvents(t, ann, "destroyed")
		expectEvents(t, bob)
		if page, err := s[1].tap.Last(t.Context(), topic, 1); err != nil || !page.Complete {
			t.Errorf("the log ended: %v", err)
		}
		close(ready)
		c.settle()
		expectEvents(t, bob, "destroyed")
	}, withHistory)
}
