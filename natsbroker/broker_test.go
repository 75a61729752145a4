package natsbroker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest"
	"github.com/pondsocket/pond/internal/faultproxy"
	"github.com/pondsocket/pond/internal/testserver"

	"github.com/pondsocket/pond/natsbroker"
)

const probeInterval = 500 * time.Millisecond

// nodes are the brokers of a test, each behind its own proxy.
type nodes struct {
	t      testing.TB
	server *testserver.Server
	opts   []natsbroker.Option

	mu      sync.Mutex
	proxies map[pond.Broker]*faultproxy.Proxy
}

func newNodes(t testing.TB, s *testserver.Server, opts ...natsbroker.Option) *nodes {
	return &nodes{t: t, server: s, opts: opts, proxies: map[pond.Broker]*faultproxy.Proxy{}}
}

// add returns the broker of a new node, connected.
func (n *nodes) add() pond.Broker {
	n.t.Helper()
	p := testserver.StartProxy(n.t, n.server.Addr)
	b := connect(n.t, "nats://"+p.Addr(), n.opts...)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proxies[b] = p
	return b
}

func (n *nodes) proxy(b pond.Broker) *faultproxy.Proxy {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proxies[b]
}

// connect returns a broker that is connected.
func connect(t testing.TB, url string, opts ...natsbroker.Option) *natsbroker.Broker {
	t.Helper()
	b, err := natsbroker.New(url, append([]natsbroker.Option{quiet(), natsbroker.WithProbeInterval(probeInterval)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection", func() bool { return b.Health() == nil })
	return b
}

// quiet omits expected failures from the output.
func quiet() natsbroker.Option { return natsbroker.WithLogger(slog.New(slog.DiscardHandler)) }

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

const noLog = "core NATS keeps no messages"

func TestContract(t *testing.T) {
	s := startServer(t)
	brokertest.Run(t, brokertest.Harness{
		Skip: map[string]string{"Log": noLog},
		Open: func(t testing.TB) *brokertest.Cluster {
			n := newNodes(t, s, natsbroker.WithNamespace(t.Name()))
			return &brokertest.Cluster{
				Node: n.add,
				Disconnect: map[string]func(pond.Broker){
					"connection reset": func(b pond.Broker) { n.proxy(b).Reset() },
					"server restarted": func(pond.Broker) { s.Restart() },
				},
				Sever: func(b pond.Broker) (restore func()) {
					n.proxy(b).Sever()
					return n.proxy(b).Restore
				},
				Stall: func(b pond.Broker) (resume func()) {
					n.proxy(b).Stall()
					return n.proxy(b).Resume
				},
			}
		},
	})
}

// A server that is stopped and continued is like a network that stalls.
func TestContractStopped(t *testing.T) {
	brokertest.Run(t, brokertest.Harness{
		Skip: map[string]string{"Log": noLog, "Disconnect": "see TestContract", "Sever": "see TestContract"},
		Open: func(t testing.TB) *brokertest.Cluster {
			s := startServer(t)
			n := newNodes(t, s)
			return &brokertest.Cluster{Node: n.add, Stall: func(pond.Broker) (resume func()) { return s.Stop() }}
		},
	})
}

// A recorder is a receiver that stores all messages and gaps.
type recorder struct {
	mu    sync.Mutex
	texts []string
	gaps  int
	block chan struct{} // Receive waits for it, once
}

func (r *recorder) Receive(e pond.Entry) {
	if r.block != nil {
		<-r.block
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts = append(r.texts, string(e.Data))
}

func (r *recorder) Gap(error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gaps++
	r.texts = append(r.texts, "gap")
}

func (r *recorder) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(strings.Join(r.texts, ","), text)
}

func subscribe(t testing.TB, b pond.Broker, topic string, r *recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	closer, err := b.Subscribe(ctx, topic, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closer.Close() })
}

func publish(t testing.TB, b pond.Broker, topic, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Publish(ctx, topic, [][]byte{[]byte(text)}); err != nil {
		t.Fatal(err)
	}
}

func closeBroker(t testing.TB, b pond.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

// The connection is open, but no data passes, and no message is published: the broker
// detects this.
func TestSilentConnection(t *testing.T) {
	n := newNodes(t, startServer(t))
	b := n.add()
	defer closeBroker(t, b)
	r := &recorder{}
	subscribe(t, b, "t", r)
	began := time.Now()
	n.proxy(b).Stall()
	eventually(t, "Health", func() bool { return b.Health() != nil })
	t.Logf("found after %v, with a probe interval of %v", time.Since(began).Round(10*time.Millisecond), probeInterval)
	n.proxy(b).Resume()
	eventually(t, "Gap", func() bool { return r.has("gap") })
}

// A receiver that does not return fills the queue. No message is delivered after the
// lost messages and before the gap.
func TestOverflow(t *testing.T) {
	s := startServer(t)
	slow, fast := connect(t, "nats://"+s.Addr, natsbroker.WithQueue(10)), connect(t, "nats://"+s.Addr)
	defer closeBroker(t, fast)
	defer closeBroker(t, slow)
	r := &recorder{block: make(chan struct{})}
	subscribe(t, slow, "t", r)
	for n := range 100 {
		publish(t, fast, "t", fmt.Sprintf(`{"n":%d}`, n))
	}
	close(r.block)
	eventually(t, "Gap", func() bool { return r.has("gap") })
	eventually(t, "Health", func() bool { return slow.Health() == nil })
	publish(t, fast, "t", `{"last":true}`)
	eventually(t, "the last message", func() bool { return r.has("last") })
	for i, text := range r.texts {
		if text == "gap" {
			break
		}
		if text != fmt.Sprintf(`{"n":%d}`, i) {
			t.Fatalf("before the gap: %q", r.texts)
		}
	}
}

// Calls that the server forbids fail.
func TestPermissions(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	const text = `authorization { users: [ { user: pond, password: secret,
		permissions: { publish: "pond.default.open", subscribe: "pond.default.open" } } ] }`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "--config", config)
	b := connect(t, "nats://pond:secret@"+s.Addr)
	defer closeBroker(t, b)
	r := &recorder{}
	subscribe(t, b, "open", r)
	publish(t, b, "open", `{"n":1}`)
	eventually(t, "the message", func() bool { return r.has(`"n":1`) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := b.Subscribe(ctx, "closed", r); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("Subscribe: %v", err)
	}
	if err := b.Publish(ctx, "closed", [][]byte{[]byte(`{}`)}); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("Publish: %v", err)
	}
	stranger, err := natsbroker.New("nats://pond:wrong@"+s.Addr, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer closeBroker(t, stranger)
	eventually(t, "the refusal", func() bool { return errors.Is(stranger.Health(), nats.ErrAuthorization) })
}

// One of two servers is killed. The broker knows the other one, although it is not
// configured.
func TestServerOfClusterDies(t *testing.T) {
	routes := testserver.FreeAddr(t)
	first := startServer(t, "--cluster_name", "test", "--cluster", "nats://"+routes)
	second := startServer(t, "--cluster_name", "test", "--cluster", "nats://"+testserver.FreeAddr(t), "--routes", "nats://"+routes)
	b, other := connect(t, "nats://"+first.Addr), connect(t, "nats://"+second.Addr)
	defer closeBroker(t, other)
	defer closeBroker(t, b)
	r := &recorder{}
	subscribe(t, b, "t", r)
	eventually(t, "the address of the other server", func() bool {
		info, _ := greeting(first.Addr)
		return strings.Contains(info, second.Addr)
	})
	// The first server notifies its clients before it forwards messages of the second one.
	eventually(t, "the route", func() bool {
		publish(t, other, "t", `{"n":1}`)
		return r.has(`"n":1`)
	})
	first.Kill()
	eventually(t, "Gap", func() bool { return r.has("gap") })
	publish(t, other, "t", `{"n":2}`)
	eventually(t, "the message", func() bool { return r.has(`"n":2`) })
}

// The server starts later, and the broker connects without a restart.
func TestServerComesLater(t *testing.T) {
	s := testserver.NewNATS(t)
	b, err := natsbroker.New("nats://"+s.Addr, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer closeBroker(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Publish(ctx, "t", [][]byte{[]byte(`{}`)}); err == nil || b.Health() == nil {
		t.Errorf("Publish without a server: %v", err)
	}
	if _, err := b.Subscribe(ctx, "t", &recorder{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Subscribe without a server: %v", err)
	}
	s.Start()
	r := &recorder{}
	subscribe(t, b, "t", r)
	publish(t, b, "t", `{"n":1}`)
	eventually(t, "the message", func() bool { return r.has(`"n":1`) })
}

// A countingDialer counts attempts to connect.
type countingDialer struct{ attempts atomic.Int64 }

func (d *countingDialer) Dial(network, addr string) (net.Conn, error) {
	d.attempts.Add(1)
	return new(net.Dialer).DialContext(context.Background(), network, addr)
}

// The log has one record per outage, which names the server, however many attempts to
// connect fail.
func TestOutageIsLoggedOnce(t *testing.T) {
	s, records, dialer := testserver.NewNATS(t), testserver.NewLog(), new(countingDialer)
	b, err := natsbroker.New("nats://"+s.Addr, natsbroker.WithProbeInterval(probeInterval),
		natsbroker.WithLogger(slog.New(records)), natsbroker.WithClientOption(nats.SetCustomDialer(dialer)))
	if err != nil {
		t.Fatal(err)
	}
	defer closeBroker(t, b)
	check := func(outages int) {
		t.Helper()
		before := dialer.attempts.Load()
		eventually(t, "attempts to connect", func() bool { return dialer.attempts.Load() > before+2 })
		records.Check(t, map[string]int{"natsbroker: connection lost " + s.Addr: outages})
	}
	check(1)
	s.Start()
	eventually(t, "a connection", func() bool { return b.Health() == nil })
	s.Kill()
	check(2)
}

func TestInvalidOptions(t *testing.T) {
	for _, prefix := range []string{"", ".", "a..b", "a.*", ">", "a b"} {
		if b, err := natsbroker.New("nats://127.0.0.1:1", natsbroker.WithPrefix(prefix)); err == nil || b != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	if _, err := natsbroker.New("nats://127.0.0.1:1", natsbroker.WithClientOption(nats.RootCAs("/does/not/exist"))); err == nil {
		t.Error("an option that fails")
	}
	for name, f := range map[string]func(){
		"queue": func() { natsbroker.WithQueue(0) },
		"probe": func() { natsbroker.WithProbeInterval(0) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "natsbroker: ") {
					t.Errorf("%s: %s", name, text)
				}
			}()
			f()
		}()
	}
}

// An invalid URL may contain a password, so it must not be part of an error.
func TestInvalidURL(t *testing.T) {
	for _, url := range []string{"", "nats://", "nats://pond:s3c/ret@127.0.0.1:1", "nats://pond:s3c%zz@127.0.0.1:1", "nats://a:4222,nats://pond:s3c ret@b:4222x", "pond:s3c#ret@a:1:1"} {
		if b, err := natsbroker.New(url); err == nil || b != nil || strings.Contains(err.Error(), "s3c") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, url := range []string{"127.0.0.1:1", "nats://127.0.0.1:1, tls://pond:s3c%2Fret@[::1]:1"} {
		b, err := natsbroker.New(url, natsbroker.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatalf("%q: %v", url, err)
		}
		closeBroker(t, b)
	}
}

// After Close, no goroutine or connection remains.
func TestCloseLeavesNothing(t *testing.T) {
	s := startServer(t)
	before := runtime.NumGoroutine()
	for range 5 {
		b := connect(t, "nats://"+s.Addr)
		subscribe(t, b, "t", &recorder{})
		publish(t, b, "t", `{}`)
		closeBroker(t, b)
	}
	unreachable, err := natsbroker.New("nats://"+testserver.FreeAddr(t), quiet())
	if err != nil {
		t.Fatal(err)
	}
	closeBroker(t, unreachable)
	eventually(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
}
