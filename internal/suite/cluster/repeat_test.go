package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/pondtest"
)

// repeatTime is the time within which requests are repeated after a loss.
const repeatTime = 15 * time.Second

// A kickout is a request that ends the membership, and perhaps the connection, of a client
// that has the identity "bob".
type kickout struct {
	name string
	do   func(c *cluster, s *server, bob *pondtest.Session) error
	ends func(s *server) bool // whether node s executed it
}

// readmit lets bob leave, and join again as a client that the request is not for. It
// returns bob's session.
func (k kickout) readmit(c *cluster, s *server, bob *pondtest.Session) *pondtest.Session {
	if strings.HasPrefix(k.name, "Disconnect") {
		bob.Close()
		bob = c.connect(s, pondtest.Query("who", "bob"))
	} else {
		bob.Leave(room)
	}
	c.admitted(bob.Join(room, nil)) // the subscription to the channel still exists
	return bob
}

var kickouts = []kickout{
	{"Evict", func(c *cluster, s *server, bob *pondtest.Session) error {
		return c.channel(s).Evict(bob.ID(), "banned")
	}, noMembers},
	{"EvictIdentity", func(c *cluster, s *server, _ *pondtest.Session) error {
		return c.channel(s).EvictIdentity("bob", "banned")
	}, noMembers},
	{"Close", func(c *cluster, s *server, _ *pondtest.Session) error {
		c.channel(s).Close("banned")
		return nil
	}, noMembers},
	{"Disconnect", func(_ *cluster, s *server, bob *pondtest.Session) error {
		return s.endpoint.Disconnect(bob.ID(), 4001, "banned")
	}, noClients},
	{"DisconnectIdentity", func(_ *cluster, s *server, _ *pondtest.Session) error {
		return s.endpoint.DisconnectIdentity("bob", 4001, "banned")
	}, noClients},
}

func noMembers(s *server) bool {
	_, ok := s.endpoint.Channel(room)
	return !ok
}

func noClients(s *server) bool { return s.endpoint.Len() == 0 }

// A request reaches a node that had no connection to the broker when it was made, and also
// if the node that made it had none.
func TestRequestsAreRepeated(t *testing.T) {
	const cut = time.Minute // all others consider the node dead, and messages are given up
	for _, k := range kickouts {
		for name, during := range map[string]func(s []*server) (end func()){
			"node of the client cut off": func(s []*server) func() {
				s[1].broker.Disconnect()
				return s[1].broker.Connect
			},
			"calling node cut off": func(s []*server) func() {
				s[0].broker.Disconnect()
				return s[0].broker.Connect
			},
			"both": func(s []*server) func() {
				s[0].broker.Disconnect()
				s[1].broker.Disconnect()
				return func() { s[1].broker.Connect(); s[0].broker.Connect() }
			},
		} {
			t.Run(k.name+"/"+name, func(t *testing.T) {
				run(t, func(t *testing.T, c *cluster, s []*server) {
					c.join(s[0])
					bob := c.join(s[1], pondtest.Query("who", "bob"))
					c.rest()
					end := during(s)
					if err := k.do(c, s[0], bob); err != nil {
						t.Fatal(err)
					}
					c.pass(cut)
					if k.ends(s[1]) {
						t.Fatal("the node received the request without a connection")
					}
					end()
					c.pass(repeatTime)
					if !k.ends(s[1]) {
						t.Error("the node did not execute the request")
					}
				})
			})
		}
	}
}

// The same if only the one message is lost, whether the broker reports that or not.
func TestLostRequestsAreRepeated(t *testing.T) {
	for _, k := range kickouts {
		for _, silent := range []bool{false, true} {
			if silent && k.name == "Close" {
				continue // no message about the channel follows
			}
			t.Run(fmt.Sprint(k.name, "/silent=", silent), func(t *testing.T) {
				runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
					c.join(s[0])
					bob := c.join(s[1], pondtest.Query("who", "bob"))
					c.pass(time.Minute) // nodes that start ask for requests, too
					// Losses that the broker does not report are noticed with the next message.
					_ = s[0].endpoint.DisconnectIdentity("nobody", 0, "")
					c.channel(s[0]).Broadcast("said", number(1))
					c.settle()
					c.bus.SetFaults(memorybroker.Faults{Drop: 1, Silent: silent})
					if err := k.do(c, s[0], bob); err != nil {
						t.Fatal(err)
					}
					c.settle()
					c.bus.SetFaults(memorybroker.Faults{})
					if silent {
						_ = s[0].endpoint.DisconnectIdentity("nobody", 0, "")
						if ch, ok := s[0].endpoint.Channel(room); ok {
							ch.Broadcast("said", number(2))
						}
					}
					c.pass(repeatTime)
					if !k.ends(s[1]) {
						t.Error("the node did not execute the request")
					}
				})
			})
		}
	}
}

// A request that is repeated is only for the clients and members that were there when it was
// made: the person may have been admitted again since.
func TestRepeatedRequestsSpareLaterClients(t *testing.T) {
	for _, k := range kickouts {
		if k.name == "Close" {
			continue // see TestRepeatedCloseSparesLaterChannels
		}
		t.Run(k.name, func(t *testing.T) {
			run(t, func(t *testing.T, c *cluster, s []*server) {
				c.join(s[0])
				bob := c.join(s[1], pondtest.Query("who", "bob"))
				c.rest()
				s[1].broker.Disconnect()
				if err := k.do(c, s[0], bob); err != nil {
					t.Fatal(err)
				}
				c.pass(time.Second)
				k.readmit(c, s[1], bob)
				s[1].broker.Connect()
				c.pass(repeatTime)
				if k.ends(s[1]) {
					t.Error("the request was executed for a client that came later")
				}
			})
		})
	}
}

// The same for a channel with the same name that began later, on a third node.
func TestRepeatedCloseSparesLaterChannels(t *testing.T) {
	runOne(t, 3, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		c.join(s[0])
		c.join(s[1])
		c.rest()
		s[1].broker.Disconnect()
		c.channel(s[0]).Close("round over")
		c.pass(time.Second)
		c.join(s[2])
		s[1].broker.Connect()
		c.pass(repeatTime)
		if !noMembers(s[1]) {
			t.Error("the old channel is open")
		}
		if noMembers(s[2]) {
			t.Error("the new channel was closed")
		}
	})
}

// A person whose connection was lost during the outage is not expected to return any more,
// unless it returned after the request.
func TestRepeatedRequestsEndGraces(t *testing.T) {
	var left int
	for _, k := range kickouts {
		if !strings.HasSuffix(k.name, "Identity") {
			continue
		}
		for _, returned := range []bool{false, true} {
			t.Run(fmt.Sprint(k.name, "/returned=", returned), func(t *testing.T) {
				runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
					left = 0
					c.join(s[0])
					bob := c.join(s[1], pondtest.Query("who", "bob"))
					c.rest()
					s[1].broker.Disconnect()
					if err := k.do(c, s[0], bob); err != nil {
						t.Fatal(err)
					}
					bob.Reset()
					c.pass(time.Second)
					if returned {
						c.join(s[1], pondtest.Query("who", "bob")).Reset()
						c.pass(time.Second)
					}
					if left != 0 {
						t.Fatal("the grace ended without a request")
					}
					s[1].broker.Connect()
					c.pass(repeatTime)
					if (left == 0) != returned {
						t.Errorf("the person left %d times", left)
					}
				}, func(c *cluster) {
					c.pond = []pond.Option{pond.WithNodeTimeout(time.Minute)} // the nodes do not consider each other dead
					c.opts = []pond.LobbyOption{pond.WithLeaveGrace(time.Hour)}
					c.setup = func(l *pond.Lobby) {
						l.OnIdentityLeave(func(*pond.LeaveContext) error { left++; return nil })
					}
				})
			})
		}
	}
}

// Nodes that received a request do not execute it again, even for a client that joined again
// at the same moment.
func TestRepeatedRequestsAreExecutedOnce(t *testing.T) {
	for _, k := range kickouts {
		t.Run(k.name, func(t *testing.T) {
			runOne(t, 3, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
				c.join(s[0])
				bob := c.join(s[1], pondtest.Query("who", "bob"))
				c.rest()
				if err := k.do(c, s[0], bob); err != nil {
					t.Fatal(err)
				}
				c.settle()
				if !k.ends(s[1]) {
					t.Fatal("the node did not execute the request")
				}
				if strings.HasPrefix(k.name, "Disconnect") {
					bob = c.connect(s[1], pondtest.Query("who", "bob"))
				}
				c.admitted(bob.Join(room, nil))
				bob.Drain()
				for range 2 {
					for _, n := range s {
						n.broker.Disconnect()
						c.pass(time.Second)
						n.broker.Connect()
						c.pass(time.Minute)
					}
				}
				if noMembers(s[1]) || noClients(s[1]) {
					t.Error("the request was executed again")
				}
				for _, m := range bob.Drain() {
					if m.Action == "SYSTEM" || m.Action == "ERROR" {
						t.Errorf("received %v", m)
					}
				}
			})
		})
	}
}

// Many requests are repeated in several messages. The oldest are dropped beyond the limit.
func TestManyRequestsAreRepeated(t *testing.T) {
	runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
		const n = 1000
		var clients []*pondtest.Session
		c.join(s[0])
		for i := range 20 {
			clients = append(clients, c.connect(s[1], pondtest.Query("who", fmt.Sprint("p", i*n/20))))
		}
		c.rest()
		s[1].broker.Disconnect()
		for i := range n {
			if err := s[0].endpoint.DisconnectIdentity(fmt.Sprint("p", i), 4001, "banned"); err != nil {
				t.Fatal(err)
			}
		}
		c.pass(time.Minute)
		sizes := 0
		s[0].tap.onPublish(func(topic string, message []byte) {
			if strings.HasSuffix(topic, "__control__") {
				sizes++
				if len(message) > 70<<10 {
					t.Errorf("a message of %d bytes", len(message))
				}
			}
		})
		s[1].broker.Connect()
		c.pass(repeatTime)
		if left := s[1].endpoint.Len(); left > 0 {
			t.Errorf("%d of %d clients are still connected", left, len(clients))
		}
		if sizes < 2 || sizes > 10 {
			t.Errorf("%d messages", sizes)
		}
	})
}

// A request that the broker does not accept for a long time, although its connection is not
// lost, is repeated when the broker works again.
func TestRequestsThatWereGivenUpAreRepeated(t *testing.T) {
	for _, k := range kickouts {
		for name, f := range map[string]memorybroker.Faults{
			"fail": {Fail: 1}, "slow": {MinDelay: 6 * time.Second, MaxDelay: 6*time.Second + 1},
		} {
			for _, history := range []bool{false, true} {
				t.Run(fmt.Sprint(k.name, "/", name, "/history=", history), func(t *testing.T) {
					runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
						c.join(s[0])
						bob := c.join(s[1], pondtest.Query("who", "bob"))
						c.pass(time.Minute) // nodes that start ask for requests, too
						c.bus.SetFaults(f)
						if err := k.do(c, s[0], bob); err != nil {
							t.Fatal(err)
						}
						c.pass(40 * time.Second)
						c.bus.SetFaults(memorybroker.Faults{})
						c.pass(time.Minute) // with a heartbeat, which tells the node that the broker works again
						if !k.ends(s[1]) {
							t.Error("the node did not execute the request")
						}
					}, func(c *cluster) {
						c.pond = []pond.Option{pond.WithNodeTimeout(90 * time.Second)}
						if history {
							c.opts = []pond.LobbyOption{pond.WithHistory(pond.History{})}
						}
					})
				})
			}
		}
	}
}

// A request that was queued, because the node that made it had no connection, is only for the
// clients and members that were there when it was made.
func TestQueuedRequestsSpareLaterClients(t *testing.T) {
	for _, k := range kickouts {
		if k.name == "Evict" || k.name == "Disconnect" {
			continue // the client of a later connection has another ID
		}
		for _, cut := range []time.Duration{10 * time.Second, 20 * time.Second, time.Minute} {
			t.Run(fmt.Sprint(k.name, "/", cut), func(t *testing.T) {
				runOne(t, 3, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
					c.join(s[0])
					old, bob := c.join(s[1], pondtest.Query("who", "bob")), c.join(s[2], pondtest.Query("who", "bob"))
					c.rest()
					s[0].broker.Disconnect()
					if err := k.do(c, s[0], old); err != nil {
						t.Fatal(err)
					}
					c.pass(time.Second)
					bob.Close()
					c.pass(8 * time.Second) // the channel ends there
					bob = c.join(s[2], pondtest.Query("who", "bob"))
					c.pass(cut)
					s[0].broker.Connect()
					c.pass(repeatTime)
					if !k.ends(s[1]) {
						t.Error("the request was not executed for the first client")
					}
					if k.ends(s[2]) {
						t.Errorf("the request was executed for a client that came later: %v", bob.Drain())
					}
				})
			})
		}
	}
}

// The same if the messages are slow when the connection is restored.
func TestSlowRepetitionsSpareLaterClients(t *testing.T) {
	for _, k := range kickouts {
		if !strings.HasSuffix(k.name, "Identity") {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
				c.join(s[0])
				bob := c.join(s[1], pondtest.Query("who", "bob"))
				c.pass(time.Minute) // the nodes know how fast heartbeats are
				s[1].broker.Disconnect()
				if err := k.do(c, s[0], bob); err != nil {
					t.Fatal(err)
				}
				c.pass(time.Second)
				bob = k.readmit(c, s[1], bob)
				c.bus.SetFaults(memorybroker.Faults{MinDelay: 2 * time.Second, MaxDelay: 2*time.Second + 1})
				s[1].broker.Connect()
				c.pass(2 * repeatTime)
				if k.ends(s[1]) {
					t.Errorf("the request was executed for a client that came later: %v", bob.Drain())
				}
			}, func(c *cluster) {
				c.pond = []pond.Option{pond.WithNodeTimeout(time.Minute)}
			})
		})
	}
}
