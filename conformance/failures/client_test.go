package failures_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/faultproxy"
	"github.com/pondsocket/pond/internal/testserver"
	"github.com/pondsocket/pond/pondclient"
)

// A client is a client that stays connected. A proxy lets it move to another node.
type client struct {
	*pondclient.Client
	number int
	node   *node  // whose members it belongs to
	moved  bool   // it was disconnected on purpose
	former string // its user ID before
	proxy  *faultproxy.Proxy
	in     map[string]*member
}

// A member is a client in a channel. It records everything.
type member struct {
	*pondclient.Channel
	client *client
	reader sync.WaitGroup

	mu     sync.Mutex // guards the following fields
	events []event
	at     pond.Position // the latest one
	err    error         // why the events ended
}

// An event is an event of a channel, with the time at which it arrived.
type event struct {
	pondclient.Event
	at time.Time
}

// newClient connects a client to a node, and joins all channels.
func newClient(t testing.TB, number int, n *node, transport pondclient.Transport, channels []string) *client {
	t.Helper()
	c := &client{number: number, node: n, proxy: testserver.StartProxy(t, n.Addr), in: map[string]*member{}}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var err error
	c.Client, err = pondclient.Dial(ctx, "http://"+c.proxy.Addr()+"/socket",
		pondclient.WithLogger(slog.New(slog.DiscardHandler)), pondclient.WithTransport(transport),
		pondclient.WithBackoff(pondclient.Backoff{First: 100 * time.Millisecond, Max: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close() })
	for _, name := range channels {
		m := &member{Channel: c.join(ctx, t, name), client: c}
		c.in[name] = m
		m.reader.Go(m.read)
	}
	return c
}

// join joins a channel. On a busy machine, a node may miss its own heartbeats, and has no
// connection to the cluster for a moment.
func (c *client) join(ctx context.Context, t testing.TB, channel string) *pondclient.Channel {
	t.Helper()
	for {
		ch, err := c.Join(ctx, channel, pondclient.WithPresence(), pondclient.WithParams(profile{Client: c.number}), pondclient.WithBuffer(1<<20, 256<<20))
		if err == nil {
			return ch
		}
		if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != http.StatusServiceUnavailable {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (m *member) read() {
	for ev, err := range m.Events(context.Background()) {
		m.mu.Lock()
		switch ev := ev.(type) {
		case *pondclient.Message:
			if ev.Position != (pond.Position{}) {
				m.at = ev.Position
			}
		case *pondclient.Gap:
			m.at = ev.Position
		case *pondclient.Recovered:
			m.at = ev.Position
		}
		if err != nil {
			m.err = err
		} else {
			m.events = append(m.events, event{ev, time.Now()})
		}
		m.mu.Unlock()
	}
}

// close disconnects the client. Its leave handlers run.
func (c *client) close() {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_ = c.Close(ctx)
	for _, m := range c.in {
		m.reader.Wait()
	}
}

// move breaks the connection, and lets the client reconnect to a node.
func (c *client) move(n *node) {
	c.node, c.moved, c.former = n, true, c.UserID()
	c.proxy.Redirect(n.Addr)
}

// numbers returns the messages that the member received, in order.
func (m *member) numbers() (list []int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		message, ok := e.Event.(*pondclient.Message)
		if !ok || message.Event != "said" {
			continue
		}
		var s said
		if err := message.Bind(&s); err != nil {
			return nil, err
		}
		list = append(list, s.N)
	}
	return list, nil
}

// received returns an error unless the member received all of these messages.
func (m *member) received(numbers []int) error {
	list, err := m.numbers()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if !slices.Contains(list, n) {
			return fmt.Errorf("client %d did not receive message %d in %s", m.client.number, n, m.Name())
		}
	}
	return nil
}

// reached returns an error unless the member reached a position.
func (m *member) reached(p pond.Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if m.at.Epoch != p.Epoch || m.at.Offset < p.Offset {
		return fmt.Errorf("client %d is at %v of %s, and the log is at %v", m.client.number, m.at, m.Name(), p)
	}
	return nil
}

// gaps returns the gaps that the member was told.
func (m *member) gaps() (list []*pondclient.Gap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if gap, ok := e.Event.(*pondclient.Gap); ok {
			list = append(list, gap)
		}
	}
	return list
}

// lists returns an error unless the client received exactly these members.
func (m *member) lists(want map[string]int) error {
	m.mu.Lock()
	err := m.err
	m.mu.Unlock()
	if err != nil {
		return err
	}
	got := map[string]int{}
	var errs []error
	for _, other := range m.Members() {
		var p profile
		errs = append(errs, other.Bind(&p))
		got[other.ID] = p.Client
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return sameMembers(fmt.Sprintf("client %d in %s", m.client.number, m.Name()), got, want)
}
