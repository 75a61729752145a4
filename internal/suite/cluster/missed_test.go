package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/pondtest"
)

// misses counts the messages that nodes report as missed, or as lost.
type misses struct {
	mu    sync.Mutex // guards the following fields
	count map[*pond.Pond]int
	lost  map[*pond.Pond]int
}

func (m *misses) observe(c *cluster) {
	m.count, m.lost = map[*pond.Pond]int{}, map[*pond.Pond]int{}
	failing := &pond.Observer{Missed: func(*pond.Pond, int) { panic("missed") }}
	c.pond = append(c.pond, pond.WithObserver(failing), pond.WithObserver(&pond.Observer{Missed: func(p *pond.Pond, n int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.count[p] += n
	}, Lost: func(p *pond.Pond, n int, _ error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.lost[p] += n
	}}))
}

// expect checks how many messages a node missed, and how many of its own were lost.
func (m *misses) expect(t *testing.T, s *server, missed, lost int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := m.count[s.Pond]; got != missed {
		t.Errorf("node %s reported %d missed messages, want %d", s.name, got, missed)
	}
	if got := m.lost[s.Pond]; got != lost {
		t.Errorf("node %s reported %d lost messages, want %d", s.name, got, lost)
	}
}

// Each message that did not reach a node is counted there, and by the node that sent it,
// even if no further message is sent. Messages that arrive late or twice are not counted, and neither are those that are
// for nobody on other nodes.
func TestMissed(t *testing.T) {
	for name, c := range map[string]struct {
		faults memorybroker.Faults
		missed int
		within time.Duration
	}{
		"lost":          {memorybroker.Faults{Drop: 1}, 5, repairTime},
		"lost silently": {memorybroker.Faults{Drop: 1, Silent: true}, 5, 3 * nodeTimeout},
		"late":          {memorybroker.Faults{MaxDelay: 500 * time.Millisecond}, 0, repairTime},
		"twice":         {memorybroker.Faults{Duplicate: 1}, 0, repairTime},
		"sent again":    {memorybroker.Faults{TimeOut: 0.5}, 0, 20 * time.Second},
		"failed":        {memorybroker.Faults{Fail: 0.5}, 0, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var m misses
			run(t, func(t *testing.T, cl *cluster, s []*server) {
				ann, bob := cl.join(s[0]), cl.join(s[1])
				cl.rest()
				ann.Send(room, "say", number(1))
				expect(t, bob, 1)
				cl.bus.SetFaults(c.faults)
				for n := range 5 {
					ann.Send(room, "say", number(2+n))
				}
				cl.settle()
				cl.pass(c.within / 2)
				cl.bus.SetFaults(memorybroker.Faults{})
				cl.pass(c.within)
				m.expect(t, s[0], 0, c.missed)
				m.expect(t, s[1], c.missed, 0)
				if got := 5 - len(said(t, bob)); got != c.missed {
					t.Errorf("a member missed %d messages, want %d", got, c.missed)
				}
				ann.Send(room, "say", number(9))
				expect(t, bob, 9)
				cl.pass(repairTime)
				m.expect(t, s[0], 0, c.missed)
				m.expect(t, s[1], c.missed, 0)
			}, m.observe)
		})
	}
}

// A node that had no connection counts what it missed, and the others what it could not
// send in time.
func TestMissedDisconnected(t *testing.T) {
	var m misses
	run(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		c.rest()
		ann.Send(room, "say", number(0))
		bob.Send(room, "say", number(0))
		c.settle()
		s[1].broker.Disconnect()
		for n := range 3 {
			ann.Send(room, "say", number(n))
		}
		for n := range 4 {
			bob.Send(room, "say", number(n))
		}
		c.pass(time.Minute) // the node gives up
		s[1].broker.Connect()
		c.pass(repairTime)
		m.expect(t, s[0], 4, 3)
		m.expect(t, s[1], 3, 4)
	}, m.observe)
}

// A message that several nodes miss counts once where it was sent. A node that crashes, one
// that shuts down, and one whose last member left miss nothing.
func TestLostOncePerMessage(t *testing.T) {
	var m misses
	runOne(t, 6, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		ann := c.join(s[0])
		var members []*pondtest.Session
		for _, other := range s[1:] {
			members = append(members, c.join(other))
		}
		c.rest()
		ann.Send(room, "say", number(0))
		c.settle()
		s[1].broker.Disconnect()
		s[2].broker.Disconnect()
		s[3].broker.Disconnect() // and never connects again, like a node that crashed
		c.settle()
		for n := range 3 {
			ann.Send(room, "say", number(1+n))
		}
		c.settle()
		s[2].broker.Connect()
		c.pass(time.Second)
		ann.Send(room, "say", number(4))
		c.settle()
		s[1].broker.Connect()
		members[3].Leave(room)
		if err := s[5].Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		ann.Send(room, "say", number(5))
		c.pass(5 * nodeTimeout)
		ann.Send(room, "say", number(6))
		c.pass(repairTime)
		m.expect(t, s[0], 0, 4)
		m.expect(t, s[1], 4, 0)
		m.expect(t, s[2], 3, 0)
		m.expect(t, s[4], 0, 0)
		m.expect(t, s[5], 0, 0)
	}, m.observe)
}

// Messages are counted as missed, too, if the node that sent them was silent for so long that
// it forgot how many it had sent before.
func TestMissedAfterLongSilence(t *testing.T) {
	var m misses
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.connect(s[0]), c.join(s[1])
		for n := range 100 { // the highest count that is forgotten
			if err := s[0].endpoint.Publish(t.Context(), "/chat/other", "said", number(n)); err != nil {
				t.Fatal(err)
			}
		}
		missed := 0
		for _, lost := range []int{0, 3} { // at first
			c.admitted(ann.Join(room, nil))
			c.rest()
			send := func(messages int, drop float64) {
				c.bus.SetFaults(memorybroker.Faults{Drop: drop})
				for n := range messages {
					ann.Send(room, "say", number(n))
					c.settle()
				}
			}
			arrive := 50 - 10*lost // a later count is lower
			send(lost, 1)
			send(arrive, 0)
			send(5, 1)
			send(5, 0)
			missed += lost + 5
			c.pass(repairTime)
			m.expect(t, s[1], missed, 0)
			m.expect(t, s[0], 0, missed)
			if got := len(said(t, bob)); got != arrive+5 {
				t.Errorf("a member received %d messages, want %d", got, arrive+5)
			}
			ann.Leave(room)
			c.pass(11 * time.Minute)
			ann.Drain()
		}
	}, m.observe)
}

// If all logs are lost and the broker does not report this, members of silent channels are
// notified within five seconds, even if nodes send heartbeats rarely.
func TestLostLogsAreNoticed(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		clients := map[string]*pondtest.Session{}
		for i := range 30 {
			name := fmt.Sprint("/chat/", i)
			session := c.connect(s[i%len(s)])
			c.admitted(session.Join(name, nil, pondtest.Want("recover")))
			session.Send(name, "say", number(i))
			clients[name] = session
		}
		c.pass(time.Minute)
		for _, session := range clients {
			session.Drain()
		}
		c.bus.LoseLogs()
		c.pass(5 * time.Second)
		for name, session := range clients {
			if got := events(t, session); !slices.Equal(got, []string{"GAP epoch"}) {
				t.Errorf("a member of %s received %s", name, strings.Join(got, ", "))
			}
		}
	}, withHistory, func(c *cluster) { c.pond = append(c.pond, pond.WithNodeTimeout(90*time.Second)) })
}
