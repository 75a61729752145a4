package cluster_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/pondtest"
)

// withPeople registers handlers that note when an identity comes and goes, and on which
// node.
func withPeople(c *cluster) {
	c.setupNode = func(s *server) {
		s.lobby.OnIdentityJoin(func(ctx *pond.JoinContext) error {
			c.diary.note("%s comes to %s", ctx.User().Identity(), s.name)
			return nil
		})
		s.lobby.OnIdentityLeave(func(ctx *pond.LeaveContext) error {
			c.diary.note("%s goes from %s", ctx.User().Identity(), s.name)
			return nil
		})
	}
}

const grace = 10 * time.Second

// withGrace is withPeople with a grace.
func withGrace(c *cluster) {
	withPeople(c)
	c.opts = append(c.opts, pond.WithLeaveGrace(grace))
}

var ann = pondtest.Query("who", "ann")

// lag makes messages between nodes take some time.
func (c *cluster) lag() {
	c.bus.SetFaults(memorybroker.Faults{MinDelay: 10 * time.Millisecond, MaxDelay: 10 * time.Millisecond})
}

// went checks that a handler noted once that ann goes, from any of these nodes, and
// nothing else.
func (c *cluster) went(from ...*server) {
	c.t.Helper()
	got := c.diary.take()
	for _, s := range from {
		if slices.Equal(got, []string{"ann goes from " + s.name}) {
			return
		}
	}
	c.t.Fatalf("handlers did %q, want one that ann goes", got)
}

// The first member of an identity in the cluster comes, and the last one goes, on their
// nodes.
func TestPersonOnAllNodes(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		for turn := range len(s) {
			var tabs []*pondtest.Session
			for i, node := range s {
				tabs = append(tabs, c.join(node, ann), c.join(node, ann))
				if i == 0 {
					c.diary.wrote(t, "ann comes to a")
				}
			}
			c.join(s[1], pondtest.Query("who", "bob")).Leave(room)
			c.settle()
			c.diary.wrote(t, "bob comes to b", "bob goes from b")
			last := s[turn]
			for i, tab := range tabs {
				if i/2 != turn {
					tab.Leave(room)
					c.settle()
				}
			}
			tabs[2*turn].Close()
			c.settle()
			c.diary.wrote(t)
			tabs[2*turn+1].Leave(room)
			c.settle()
			c.went(last)
			if turn == 1 {
				c.pass(time.Minute) // the channels end
			}
		}
		c.pass(2 * time.Minute)
		c.diary.wrote(t)
	}, withPeople)
}

// If all members of an identity leave at the same time, on several nodes, its leave
// handler runs on one of them.
func TestPersonLeavesNodesAtOnce(t *testing.T) {
	leave := map[string]func(*testing.T, *cluster, *server, []*pondtest.Session){
		"leave": func(_ *testing.T, _ *cluster, _ *server, tabs []*pondtest.Session) {
			for _, tab := range tabs {
				tab.Leave(room)
			}
		},
		"disconnect": func(t *testing.T, _ *cluster, s *server, _ []*pondtest.Session) {
			if err := s.endpoint.DisconnectIdentity("ann", http.StatusForbidden, "banned"); err != nil {
				t.Fatal(err)
			}
		},
		"evict": func(t *testing.T, c *cluster, s *server, _ []*pondtest.Session) {
			if err := c.channel(s).EvictIdentity("ann", "banned"); err != nil {
				t.Fatal(err)
			}
		},
		"close": func(_ *testing.T, c *cluster, s *server, _ []*pondtest.Session) { c.channel(s).Close("over") },
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, c *cluster, s []*server) {
				c.lag()
				var tabs []*pondtest.Session
				for _, node := range s {
					tabs = append(tabs, c.join(node, ann))
					c.pass(time.Second)
				}
				c.diary.wrote(t, "ann comes to a")
				leave(t, c, s[len(s)-1], tabs)
				c.pass(time.Second)
				c.went(s...)
				c.pass(2 * time.Minute)
				c.diary.wrote(t)
				c.join(s[1], ann)
				c.diary.wrote(t, "ann comes to b")
			}, withPeople)
		})
	}
}

// Members of an identity that join on two nodes at the same time both come, and the last
// one goes.
func TestPersonJoinsNodesAtOnce(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.lag()
		one, two := c.connect(s[0], ann), c.connect(s[1], ann)
		one.SendJoin(room, nil)
		two.SendJoin(room, nil)
		c.pass(time.Second)
		c.diary.wroteInAnyOrder(t, "ann comes to a", "ann comes to b")
		one.Leave(room)
		c.pass(time.Second)
		c.diary.wrote(t)
		two.Leave(room)
		c.pass(time.Second)
		c.went(s[1])
	}, withPeople)
}

// A person may return to any node during the grace. The grace is then over: if the person
// leaves the other node, it goes at once.
func TestPersonReturnsToAnotherNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		for _, known := range []bool{false, true} { // whether the other node has the channel
			if known {
				c.join(s[1])
			}
			one := c.join(s[0], ann)
			c.diary.wrote(t, "ann comes to a")
			one.Close()
			c.pass(grace / 2)
			two := c.join(s[1], ann)
			c.pass(grace * 2)
			c.diary.wrote(t)
			if _, ok := s[0].endpoint.Channel(room); ok {
				t.Error("the channel on the first node was not released")
			}

			two.Close()
			c.pass(grace - time.Second)
			c.diary.wrote(t)
			c.pass(2 * time.Second)
			c.went(s[1])

			one = c.join(s[0], ann)
			one.Close()
			c.settle()
			two = c.join(s[1], ann)
			c.rest()
			c.diary.wrote(t, "ann comes to a")
			two.Leave(room)
			c.settle()
			c.went(s[1])
			c.pass(time.Minute)
			c.diary.wrote(t)
		}
	}, withGrace)
}

// A person whose tabs on two nodes are lost has one grace, from the later loss.
func TestGraceOnTwoNodes(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		one, two := c.join(s[0], ann), c.join(s[1], ann)
		c.rest()
		c.diary.wrote(t, "ann comes to a")
		one.Close()
		c.pass(grace / 2)
		two.Close()
		c.pass(grace - time.Second)
		c.diary.wrote(t)
		c.pass(2 * time.Second)
		c.went(s[1])

		one, two = c.join(s[0], ann), c.join(s[1], ann)
		c.rest()
		c.diary.wrote(t, "ann comes to a")
		c.lag()
		one.Close()
		two.Close()
		c.pass(grace - time.Second)
		c.diary.wrote(t)
		c.pass(2 * time.Second)
		c.went(s...)
		c.pass(2 * time.Minute)
		c.diary.wrote(t)

		one, two = c.join(s[0], ann), c.join(s[1], ann)
		c.pass(time.Second)
		c.diary.wrote(t, "ann comes to a")
		one.Close()
		c.pass(time.Second)
		two.Leave(room) // which means that the person leaves, as on one node
		c.pass(time.Second)
		c.went(s...)
		c.pass(2 * time.Minute)
		c.diary.wrote(t)
	}, withGrace)
}

// EvictIdentity and DisconnectIdentity end the grace on another node.
func TestGraceEndedFromAnotherNode(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[1])
		for _, end := range []func() error{
			func() error { return c.channel(s[1]).EvictIdentity("ann", "banned") },
			func() error { return s[1].endpoint.DisconnectIdentity("ann", 0, "banned") },
		} {
			c.join(s[0], ann).Close()
			c.rest()
			c.diary.wrote(t, "ann comes to a")
			if err := end(); err != nil {
				t.Fatal(err)
			}
			c.settle()
			c.diary.wrote(t, "ann goes from a")
		}
		if err := c.channel(s[1]).EvictIdentity("ann", "banned"); !errors.Is(err, pond.ErrNotMember) {
			t.Errorf("without a grace, EvictIdentity returned %v", err)
		}
	}, withGrace)
}

// While an identity leaves one node, its join on another waits for the end, but not long.
func TestJoinWaitsForLeaveOnAnotherNode(t *testing.T) {
	for _, slow := range []time.Duration{time.Second, 5 * time.Second} {
		t.Run(slow.String(), func(t *testing.T) {
			run(t, func(t *testing.T, c *cluster, s []*server) {
				c.join(s[1])
				c.join(s[0], ann).Leave(room)
				c.settle()
				began := time.Now()
				tab := c.join(s[1], ann)
				if waited := time.Since(began); waited != min(slow, 2*time.Second) {
					t.Errorf("the join took %v", waited)
				}
				c.pass(slow)
				if slow < 2*time.Second {
					c.diary.wrote(t, "ann comes to a", "ann goes from a", "ann comes to b")
				} else { // the first node finds that ann is on the other one
					c.diary.wrote(t, "ann comes to a", "ann comes to b")
				}
				tab.Close()
				c.pass(slow)
				c.went(s[1])
			}, withPeople, func(c *cluster) {
				c.leave = func(ctx *pond.LeaveContext) error {
					time.Sleep(slow)
					return nil
				}
			})
		})
	}
}

// A client whose connection ends while its join waits for another node does not come.
func TestJoinWaitsInVain(t *testing.T) {
	run(t, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[1])
		c.join(s[0], ann).Leave(room)
		c.settle()
		tab := c.connect(s[1], ann)
		tab.SendJoin(room, nil)
		c.settle()
		if err := s[1].endpoint.Disconnect(tab.ID(), 0, ""); err != nil {
			t.Fatal(err)
		}
		c.pass(5 * time.Second)
		c.diary.wrote(t, "ann comes to a", "ann goes from a")
	}, withPeople, func(c *cluster) {
		c.leave = func(ctx *pond.LeaveContext) error {
			if ctx.User().Identity() == "ann" {
				time.Sleep(time.Second)
			}
			return nil
		}
	})
}

// Servers of other families get nothing that they do not know, and what they say about
// identities of this node does not matter.
func TestPeopleAndForeignServers(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			runOne(t, 1, tr, func(t *testing.T, c *cluster, s []*server) {
				p := c.peer(javascript)
				tab := c.join(s[0], ann)
				c.join(s[0])
				p.take()
				p.send(clusterwire.Message{Type: clusterwire.StateResponse, Users: []clusterwire.User{
					{ID: "ghost", Assigns: []byte(`{"__pond__":{"identity":"ann"}}`)},
				}})
				tab.Leave(room)
				if got, want := p.take(), []string{"USER_LEFT " + tab.ID(), "EVICT_USER __nobody__"}; !slices.Equal(got, want) {
					t.Errorf("the other server received %q, want %q", got, want)
				}
				c.diary.wrote(t, "ann comes to a", "ann goes from a")
			}, withPeople)
		})
	}
}

// In a random history, the handler for the last leave runs once whenever the last members
// leave, on any nodes and at the same time or not. That for the first join runs once on
// each node on which a member joins before it could know about others, and not otherwise.
func TestRandomPeople(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			runOne(t, 2+int(seed%3), pondtest.Transports[seed/3%2], func(t *testing.T, c *cluster, s []*server) {
				random := rand.New(rand.NewPCG(seed, 0))
				c.bus.SetFaults(memorybroker.Faults{MaxDelay: 10 * time.Millisecond})
				tabs := map[*pondtest.Session]int{} // their nodes
				for range 30 {
					before := len(tabs)
					joined := map[int]bool{}
					if before < 6 && random.IntN(2) == 0 {
						for range 1 + random.IntN(3) {
							i := random.IntN(len(s))
							tab := c.connect(s[i], ann)
							tab.SendJoin(room, nil)
							tabs[tab], joined[i] = i, true
						}
					} else {
						all := random.IntN(2) == 0
						for tab := range tabs {
							switch {
							case !all && random.IntN(2) == 0:
								continue
							case random.IntN(2) == 0:
								tab.Close()
							default:
								tab.SendRaw([]byte(`{"action":"LEAVE_CHANNEL","event":"LEAVE_CHANNEL","channelName":"` + room + `","requestId":"x","payload":{}}`))
							}
							delete(tabs, tab)
							time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
						}
					}
					c.pass(time.Second)
					comes, goes := 0, 0
					for _, line := range c.diary.take() {
						if strings.Contains(line, "comes") {
							comes++
						} else {
							goes++
						}
					}
					switch {
					case before == 0 && len(tabs) > 0 && (comes < 1 || comes > len(joined)),
						(before > 0 || len(tabs) == 0) && comes > 0,
						before > 0 && len(tabs) == 0 && goes != 1,
						(before == 0 || len(tabs) > 0) && goes > 0:
						t.Fatalf("from %d tabs to %d: ann came %d times, and went %d times", before, len(tabs), comes, goes)
					}
				}
			}, withPeople)
		})
	}
}
