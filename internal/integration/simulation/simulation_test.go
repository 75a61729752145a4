// Package simulation_test simulates a cluster in virtual time, and counts the messages
// between its nodes. docs/scaling.md has the figures of 100 nodes and 100,000 users.
package simulation_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/pondtest"
)

var (
	nodes = flag.Int("nodes", 10, "number of nodes")
	users = flag.Int("users", 500, "number of users")
)

// Channels of a few users, who are on different nodes.
func TestSmallChannels(t *testing.T) { simulate(t, *users/10) }

// Channels that have members on all nodes.
func TestLargeChannels(t *testing.T) { simulate(t, max(1, *users/(10**nodes))) }

const (
	nodeTimeout = 90 * time.Second // the default
	tick        = 5 * time.Second  // between two checks of other nodes
	syncRate    = 50               // channels whose state a node requests per second
	outage      = 10 * time.Second
)

// A simulation is a cluster with its clients.
type simulation struct {
	t        *testing.T
	driver   *pondtest.Driver
	bus      *memorybroker.Bus
	random   *rand.Rand
	nodes    []*node
	channels []string
	clients  []*client
	traffic  traffic
}

type node struct {
	pond     *pond.Pond
	endpoint *pond.Endpoint
	broker   *memorybroker.Broker
	dead     bool
}

type client struct {
	session *pondtest.Session
	node    *node
	channel string
}

// simulate runs the phases of a simulation, and prints what each one cost.
func simulate(t *testing.T, channels int) {
	s := &simulation{random: rand.New(rand.NewPCG(1, 2))} // equal runs
	pondtest.Run(t, s, func(t *testing.T, d *pondtest.Driver) {
		s.t, s.driver, s.bus = t, d, memorybroker.New()
		for i := range *nodes {
			s.nodes = append(s.nodes, s.boot(i))
		}
		for i := range channels {
			s.channels = append(s.channels, fmt.Sprintf("/room/%d", i))
		}
		t.Logf("%d nodes, %d users, %d channels", *nodes, *users, channels)
		s.traffic.reset()
		s.join()
		s.report("join", *users)
		s.idle()
		s.broadcast()
		s.die()
		s.restart()
	})
}

// ServeHTTP serves the node that the path begins with.
func (s *simulation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var i int
	if _, err := fmt.Sscanf(r.URL.Path, "/%d/", &i); err != nil || i >= len(s.nodes) {
		http.NotFound(w, r)
		return
	}
	http.StripPrefix(fmt.Sprintf("/%d", i), s.nodes[i].pond).ServeHTTP(w, r)
}

// Shutdown shuts down all nodes.
func (s *simulation) Shutdown(ctx context.Context) error {
	var errs []error
	for _, n := range s.nodes {
		if err := n.pond.Shutdown(ctx); !n.dead {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *simulation) boot(i int) *node {
	n := &node{broker: s.bus.Broker(fmt.Sprint("node", i))}
	n.pond = pond.New(pond.WithBroker(counter{n.broker, &s.traffic}), pond.WithLogger(slog.New(slog.DiscardHandler)))
	n.endpoint = n.pond.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() },
		pond.WithPingInterval(24*time.Hour), pond.WithMaxConns(*users))
	n.endpoint.Lobby("/room/:id", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	return n
}

// join connects all users, a thousand per second.
func (s *simulation) join() {
	for i := range *users {
		at := s.random.IntN(len(s.nodes))
		c := &client{
			node: s.nodes[at], channel: s.channels[i%len(s.channels)],
			session: s.driver.Connect(pondtest.WebSocket, fmt.Sprintf("/%d/socket", at)),
		}
		c.session.SendJoin(c.channel, nil)
		s.clients = append(s.clients, c)
		time.Sleep(time.Millisecond)
	}
	s.settle("after the joins", time.Second)
}

// idle shows what a cluster costs in which nothing happens.
func (s *simulation) idle() {
	s.traffic.reset()
	time.Sleep(3 * time.Minute)
	s.report("second without events", 180)
}

// broadcast sends a message in each of some channels.
func (s *simulation) broadcast() {
	s.traffic.reset()
	count := min(len(s.channels), 100)
	for _, c := range s.clients[:count] {
		ch, ok := c.node.endpoint.Channel(c.channel)
		if !ok {
			s.t.Fatal("no channel", c.channel)
		}
		if err := ch.Broadcast("said", map[string]string{"text": "hi"}); err != nil {
			s.t.Fatal(err)
		}
	}
	synctest.Wait()
	s.report("broadcast", count)
}

// die ends a node without notice.
func (s *simulation) die() {
	s.traffic.reset()
	n := s.nodes[0]
	n.dead = true
	n.broker.Disconnect()
	s.leave(func(c *client) bool { return c.node == n })
	s.settle("after the death of a node", nodeTimeout+2*tick)
	s.report("death of a node", 1)
}

// restart ends the connections of all nodes to the broker for some seconds. One percent
// of the users leaves in the meantime.
func (s *simulation) restart() {
	s.traffic.reset()
	for _, n := range s.nodes {
		n.broker.Disconnect()
	}
	s.leave(func(*client) bool { return s.random.IntN(100) == 0 })
	time.Sleep(outage)
	for _, n := range s.nodes {
		if !n.dead {
			n.broker.Connect()
		}
	}
	s.settle("after the restart of the broker", 5*time.Second+time.Duration(len(s.channels))*time.Second/syncRate)
	time.Sleep(10 * time.Second) // the rest of the repair
	s.report("restart of the broker", 1)
	if n, limit := s.traffic.states(), 4*len(s.views()); n > limit {
		s.t.Errorf("%d messages about the state of channels, want at most %d: they must not be quadratic", n, limit)
	}
}

// leave resets the connections of clients.
func (s *simulation) leave(which func(*client) bool) {
	var rest []*client
	for _, c := range s.clients {
		if which(c) {
			c.session.Reset()
		} else {
			rest = append(rest, c)
		}
	}
	s.clients = rest
	synctest.Wait()
}

// settle measures how long it takes until all nodes show the members of their channels.
func (s *simulation) settle(when string, limit time.Duration) {
	began := time.Now()
	views := s.views()
	for s.wrong(views) > 0 {
		if time.Since(began) > limit {
			s.t.Fatalf("%s: %d lists of members are still wrong after %v", when, s.wrong(views), limit)
		}
		if time.Since(began) < 10*time.Second {
			time.Sleep(100 * time.Millisecond)
		} else {
			time.Sleep(time.Second)
		}
	}
	s.t.Logf("all lists are correct %.1f s %s", time.Since(began).Seconds(), when)
}

// A view is a channel on a node that has members there.
type view struct {
	node    *node
	channel string
}

// views returns the views, and how many members each one should have.
func (s *simulation) views() map[view]int {
	members := map[string]int{}
	for _, c := range s.clients {
		members[c.channel]++
	}
	views := map[view]int{}
	for _, c := range s.clients {
		views[view{c.node, c.channel}] = members[c.channel]
	}
	return views
}

// wrong returns the number of views with a wrong number of members.
func (s *simulation) wrong(views map[view]int) (wrong int) {
	synctest.Wait()
	for v, want := range views {
		if ch, ok := v.node.endpoint.Channel(v.channel); !ok || ch.Len() != want {
			wrong++
		}
	}
	return wrong
}

// report prints the traffic since the last reset, per event.
func (s *simulation) report(event string, events int) {
	synctest.Wait()
	s.t.Logf("per %s:\n%s", event, strings.TrimSuffix(s.traffic.table(events), "\n"))
}
