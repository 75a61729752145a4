package failures_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/testserver"
	"github.com/pondsocket/pond/pondclient"
	"github.com/pondsocket/pond/redisbroker"
)

const (
	nodes       = 3
	nodeTimeout = 2 * time.Second
	kept        = 100_000 // messages in a log: all of them
	pace        = 50 * time.Millisecond
	early       = 5 // messages of each sender before the failure, at least

	plain  = "/plain/busy" // messages all the time, without a log
	busy   = "/log/busy"   // messages all the time
	silent = "/log/silent" // messages only before the failure
)

// A message is what a client said.
type message struct {
	n       int
	client  int
	channel string
	at      time.Time
}

// A world is a cluster, its clients, and what they said.
type world struct {
	t        testing.TB
	failure  failure
	channels []string
	server   *testserver.Server // of the broker
	replica  *testserver.Server // nil if there is none
	auditor  *redisbroker.Broker
	nodes    []*node
	clients  []*client // two for each node: one that sends, and one that only receives
	moved    *client   // to another node, during the failure

	number   int // of the last message
	messages map[int]*message

	mu sync.Mutex // guards number and messages
}

// build starts everything.
func build(t testing.TB, f failure) *world {
	t.Helper()
	w := &world{t: t, failure: f, messages: map[int]*message{}, channels: []string{plain}}
	brokers, url := w.startBroker()
	for i, b := range brokers {
		w.nodes = append(w.nodes, startNode(t, i, b, f.nodeTimeout()))
	}
	if strings.HasPrefix(url, "redis:") {
		w.channels = append(w.channels, busy, silent)
		var err error
		if w.auditor, err = redisbroker.New(url, redisbroker.WithLogger(slog.New(slog.DiscardHandler))); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			_ = w.auditor.Close(ctx) // the server may not work
		})
	}
	for i := range 2 * nodes {
		transport := pondclient.WebSocket
		if i%2 == 1 {
			transport = pondclient.SSE
		}
		w.clients = append(w.clients, newClient(t, i, w.nodes[i/2], transport, w.channels))
	}
	return w
}

// run plays the failure.
func (w *world) run() {
	t, f := w.t, w.failure
	eventually(t, "the members, before the failure", w.rosters)
	var before []int
	for range early {
		for _, c := range w.senders() {
			if len(w.channels) > 1 {
				before = append(before, w.say(c, silent))
			}
		}
	}
	var talking sync.WaitGroup
	stop := make(chan struct{})
	silence := sync.OnceFunc(func() {
		close(stop)
		talking.Wait()
	})
	t.Cleanup(silence) // if the test fails
	for _, c := range w.senders() {
		talking.Go(func() { w.talk(c, stop) })
	}
	eventually(t, "the messages, before the failure", func() error { return w.heard(before) })

	began := time.Now()
	heal := f.cause(w)
	if f.lasts > 0 {
		<-time.After(f.lasts / 2)
	}
	w.moved = w.clients[1]
	w.moved.move(w.nodes[1])
	if f.lasts > 0 {
		<-time.After(time.Until(began.Add(f.lasts)))
	}
	healed := time.Now()
	if heal != nil {
		heal()
		healed = time.Now()
	}

	eventually(t, "the members, after the failure", w.rosters)
	rosters := time.Since(healed)
	eventually(t, "the health of all nodes", w.health)
	silence()
	eventually(t, "the last messages", w.sayAll(w.loud()...))
	for _, c := range w.clients {
		if c.number%2 == 1 {
			c.move(c.node)
		}
	}
	if w.auditor != nil {
		eventually(t, "the messages after a reconnect", w.sayAll(busy))
	}
	eventually(t, "the positions", w.reached)
	eventually(t, "the members, in the end", w.rosters)
	w.end()
	w.check(rosters, began, healed)
}

// senders returns the clients that send.
func (w *world) senders() (list []*client) {
	for i, c := range w.clients {
		if i%2 == 0 {
			list = append(list, c)
		}
	}
	return list
}

// say sends a message.
func (w *world) say(c *client, channel string) int {
	w.mu.Lock()
	w.number++
	m := &message{n: w.number, client: c.number, channel: channel, at: time.Now()}
	w.messages[m.n] = m
	w.mu.Unlock()
	if err := c.in[channel].Send("say", said{m.n}); err != nil {
		w.t.Errorf("client %d: %v", c.number, err)
	}
	return m.n
}

// talk sends messages until stop is closed.
func (w *world) talk(c *client, stop <-chan struct{}) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		for _, channel := range w.loud() {
			w.say(c, channel)
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

// loud returns the channels with messages all the time.
func (w *world) loud() []string {
	return slices.DeleteFunc(slices.Clone(w.channels), func(channel string) bool { return channel == silent })
}

// sayAll sends a message from each sender, and returns a function that checks whether all
// members received them.
func (w *world) sayAll(channels ...string) func() error {
	numbers := map[string][]int{}
	for _, channel := range channels {
		for _, c := range w.senders() {
			numbers[channel] = append(numbers[channel], w.say(c, channel))
		}
	}
	return func() error {
		for channel, list := range numbers {
			for _, c := range w.clients {
				if err := c.in[channel].received(list); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// heard returns an error unless all members received these messages in the silent
// channel, and some in the others.
func (w *world) heard(before []int) error {
	for _, c := range w.clients {
		for _, channel := range w.channels {
			if channel == silent {
				if err := c.in[channel].received(before); err != nil {
					return err
				}
				continue
			}
			list, err := c.in[channel].numbers()
			if err != nil {
				return err
			}
			if len(list) < early*nodes {
				return fmt.Errorf("client %d received %d messages in %s", c.number, len(list), channel)
			}
		}
	}
	return nil
}

// living returns the nodes that were not killed.
func (w *world) living() (list []*node) {
	for _, n := range w.nodes {
		if !n.killed {
			list = append(list, n)
		}
	}
	return list
}

// rosters returns an error unless all nodes and all clients know exactly the clients that
// are connected.
func (w *world) rosters() error {
	want := map[string]int{}
	for _, c := range w.clients {
		id := c.UserID()
		if id == "" || id == c.former {
			return fmt.Errorf("client %d is not connected again", c.number)
		}
		want[id] = c.number
	}
	for _, channel := range w.channels {
		for _, n := range w.living() {
			all, err := n.known(channel)
			if err != nil {
				return err
			}
			got := map[string]int{}
			for id, u := range all {
				got[id] = want[id]
				if u.Client != fmt.Sprint(want[id]) || u.Presence != fmt.Sprintf(`{"client":%d,"id":%q}`, want[id], id) {
					got[id] = -1
				}
			}
			if err := sameMembers(fmt.Sprintf("node %d in %s", n.number, channel), got, want); err != nil {
				return err
			}
		}
		for _, c := range w.clients {
			if err := c.in[channel].lists(want); err != nil {
				return err
			}
		}
	}
	return nil
}

// sameMembers returns an error unless the members are the same: numbers of clients by
// their user IDs.
func sameMembers(where string, got, want map[string]int) error {
	if maps.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("%s: members are %v, want %v", where, got, want)
}

// health returns an error unless all nodes are connected, and reported this.
func (w *world) health() error {
	for _, n := range w.living() {
		if _, err := get("http://" + n.Addr + "/health"); err != nil {
			return fmt.Errorf("node %d: %w", n.number, err)
		}
		if list := n.all("degraded"); len(list) == 0 || list[len(list)-1].Err != "" {
			return fmt.Errorf("node %d reported %v", n.number, list)
		}
	}
	return nil
}

// logs returns the channels with a log.
func (w *world) logs() (list []string) {
	for _, channel := range w.channels {
		if strings.HasPrefix(channel, "/log/") {
			list = append(list, channel)
		}
	}
	return list
}

func topicOf(channel string) string { return "socket:" + channel }

// reached returns an error unless all members reached the ends of the logs.
func (w *world) reached() error {
	for _, channel := range w.logs() {
		ctx, cancel := context.WithTimeout(w.t.Context(), timeout)
		tops, err := w.auditor.Tops(ctx, []string{topicOf(channel)})
		cancel()
		if err != nil {
			return err
		}
		for _, c := range w.clients {
			if err := c.in[channel].reached(tops[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

// end disconnects all clients and shuts down the nodes.
func (w *world) end() {
	var wg sync.WaitGroup
	for _, c := range w.clients {
		wg.Go(c.close)
	}
	wg.Wait()
	eventually(w.t, "the end of all memberships", func() error {
		for _, n := range w.living() {
			for _, channel := range w.channels {
				if all, err := n.known(channel); err != nil || len(all) > 0 {
					return errors.Join(err, fmt.Errorf("node %d in %s: %v", n.number, channel, all))
				}
			}
		}
		return nil
	})
	eventually(w.t, "the health of all nodes, in the end", w.health) // later, nodes miss those that ended
	for _, n := range w.living() {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			if err := n.Terminate(ctx); err != nil {
				w.t.Errorf("node %d: %v", n.number, err)
			}
		})
	}
	wg.Wait()
	for _, n := range w.nodes {
		n.readAll()
	}
}
