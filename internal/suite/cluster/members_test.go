package cluster_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// ids returns the IDs of clients, sorted.
func ids(clients ...*pondtest.Session) (list []string) {
	for _, c := range clients {
		list = append(list, c.ID())
	}
	slices.Sort(list)
	return list
}

// users returns the IDs of the room's users, as a node sees them.
func users(ch *pond.Channel) (list []string) {
	for u := range ch.Users() {
		list = append(list, u.ID)
	}
	return list
}

// agree checks that all nodes that have the room see these clients as its members.
func (c *cluster) agree(servers []*server, clients ...*pondtest.Session) {
	c.t.Helper()
	want := ids(clients...)
	for _, s := range servers {
		ch, ok := s.endpoint.Channel(room)
		if !ok {
			continue
		}
		if got := users(ch); !slices.Equal(got, want) {
			c.t.Fatalf("node %s sees %d users %q, want %d %q", s.name, len(got), got, len(want), want)
		}
		if ch.Len() != len(want) {
			c.t.Fatalf("node %s: Len is %d, want %d", s.name, ch.Len(), len(want))
		}
	}
}

// rest lets the answers to requests for the state arrive.
func (c *cluster) rest() {
	time.Sleep(60 * time.Millisecond)
	c.settle()
}

// All nodes have the same members, whatever the order in which clients and nodes come.
func TestUsers(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		var clients []*pondtest.Session
		for i := range 6 {
			clients = append(clients, c.join(s[i%len(s)]))
			c.rest()
			c.agree(s, clients...)
		}
		clients[0].Leave(room)
		c.settle()
		c.agree(s, clients[1:]...)
		clients[1].Close()
		c.settle()
		c.agree(s, clients[2:]...)
		c.stop(s[0])
		var left []*pondtest.Session
		for i, client := range clients[2:] {
			if (i+2)%len(s) != 0 {
				left = append(left, client)
			}
		}
		c.settle()
		c.agree(s[1:], left...)

		late := c.start("late")
		left = append(left, c.join(late))
		c.rest()
		c.agree(append(s[1:], late), left...)
	})
}

// Assigns and identities of a user are known on all nodes, also to those that come later.
func TestAssigns(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0], pondtest.Query("who", "ann@example.com"))
		bob := c.join(s[1])
		c.rest()
		check := func(node *server, role any) {
			t.Helper()
			u, ok := c.channel(node).User(ann.ID())
			if !ok || u.ID != ann.ID() || u.Identity() != "ann@example.com" {
				t.Fatalf("user %q (%q), %v", u.ID, u.Identity(), ok)
			}
			if got := u.Get("role"); got != role {
				t.Errorf("role is %v, want %v", got, role)
			}
			want := map[string]any{"name": "Ann", "n": 7.0}
			if role != nil {
				want["role"] = role
			}
			if got := u.Assigns(); node != s[0] && !maps.Equal(got, want) {
				t.Errorf("assigns are %v, want %v", got, want)
			}
		}
		check(s[1], nil)
		if err := c.channel(s[0]).Assign(ann.ID(), "role", "admin"); err != nil {
			t.Fatal(err)
		}
		c.settle()
		check(s[0], "admin")
		check(s[1], "admin")
		if u, _ := c.channel(s[0]).User(bob.ID()); u.Get("name") != "Ann" {
			t.Errorf("assigns of a user that joined later: %v", u.Assigns())
		}
		late := c.start("late")
		c.join(late)
		c.rest()
		check(late, "admin")
	}, func(c *cluster) {
		c.admit = func(ctx *pond.JoinContext) error {
			ctx.Assign("name", "Ann")
			ctx.Assign("n", 7)
			ctx.Assign("secret", func() {}) // it cannot be encoded, and stays here
			return ctx.Accept()
		}
	})
}

// A presence is the payload of a message about presence.
type presence struct {
	Changed  json.RawMessage
	Presence []json.RawMessage
}

// changes describes messages about presence: the event, the change and the sorted list.
func changes(t *testing.T, s *pondtest.Session) (list []string) {
	t.Helper()
	for _, m := range s.Drain() {
		var p presence
		m.Bind(t, &p)
		var all []string
		for _, v := range p.Presence {
			all = append(all, string(v))
		}
		slices.Sort(all)
		list = append(list, fmt.Sprintf("%s %s of %s", m.Event, p.Changed, strings.Join(all, " ")))
	}
	return list
}

func expectChanges(t *testing.T, s *pondtest.Session, want ...string) {
	t.Helper()
	if got := changes(t, s); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// Tracked members on all nodes see the same list and the same changes.
func TestPresenceLists(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		ann.Send(room, "track", json.RawMessage(`{"u":"ann"}`))
		expectChanges(t, ann, `JOIN {"u":"ann"} of {"u":"ann"}`)

		bob := c.join(s[1])
		c.rest()
		bob.Send(room, "track", json.RawMessage(`{"u":"bob"}`))
		both := `JOIN {"u":"bob"} of {"u":"ann"} {"u":"bob"}`
		expectChanges(t, bob, both)
		expectChanges(t, ann, both)

		ann.Send(room, "update", json.RawMessage(`{"u":"away"}`))
		both = `UPDATE {"u":"away"} of {"u":"away"} {"u":"bob"}`
		expectChanges(t, ann, both)
		expectChanges(t, bob, both)

		ann.Send(room, "update", json.RawMessage(`{}`)) // which is not the same as none
		both = `UPDATE {} of {"u":"bob"} {}`
		expectChanges(t, ann, both)
		expectChanges(t, bob, both)
		late := c.start("late")
		eve := c.join(late)
		c.rest()
		eve.Send(room, "track", json.RawMessage(`{"u":"eve"}`))
		both = `JOIN {"u":"eve"} of {"u":"bob"} {"u":"eve"} {}`
		expectChanges(t, eve, both)
		expectChanges(t, ann, both)
		expectChanges(t, bob, both)

		ann.Send(room, "untrack", nil)
		both = `LEAVE {} of {"u":"bob"} {"u":"eve"}`
		expectChanges(t, ann)
		expectChanges(t, eve, both)
		expectChanges(t, bob, both)

		eve.Close()
		c.settle()
		expectChanges(t, bob, `LEAVE {"u":"eve"} of {"u":"bob"}`)
		for id, v := range c.channel(s[0]).Presence() {
			if id != bob.ID() || string(v) != `{"u":"bob"}` {
				t.Errorf("presence of %s: %s", id, v)
			}
		}
	})
}

// Followers of presence as differences see the members on all nodes.
func TestPresenceDiffs(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		ann.Send(room, "track", json.RawMessage(`{"u":"ann"}`))
		ann.Drain()
		bob := c.connect(s[1])
		c.admitted(bob.Join(room, nil, pondtest.Want("diff")))
		time.Sleep(time.Second)
		known := map[string]string{}
		follow := func(want map[string]string) {
			t.Helper()
			time.Sleep(time.Second)
			for _, m := range bob.Drain() {
				var d struct {
					Users, Joins, Updates []struct {
						ID       string
						Presence json.RawMessage
					}
					Leaves []struct{ ID string }
					Total  int
				}
				m.Bind(t, &d)
				for _, u := range slices.Concat(d.Users, d.Joins, d.Updates) {
					known[u.ID] = string(u.Presence)
				}
				for _, u := range d.Leaves {
					delete(known, u.ID)
				}
				if d.Total != len(known) {
					t.Errorf("total is %d in %v, want %d", d.Total, m, len(known))
				}
			}
			if !maps.Equal(known, want) {
				t.Fatalf("the follower knows %v, want %v", known, want)
			}
		}
		follow(map[string]string{ann.ID(): `{"u":"ann"}`})
		ann.Send(room, "update", json.RawMessage(`{"u":"away"}`))
		follow(map[string]string{ann.ID(): `{"u":"away"}`})
		eve := c.join(s[len(s)-1])
		eve.Send(room, "track", json.RawMessage(`{"u":"eve"}`))
		follow(map[string]string{ann.ID(): `{"u":"away"}`, eve.ID(): `{"u":"eve"}`})
		ann.Close()
		follow(map[string]string{eve.ID(): `{"u":"eve"}`})
	}, func(c *cluster) { c.opts = []pond.LobbyOption{pond.WithPresenceDiffs()} })
}

// A state with many members is several messages, and few changes for clients.
func TestLargeState(t *testing.T) {
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		var clients []*pondtest.Session
		for i := range 600 {
			client := c.connect(s[0])
			client.SendJoin(room, nil)
			if i%12 == 0 {
				client.Send(room, "track", json.RawMessage(fmt.Sprintf(`{"u":%d}`, i)))
			}
			clients = append(clients, client)
		}
		c.settle()
		for _, client := range clients {
			client.Drain()
		}
		bob := c.join(s[1])
		bob.Send(room, "track", json.RawMessage(`{"u":"bob"}`))
		c.rest()
		c.agree(s, append(clients, bob)...)
		if n := len(bob.Drain()); n > 1+2*16 {
			t.Errorf("bob received %d messages about presence", n)
		}
		n := 0
		for range c.channel(s[1]).Presence() {
			n++
		}
		if n != 51 {
			t.Errorf("%d members have a presence, want 51", n)
		}
	})
}

// kicks returns the events that a client gets when it, or another one, is evicted.
func kicks(t *testing.T, s *pondtest.Session) (list []string) {
	t.Helper()
	for _, m := range s.Drain() {
		list = append(list, m.Action+" "+m.Event)
	}
	return list
}

// A user is evicted from any node: it gets the notices once, the leave handler runs once,
// on its node, and all nodes forget it.
func TestEvict(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob, eve := c.join(s[0]), c.join(s[1]), c.join(s[len(s)-1])
		c.rest()
		if err := c.channel(s[0]).Evict(bob.ID(), "spam"); err != nil {
			t.Fatal(err)
		}
		c.settle()
		if got := kicks(t, bob); !slices.Equal(got, []string{"SYSTEM kicked_out", "SYSTEM EVICTED"}) {
			t.Errorf("the evicted client received %q", got)
		}
		for _, other := range []*pondtest.Session{ann, eve} {
			if got := kicks(t, other); !slices.Equal(got, []string{"SYSTEM kicked"}) {
				t.Errorf("another member received %q", got)
			}
		}
		c.agree(s, ann, eve)
		if got := s[1].left[bob.ID()]; !slices.Equal(got, []pond.LeaveReason{pond.LeaveEvicted}) {
			t.Errorf("leave handlers ran with %q", got)
		}
		if err := c.channel(s[0]).Evict(bob.ID(), "spam"); !errors.Is(err, pond.ErrNotMember) {
			t.Errorf("evicting it again returned %v", err)
		}
		time.Sleep(2 * nodeTimeout)
		ann.Quiet()
		c.admitted(bob.Join(room, nil)) // it is still connected
		c.agree(s, ann, bob, eve)
	})
}

// All tabs of a person are evicted, on all nodes.
func TestEvictIdentity(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		who := pondtest.Query("who", "eve")
		ann := c.join(s[0])
		eves := []*pondtest.Session{c.join(s[0], who), c.join(s[1], who), c.join(s[len(s)-1], who)}
		c.rest()
		if err := c.channel(s[0]).ToIdentity("eve").Broadcast("said", number(1)); err != nil {
			t.Fatal(err)
		}
		c.settle()
		expect(t, ann)
		for _, eve := range eves {
			expect(t, eve, 1)
		}
		if err := c.channel(s[0]).EvictIdentity("eve", "spam"); err != nil {
			t.Fatal(err)
		}
		c.settle()
		c.agree(s, ann)
		for i, eve := range eves {
			if got := kicks(t, eve); !slices.Contains(got, "SYSTEM kicked_out") {
				t.Errorf("tab %d received %q", i, got)
			}
		}
		if err := c.channel(s[0]).EvictIdentity("eve", "spam"); !errors.Is(err, pond.ErrNotMember) {
			t.Errorf("evicting it again returned %v", err)
		}
	})
}

// Clients are disconnected from any node.
func TestDisconnect(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		who := pondtest.Query("who", "eve")
		ann, bob := c.connect(s[0], who), c.connect(s[1])
		eves := []*pondtest.Session{ann, c.join(s[1], who), c.connect(s[len(s)-1], who)}
		c.settle()
		if err := s[0].endpoint.Disconnect(bob.ID(), http.StatusForbidden, "banned"); err != nil {
			t.Fatal(err)
		}
		c.settle()
		if !bob.Ended() {
			t.Error("the client on another node is still connected")
		}
		if err := s[0].endpoint.DisconnectIdentity("eve", http.StatusForbidden, "banned"); err != nil {
			t.Fatal(err)
		}
		c.settle()
		for i, eve := range eves {
			code, reason := eve.Closed()
			if c.tr == pondtest.WebSocket && (code != 4403 || reason != "banned") {
				t.Errorf("tab %d was closed with %d %s", i, code, reason)
			}
		}
	})
}

// A channel is closed on all nodes, and a new one begins.
func TestClose(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		old := c.channel(s[1])
		c.channel(s[0]).Close("over")
		c.settle()
		for _, client := range []*pondtest.Session{ann, bob} {
			kit.Is(t, client.Receive(), "ERROR", "destroyed", `{"message":"over"}`)
			client.Quiet()
		}
		if err := old.Broadcast("said", nil); !errors.Is(err, pond.ErrClosed) {
			t.Errorf("the closed channel on the other node returned %v", err)
		}
		if got := s[1].left[bob.ID()]; !slices.Equal(got, []pond.LeaveReason{pond.LeaveChannelClosed}) {
			t.Errorf("leave handlers ran with %q", got)
		}
		c.admitted(bob.Join(room, nil))
		c.admitted(ann.Join(room, nil))
		c.rest()
		c.agree(s, ann, bob)
		ann.Send(room, "say", number(1))
		expect(t, bob, 1)
	})
}

// Publish reaches the members on all nodes, also from a node without members.
func TestPublish(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		bob := c.join(s[1])
		for n, node := range s {
			if err := node.endpoint.Publish(t.Context(), room, "said", number(n)); err != nil {
				t.Fatal(err)
			}
			c.settle()
			expect(t, bob, n)
		}
		if got := s[0].tap.subscribed(); len(got) > 0 {
			t.Errorf("the node without members subscribed to %q", got)
		}
		s[0].broker.Disconnect()
		err := s[0].endpoint.Publish(t.Context(), room, "said", number(9))
		if err == nil {
			t.Error("Publish succeeded without a broker")
		}
	})
}
