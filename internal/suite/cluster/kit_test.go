package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

const room = "/chat/1"

// nodeTimeout is the timeout of nodes in these tests.
const nodeTimeout = 2 * time.Second

// A cluster is several Ponds in one process, each at /NAME/socket.
type cluster struct {
	t     *testing.T
	d     *pondtest.Driver
	tr    pondtest.Transport
	bus   *memorybroker.Bus
	setup func(*pond.Lobby)

	setupNode func(*server)                   // nil, or as setup
	admit     pond.Handler[*pond.JoinContext] // kit.Admit if nil
	leave     pond.Handler[*pond.LeaveContext]
	opts      []pond.LobbyOption
	endpoint  []pond.EndpointOption
	pond      []pond.Option
	plain     bool // hide the log of the brokers
	diary     diary

	mu    sync.Mutex // guards nodes
	nodes map[string]*server
}

// A server is one node.
type server struct {
	*pond.Pond
	name     string
	endpoint *pond.Endpoint
	lobby    *pond.Lobby
	broker   *memorybroker.Broker
	tap      *tap

	mu   sync.Mutex      // guards the following fields
	here map[string]bool // members of the room
	left map[string][]pond.LeaveReason
}

// noLog hides that a broker has a log.
type noLog struct{ pond.Broker }

// A tap counts the calls of a broker.
type tap struct {
	pond.BrokerLog

	mu    sync.Mutex // guards the following fields
	calls map[string]int
	open  map[string]bool                    // topics that are subscribed to
	watch func(topic string, message []byte) // called with each published message, if not nil
	await func(ctx context.Context) error    // of channels; see AwaitSubscribers
	stuck chan struct{}                      // Since waits until it is closed, if not nil, even without its context
}

// Since implements [pond.BrokerLog].
func (b *tap) Since(ctx context.Context, topic string, after pond.Position, limit int) (pond.Page, error) {
	b.count("since " + topic)
	b.mu.Lock()
	stuck := b.stuck
	b.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	return b.BrokerLog.Since(ctx, topic, after, limit)
}

// AwaitSubscribers implements [pond.BrokerWaiter].
func (b *tap) AwaitSubscribers(ctx context.Context, topic string) error {
	b.mu.Lock()
	await := b.await
	b.mu.Unlock()
	if await == nil || !strings.Contains(topic, "/chat/") {
		return nil
	}
	return await(ctx)
}

// onPublish sets the function that gets each published message.
func (b *tap) onPublish(f func(topic string, message []byte)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watch = f
}

func (b *tap) count(call string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[call]++
}

// counted returns the number of calls so far.
func (b *tap) counted(call string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[call]
}

// subscribed returns the topics of channels that are subscribed to.
func (b *tap) subscribed() (topics []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for topic := range b.open {
		if strings.Contains(topic, "/chat/") {
			topics = append(topics, topic)
		}
	}
	slices.Sort(topics)
	return topics
}

func (b *tap) Publish(ctx context.Context, topic string, batch [][]byte) error {
	b.count("publish " + topic)
	b.mu.Lock()
	watch := b.watch
	b.mu.Unlock()
	for _, message := range batch {
		if watch != nil {
			watch(topic, message)
		}
	}
	return b.BrokerLog.Publish(ctx, topic, batch)
}

func (b *tap) Subscribe(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
	b.count("subscribe " + topic)
	closer, err := b.BrokerLog.Subscribe(ctx, topic, r)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[topic] = true
	return tapCloser{closer, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.open, topic)
	}}, nil
}

type tapCloser struct {
	io.Closer
	closed func()
}

func (c tapCloser) Close() error {
	c.closed()
	return c.Closer.Close()
}

// ServeHTTP serves the node that the path begins with.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	c.mu.Lock()
	s := c.nodes[name]
	c.mu.Unlock()
	if s == nil {
		http.Error(w, "no such node", http.StatusBadGateway)
		return
	}
	http.StripPrefix("/"+name, s).ServeHTTP(w, r)
}

// Shutdown shuts down all nodes.
func (c *cluster) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	nodes := c.nodes
	c.mu.Unlock()
	var errs []error
	for _, s := range nodes {
		errs = append(errs, s.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// start adds a node with this name.
func (c *cluster) start(name string) *server {
	s := &server{name: name, broker: c.bus.Broker(name), here: map[string]bool{}, left: map[string][]pond.LeaveReason{}}
	s.tap = &tap{BrokerLog: s.broker, calls: map[string]int{}, open: map[string]bool{}}
	var b pond.Broker = s.tap
	if c.plain {
		b = noLog{b}
	}
	observer := &pond.Observer{
		Joined: func(_ *pond.Channel, u pond.User) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.here[u.ID] = true
		},
		Left: func(_ *pond.Channel, u pond.User, _ pond.LeaveReason) {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.here, u.ID)
		},
	}
	opts := append([]pond.Option{pond.WithLogger(kit.Silent), pond.WithObserver(observer), pond.WithBroker(b), pond.WithNodeTimeout(nodeTimeout)}, c.pond...)
	s.Pond = pond.New(opts...)
	s.endpoint = s.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if who := ctx.Query().Get("who"); who != "" {
			if err := ctx.Identify(who); err != nil {
				return err
			}
		}
		return ctx.Accept()
	}, c.endpoint...)
	admit := c.admit
	if admit == nil {
		admit = kit.Admit
	}
	s.lobby = s.endpoint.Lobby("/chat/:room", admit, c.opts...)
	kit.Handlers(s.lobby)
	s.lobby.OnLeave(func(ctx *pond.LeaveContext) error {
		s.mu.Lock()
		s.left[ctx.User().ID] = append(s.left[ctx.User().ID], ctx.Reason())
		s.mu.Unlock()
		if c.leave != nil {
			return c.leave(ctx)
		}
		return nil
	})
	if c.setup != nil {
		c.setup(s.lobby)
	}
	if c.setupNode != nil {
		c.setupNode(s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = s
	return s
}

// hosts reports whether a member is connected to this node.
func (s *server) hosts(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.here[id]
}

// stop shuts a node down.
func (c *cluster) stop(s *server) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		c.t.Fatal(err)
	}
	c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, s.name)
}

// connect connects a client to a node.
func (c *cluster) connect(s *server, opts ...pondtest.Option) *pondtest.Session {
	c.t.Helper()
	return c.d.Connect(c.tr, "/"+s.name+"/socket", opts...)
}

// join connects a client to a node, and joins the room.
func (c *cluster) join(s *server, opts ...pondtest.Option) *pondtest.Session {
	c.t.Helper()
	session := c.connect(s, opts...)
	c.admitted(session.Join(room, nil))
	return session
}

// admitted checks the answer to a join.
func (c *cluster) admitted(m pondtest.Message) {
	c.t.Helper()
	if m.Event != "ACKNOWLEDGE" {
		c.t.Fatalf("got %v, want an acknowledgement", m)
	}
	c.settle()
}

// settle waits until all nodes are idle.
func (c *cluster) settle() { synctest.Wait() }

// channel returns the room on a node.
func (c *cluster) channel(s *server) *pond.Channel {
	c.t.Helper()
	ch, ok := s.endpoint.Channel(room)
	if !ok {
		c.t.Fatalf("node %s has no channel %s", s.name, room)
	}
	return ch
}

// A test gets a cluster with so many nodes.
type test func(t *testing.T, c *cluster, s []*server)

// run runs a test on two and on three nodes over both transports.
func run(t *testing.T, f test, configure ...func(*cluster)) {
	t.Helper()
	for _, n := range []int{2, 3} {
		for _, tr := range pondtest.Transports {
			t.Run(fmt.Sprint(n, "/", tr), func(t *testing.T) { runOne(t, n, tr, f, configure...) })
		}
	}
}

func runOne(t *testing.T, n int, tr pondtest.Transport, f test, configure ...func(*cluster)) {
	t.Helper()
	c := &cluster{tr: tr, nodes: map[string]*server{}}
	pondtest.Run(t, c, func(t *testing.T, d *pondtest.Driver) {
		c.t, c.d, c.bus = t, d, memorybroker.New()
		for _, configure := range configure {
			configure(c)
		}
		var servers []*server
		for i := range n {
			servers = append(servers, c.start(string(rune('a'+i))))
		}
		f(t, c, servers)
	})
}

// said returns the numbers of the "said" messages that a client received, and fails on
// other messages.
func said(t *testing.T, s *pondtest.Session) (numbers []int) {
	t.Helper()
	for _, m := range s.Drain() {
		if m.Event != "said" {
			t.Fatalf("unexpected message %v", m)
		}
		var v struct{ N int }
		m.Bind(t, &v)
		numbers = append(numbers, v.N)
	}
	return numbers
}

// expect checks the numbers of the "said" messages that a client received.
func expect(t *testing.T, s *pondtest.Session, want ...int) {
	t.Helper()
	if got := said(t, s); !slices.Equal(got, want) {
		t.Fatalf("received %v, want %v", got, want)
	}
}

// number returns the payload of a "said" message.
func number(n int) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)) }

// until waits until ready is closed, or until the context is done.
func until(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
