package cluster_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/pondtest"
)

// A diary notes what handlers of all nodes did.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// take returns the lines since the last time.
func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// wrote checks the lines since the last time.
func (d *diary) wrote(t *testing.T, want ...string) {
	t.Helper()
	if got := d.take(); !slices.Equal(got, want) {
		t.Fatalf("handlers did %q, want %q", got, want)
	}
}

// wroteInAnyOrder is wrote for handlers that run concurrently.
func (d *diary) wroteInAnyOrder(t *testing.T, want ...string) {
	t.Helper()
	got := d.take()
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Fatalf("handlers did %q, want %q", got, want)
	}
}

// withRooms registers handlers that note the first join and the last leave of each node,
// with the number of members that the handler sees. The state of the room is the name of
// its node.
func withRooms(c *cluster) {
	c.setupNode = func(s *server) {
		s.lobby.OnFirstJoin(func(ctx *pond.JoinContext) error {
			c.diary.note("%s opens with %d", s.name, ctx.Channel().Len())
			ctx.Channel().SetState(s.name)
			return nil
		})
		s.lobby.OnLastLeave(func(ctx *pond.LeaveContext) error {
			c.diary.note("%s closes %v with %d", s.name, ctx.Channel().State(), ctx.Channel().Len())
			return nil
		})
	}
}

// OnFirstJoin and OnLastLeave run on each node that has members, once and in turns, and
// each node has its own state. In both, Len is the number of members on other nodes.
func TestRoomOnEachNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		var clients []*pondtest.Session
		for i, node := range s {
			clients = append(clients, c.join(node))
			c.diary.wrote(t, fmt.Sprintf("%s opens with %d", node.name, i))
			c.join(node).Close()
			c.settle()
			c.diary.wrote(t)
		}
		for i, node := range s {
			if state := c.channel(node).State(); state != node.name {
				t.Errorf("the state on node %s is %v", node.name, state)
			}
			ch := c.channel(node)
			clients[i].Leave(room)
			c.settle()
			c.diary.wrote(t, fmt.Sprintf("%s closes %s with %d", node.name, node.name, len(s)-1-i))
			if state := ch.State(); state != nil {
				t.Errorf("the state on node %s remains %v", node.name, state)
			}
		}
		c.pass(time.Minute)
		c.join(s[1])
		c.diary.wrote(t, "b opens with 0")
		c.stop(s[1])
		c.diary.wrote(t, "b closes b with 0")
	}, withRooms)
}

// The first join on a node waits for the members on other nodes, and later ones do not.
func TestFirstJoinWaits(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		for i, node := range s {
			began := time.Now()
			clients := []*pondtest.Session{c.connect(node), c.connect(node), c.connect(node)}
			for _, client := range clients {
				client.SendJoin(room, nil)
			}
			c.admitted(clients[2].Receive())
			if waited := time.Since(began); waited > 100*time.Millisecond {
				t.Errorf("the first join on node %s took %v", node.name, waited)
			}
			c.settle()
			c.diary.wrote(t, fmt.Sprintf("%s opens with %d", node.name, 3*i))
			began = time.Now()
			c.join(node).Close()
			if waited := time.Since(began); waited > 0 {
				t.Errorf("the second join on node %s took %v", node.name, waited)
			}
		}
	}, withRooms)
}

// Members that join on two nodes at the same time both find no other member, and members
// that leave at the same time both find one.
func TestRoomsAtOnce(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.bus.SetFaults(memorybroker.Faults{MinDelay: 10 * time.Millisecond, MaxDelay: 10 * time.Millisecond})
		ann, bob := c.connect(s[0]), c.connect(s[1])
		ann.SendJoin(room, nil)
		bob.SendJoin(room, nil)
		c.pass(time.Second)
		c.diary.wroteInAnyOrder(t, "a opens with 0", "b opens with 0")
		c.agree(s, ann, bob)
		ann.Leave(room)
		bob.Leave(room)
		c.pass(time.Second)
		c.diary.wroteInAnyOrder(t, "a closes a with 1", "b closes b with 1")
	}, withRooms)
}

// A node that crashes with the last member takes the room with it: OnLastLeave runs on no
// other node. A node that had members until then still sees that member, until the
// timeout.
func TestRoomOfCrashedNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[0])
		bob, eve := c.join(s[1]), c.join(s[1])
		c.rest()
		c.diary.take()
		s[0].broker.Disconnect()
		bob.Leave(room)
		c.pass(deathTime + time.Second)
		c.diary.wrote(t)
		if n := c.channel(s[1]).Len(); n != 1 {
			t.Errorf("after the timeout, the node sees %d members", n)
		}
		eve.Leave(room)
		c.settle()
		c.diary.wrote(t, "b closes b with 0")
		c.pass(time.Minute)
		c.diary.wrote(t)

		tom := c.join(s[1])
		c.diary.wrote(t, "b opens with 0")
		s[0].broker.Connect()
		c.pass(repairTime)
		s[0].broker.Disconnect()
		tom.Leave(room)
		c.settle()
		c.diary.wrote(t, "b closes b with 1")
		c.pass(time.Minute)
		c.diary.wrote(t)
	}, withRooms)
}

// A shutdown during the wait for other nodes ends it.
func TestFirstJoinAndShutdown(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann := c.connect(s[0])
		ann.SendJoin(room, nil)
		c.settle()
		began := time.Now()
		c.stop(s[0])
		if waited := time.Since(began); waited > 50*time.Millisecond {
			t.Errorf("the shutdown took %v", waited)
		}
		c.diary.take() // the client may have been a member for a moment
	}, withRooms)
}
