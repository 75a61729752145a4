package cluster_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/pondtest"
)

func withNewcomers(c *cluster) {
	c.opts = []pond.LobbyOption{pond.WithHistory(pond.History{Newcomers: 10})}
}

// expectHistory checks the messages that a new member of the room receives on a node.
func (c *cluster) expectHistory(s *server, want ...int) {
	c.t.Helper()
	session := c.connect(s)
	c.admitted(session.Join(room, nil, pondtest.Last(10)))
	var got []int
	for _, m := range session.Drain() {
		if m.Event == "said" {
			var v struct{ N int }
			m.Bind(c.t, &v)
			got = append(got, v.N)
		}
	}
	if !slices.Equal(got, want) {
		c.t.Errorf("a new member received %v, want %v", got, want)
	}
}

// The history of a closed channel ends with it, also if the node that closed it could not reach
// the broker, or the broker failed: members of the next channel do not receive it.
func TestCloseEndsHistoryLater(t *testing.T) {
	for _, fails := range []bool{false, true} {
		for _, outage := range []time.Duration{0, 10 * time.Second, time.Minute, 3 * time.Minute} {
			t.Run(fmt.Sprint("fails=", fails, "/", outage), func(t *testing.T) {
				runOne(t, 2, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
					ann := c.join(s[0])
					c.join(s[1])
					c.rest()
					ann.Send(room, "say", number(1))
					c.settle()
					switch {
					case outage == 0:
					case fails:
						c.bus.SetFaults(memorybroker.Faults{Fail: 1})
					default:
						s[0].broker.Disconnect()
					}
					c.channel(s[0]).Broadcast("said", number(2)) // which is queued, too
					c.channel(s[0]).Close("over")
					c.pass(outage)
					c.bus.SetFaults(memorybroker.Faults{})
					if outage > 0 && !fails {
						s[0].broker.Connect()
					}
					c.pass(time.Minute)
					if !noMembers(s[1]) {
						t.Error("the channel is open")
					}
					c.expectHistory(s[1])
				}, withNewcomers)
			})
		}
	}
}

// A channel that began on a third node, while the node that closed the previous one had no
// connection, keeps its history: Publish reported that the messages are stored.
func TestLateCloseSparesLaterHistory(t *testing.T) {
	for _, outage := range []time.Duration{10 * time.Second, time.Minute} {
		t.Run(outage.String(), func(t *testing.T) {
			runOne(t, 3, pondtest.WebSocket, func(t *testing.T, c *cluster, s []*server) {
				c.join(s[0])
				c.rest()
				s[0].broker.Disconnect()
				c.channel(s[0]).Close("over")
				c.pass(5 * time.Second)
				carl := c.connect(s[2])
				c.admitted(carl.Join(room, nil))
				for i := range 3 {
					if err := s[2].endpoint.Publish(t.Context(), room, "said", number(i)); err != nil {
						t.Fatal(err)
					}
				}
				c.settle()
				expect(t, carl, 0, 1, 2)
				c.pass(outage)
				s[0].broker.Connect()
				c.pass(time.Minute)
				c.expectHistory(s[2], 0, 1, 2)
			}, withNewcomers)
		})
	}
}
