package redisbroker_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest"
	"github.com/pondsocket/pond/internal/faultproxy"
	"github.com/pondsocket/pond/internal/testserver"
	"github.com/redis/rueidis"

	"github.com/pondsocket/pond/redisbroker"
)

const probeInterval = 500 * time.Millisecond

// interval returns the probe interval of a test. Probes wait behind messages of the largest
// size, for which a busy machine needs longer than usual.
func interval(t testing.TB) time.Duration {
	if strings.HasSuffix(t.Name(), "MaxBytes") {
		return 10 * time.Second
	}
	return probeInterval
}

// nodes are the brokers of a test, each behind its own proxy.
type nodes struct {
	t      testing.TB
	server *server
	opts   []redisbroker.Option
	user   string // of the URL, with an @

	mu      sync.Mutex
	names   map[pond.Broker]string
	proxies map[pond.Broker]*faultproxy.Proxy
}

func newNodes(t testing.TB, s *server, opts ...redisbroker.Option) *nodes {
	return &nodes{t: t, server: s, opts: opts, names: map[pond.Broker]string{}, proxies: map[pond.Broker]*faultproxy.Proxy{}}
}

// add returns the broker of a new node, connected.
func (n *nodes) add() pond.Broker {
	n.t.Helper()
	p := testserver.StartProxy(n.t, n.server.Addr)
	n.mu.Lock()
	name := fmt.Sprintf("node%d", len(n.names))
	n.mu.Unlock()
	opts := append([]redisbroker.Option{
		redisbroker.WithProbeInterval(interval(n.t)),
		redisbroker.WithLogger(slog.New(slog.DiscardHandler)),
		redisbroker.WithClientOption(func(o *rueidis.ClientOption) { o.ClientName = name }),
	}, n.opts...)
	b, err := redisbroker.New("redis://"+n.user+p.Addr(), opts...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	n.names[b], n.proxies[b] = name, p
	n.mu.Unlock()
	eventually(n.t, "the connection of "+name, func() bool { return b.Health() == nil })
	return b
}

func (n *nodes) proxy(b pond.Broker) *faultproxy.Proxy {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proxies[b]
}

func (n *nodes) all() (proxies []*faultproxy.Proxy) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.proxies {
		proxies = append(proxies, p)
	}
	return proxies
}

func (n *nodes) name(b pond.Broker) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names[b]
}

// eventually waits until a condition is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		<-time.After(time.Millisecond)
	}
}

// cluster returns the cluster for brokertest.
func (n *nodes) cluster() *brokertest.Cluster {
	return &brokertest.Cluster{
		Node: n.add,
		Disconnect: map[string]func(pond.Broker){
			"connections reset":       func(b pond.Broker) { n.proxy(b).Reset() },
			"CLIENT KILL":             func(b pond.Broker) { n.server.killClients(n.name(b), "") },
			"CLIENT KILL TYPE pubsub": func(b pond.Broker) { n.server.killClients(n.name(b), "pubsub") },
			"server restarted":        func(pond.Broker) { n.server.Restart() },
		},
		Sever: func(b pond.Broker) (restore func()) {
			n.proxy(b).Sever()
			return n.proxy(b).Restore
		},
		Stall: func(b pond.Broker) (resume func()) {
			n.proxy(b).Stall()
			return n.proxy(b).Resume
		},
		LoseLog:      func(string) { n.server.command("FLUSHALL") },
		LoseResponse: func(b pond.Broker, topic string) { n.proxy(b).LoseResponse(topic) },
	}
}

var noVirtualTime = map[string]string{"VirtualTime": "a real server has a clock of its own"}

func TestContract(t *testing.T) {
	s := startServer(t)
	brokertest.Run(t, brokertest.Harness{
		Skip: noVirtualTime,
		Open: func(t testing.TB) *brokertest.Cluster {
			return newNodes(t, s, redisbroker.WithPrefix("test"), redisbroker.WithNamespace(t.Name())).cluster()
		},
	})
}
