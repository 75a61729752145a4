package failures_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/faultproxy"
	"github.com/pondsocket/pond/internal/testserver"
)

// A failure is something that goes wrong for a time.
type failure struct {
	name  string
	nats  bool // the broker is NATS, not Redis
	lasts time.Duration
	cause func(w *world) (heal func())

	loses    bool          // the logs
	degrades int           // how many nodes, the first ones, have no connection for a while
	timeout  time.Duration // of nodes, if it is not the usual one
	sentinel bool          // Redis has a replica and Sentinels

	partition bool // packets between the first node and the server are dropped
}

func (f failure) nodeTimeout() time.Duration {
	if f.timeout > 0 {
		return f.timeout
	}
	return nodeTimeout
}

// long is how long failures last that nodes do not take for a short pause.
const long = 2 * nodeTimeout

// Nodes fail, or their connections.
var nodeFailures = []failure{
	{name: "node killed", cause: func(w *world) func() {
		w.nodes[0].killed = true
		w.nodes[0].Kill()
		w.clients[0].move(w.nodes[1])
		return nil
	}},
	{name: "node stopped", lasts: long, cause: func(w *world) func() { return w.nodes[0].Stop() }},
	{name: "node without connection", degrades: 1, lasts: long, cause: func(w *world) func() {
		w.nodes[0].proxy.Sever()
		return w.nodes[0].proxy.Restore
	}},
	{name: "node whose connection stalls", degrades: 1, lasts: long, cause: func(w *world) func() {
		w.nodes[0].proxy.Stall()
		return w.nodes[0].proxy.Resume
	}},
	{name: "server slow by 2 s", lasts: long, cause: func(w *world) func() {
		for _, n := range w.nodes {
			n.proxy.Delay(time.Second) // in each direction
		}
		return func() {
			for _, n := range w.nodes {
				n.proxy.Delay(0)
			}
		}
	}},
	{name: "server restarted after 1 s", loses: true, degrades: nodes, lasts: time.Second, cause: restart},
	{name: "server restarted after 4 s", loses: true, degrades: nodes, lasts: long, cause: restart},
	{name: "server paused", degrades: nodes, lasts: long, cause: func(w *world) func() { return w.server.Stop() }},
}

func restart(w *world) (heal func()) {
	w.server.Kill()
	return w.server.Start
}

// Failures of Redis.
var redisFailures = []failure{
	{name: "CLIENT KILL TYPE pubsub", cause: func(w *world) func() {
		command(w.t, w.server, "CLIENT", "KILL", "TYPE", "pubsub")
		return nil
	}},
	{name: "FLUSHALL", loses: true, cause: flush},
	{name: "FLUSHALL, node timeout of 90 s", loses: true, timeout: 90 * time.Second, cause: flush},
	{name: "eviction at maxmemory", loses: true, lasts: time.Second, cause: evict},
	{name: "failover, lost writes", loses: true, degrades: nodes, sentinel: true, cause: failover},
}

func flush(w *world) (heal func()) {
	command(w.t, w.server, "FLUSHALL")
	return nil
}

// evict fills the memory of Redis with keys that do not expire, so that it evicts the
// logs, and then has no memory for messages.
func evict(w *world) (heal func()) {
	command(w.t, w.server, "CONFIG", "SET", "maxmemory-policy", "volatile-lru")
	command(w.t, w.server, "CONFIG", "SET", "maxmemory", "1")
	// Redis evicts keys before commands that need memory, and rejects them if that is not
	// sufficient.
	eventually(w.t, "the eviction", func() error {
		if expectInfo(w.server, "stats", "evicted_keys:0") == nil {
			return errors.New("no keys were evicted")
		}
		return nil
	})
	return func() { command(w.t, w.server, "CONFIG", "SET", "maxmemory", "0") }
}

// failover kills the server after its replica missed some messages, and waits until the
// replica is the master.
func failover(w *world) (heal func()) {
	w.t.Helper()
	replication := w.nodes[0].proxy // of the replica
	replication.Stall()
	missing := w.sayAll(w.loud()...)
	eventually(w.t, "messages that the replica misses", missing)
	w.server.Kill()
	eventually(w.t, "the promotion of the replica", func() error { return expectInfo(w.replica, "replication", "role:master") })
	return nil
}

// A brokerOf is how a node connects to its broker.
type brokerOf struct {
	url     string
	proxy   *faultproxy.Proxy
	network *network // of a node in its own namespace, without a proxy
}

// startBroker starts the server of the brokers. url is the URL without a proxy.
func (w *world) startBroker() (brokers []brokerOf, url string) {
	t, scheme := w.t, "redis://"
	switch {
	case w.failure.sentinel:
		return w.startSentinel()
	case w.failure.nats:
		scheme = "nats://"
		w.server = startNATS(t)
	default:
		w.server = startRedis(t, inMemory...)
	}
	for range nodes {
		p := testserver.StartProxy(t, w.server.Addr)
		brokers = append(brokers, brokerOf{url: scheme + p.Addr(), proxy: p})
	}
	if w.failure.partition {
		if n := startNetwork(t, w.server); n != nil {
			brokers[0] = brokerOf{url: scheme + net.JoinHostPort(n.server, n.port), network: n}
		}
	}
	return brokers, scheme + w.server.Addr
}

// startSentinel starts a server, a replica and a Sentinel. The replica receives
// everything through a proxy.
func (w *world) startSentinel() (brokers []brokerOf, url string) {
	t := w.t
	w.server = startRedis(t, inMemory...)
	proxy := testserver.StartProxy(t, w.server.Addr)
	host, port, _ := net.SplitHostPort(proxy.Addr())
	w.replica = startRedis(t, append([]string{"--replicaof", host + " " + port}, inMemory...)...)
	eventually(t, "the replica", func() error { return expectInfo(w.replica, "replication", "master_link_status:up") })
	_, port, _ = net.SplitHostPort(w.server.Addr)
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	text := "sentinel monitor pond 127.0.0.1 " + port + " 1\nsentinel down-after-milliseconds pond 1000\nsentinel failover-timeout pond 2000\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startRedis(t, config, "--sentinel")
	eventually(t, "the Sentinel", func() error { return expectInfo(s, "sentinel", "slaves=1") })
	url = "redis://" + s.Addr + "?master_set=pond"
	for range nodes {
		brokers = append(brokers, brokerOf{url: url, proxy: proxy})
	}
	return brokers, url
}

// Nodes at one Redis server.
func TestRedis(t *testing.T) {
	play(t, slices.Concat(nodeFailures, partitions, redisFailures))
}

// Nodes at one NATS server, which has no log.
func TestNATS(t *testing.T) {
	var list []failure
	for _, f := range nodeFailures {
		f.nats = true
		list = append(list, f)
	}
	play(t, list)
}

func play(t *testing.T, list []failure) {
	t.Helper()
	t.Parallel()
	for _, f := range list {
		for range *rounds {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				build(t, f).run()
			})
		}
	}
}
