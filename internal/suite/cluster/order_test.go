package cluster_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/pondtest"
)

// shown returns the members of the room on a node, with their presence and their assign
// "v".
func (c *cluster) shown(s *server) (list []string) {
	ch := c.channel(s)
	presence := maps.Collect(ch.Presence())
	for u := range ch.Users() {
		list = append(list, fmt.Sprintf("%s %s %v", u.ID, presence[u.ID], u.Get("v")))
	}
	slices.Sort(list)
	return list
}

// While the broker is busy, later changes of a member replace queued ones, but do not
// overtake messages about the same member that are queued in between.
func TestChangesKeepTheirOrder(t *testing.T) {
	type env struct {
		c    *cluster
		s    []*server
		bob  *pondtest.Session
		send func(event, payload string)
	}
	assign := func(e env, v int) {
		if err := e.c.channel(e.s[1]).Assign(e.bob.ID(), "v", v); err != nil {
			e.c.t.Fatal(err)
		}
	}
	rejoin := func(e env) {
		e.bob.Leave(room)
		e.c.settle()
		e.c.admitted(e.bob.Join(room, nil))
	}
	for name, change := range map[string]func(e env){
		"presence and a new membership": func(e env) {
			e.send("update", `{"v":1}`)
			rejoin(e)
			e.send("track", `{"v":2}`)
		},
		"presence that ended and a new membership": func(e env) {
			e.send("untrack", `{}`)
			rejoin(e)
			e.send("track", `{"v":2}`)
		},
		"assigns and a new membership": func(e env) {
			assign(e, 1)
			rejoin(e)
			assign(e, 2)
		},
		"presence and a state": func(e env) {
			e.send("update", `{"v":1}`)
			e.c.pass(100 * time.Millisecond) // the answer to the third node is queued
			e.send("untrack", `{}`)
		},
		"assigns and a state": func(e env) {
			assign(e, 1)
			e.c.pass(100 * time.Millisecond)
			assign(e, 2)
		},
	} {
		for _, tr := range pondtest.Transports {
			t.Run(fmt.Sprint(name, "/", tr), func(t *testing.T) {
				runOne(t, 3, tr, func(t *testing.T, c *cluster, s []*server) {
					c.join(s[0])
					bob := c.join(s[1])
					e := env{c, s, bob, func(event, payload string) {
						bob.Send(room, event, json.RawMessage(payload))
						c.settle()
					}}
					e.send("track", `{"v":0}`)
					assign(e, 0)
					c.rest()
					c.join(s[2])
					if !strings.HasSuffix(name, "a state") {
						c.rest() // the others answered
					}
					c.bus.Pause()
					e.send("say", `{"n":1}`) // in flight
					change(e)
					c.bus.Resume()
					c.pass(2 * time.Second)
					want := c.shown(s[1])
					for _, other := range []*server{s[0], s[2]} {
						if got := c.shown(other); !slices.Equal(got, want) {
							t.Errorf("node %s shows %q, want %q", other.name, got, want)
						}
					}
				}, defaultTimeout)
			})
		}
	}
}
