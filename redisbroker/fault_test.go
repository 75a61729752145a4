package redisbroker_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest"
	"github.com/pondsocket/pond/internal/testserver"
	"github.com/redis/rueidis"

	"github.com/pondsocket/pond/redisbroker"
)

var keep = pond.Retention{Messages: 100, Bytes: 1 << 20, Age: time.Hour}

// quiet omits expected failures from the output.
func quiet() redisbroker.Option { return redisbroker.WithLogger(slog.New(slog.DiscardHandler)) }

// A recorder is a receiver that stores all messages and gaps.
type recorder struct {
	mu      sync.Mutex
	entries []pond.Entry
	gaps    []error
}

func (r *recorder) Receive(e pond.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
}

func (r *recorder) Gap(reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gaps = append(r.gaps, reason)
}

func (r *recorder) texts() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		list = append(list, string(e.Data))
	}
	return list
}

func (r *recorder) countGaps() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.gaps)
}

func subscribe(t testing.TB, b pond.Broker, topic string) *recorder {
	t.Helper()
	r := &recorder{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	closer, err := b.Subscribe(ctx, topic, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closer.Close() })
	return r
}

func closeBroker(t testing.TB, b pond.Broker) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

func appendOne(t testing.TB, b pond.BrokerLog, topic string, n int) (pond.Position, error) {
	return appendWithin(t, b, topic, n, time.Minute)
}

func appendWithin(t testing.TB, b pond.BrokerLog, topic string, n int, d time.Duration) (pond.Position, error) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return b.Append(ctx, topic, pond.Batch{
		Producer: "boot", First: uint64(n), Data: [][]byte{fmt.Appendf(nil, `{"n":%d}`, n)}, Keep: keep,
	})
}

// A server that is stopped and continued is like a network that stalls.
func TestContractStopped(t *testing.T) {
	brokertest.Run(t, brokertest.Harness{
		Skip: map[string]string{
			"VirtualTime": noVirtualTime["VirtualTime"], "Disconnect": "see TestContract", "Sever": "see TestContract",
			"LoseResponse": "see TestContract", "LoseLog": "see TestContract",
		},
		Open: func(t testing.TB) *brokertest.Cluster {
			s := startServer(t)
			n := newNodes(t, s)
			return &brokertest.Cluster{Node: n.add, Stall: func(pond.Broker) (resume func()) { return s.Stop() }}
		},
	})
}

// A replica that has all entries takes over. The log still starts again, because the
// replica could lack the newest entries.
func TestContractFailover(t *testing.T) {
	brokertest.Run(t, brokertest.Harness{
		Skip: map[string]string{
			"VirtualTime": noVirtualTime["VirtualTime"], "Disconnect": "see TestContract", "Sever": "see TestContract",
			"LoseResponse": "see TestContract", "Stall": "see TestContract",
		},
		Open: func(t testing.TB) *brokertest.Cluster {
			s := startServer(t)
			replica := startServer(t, "--replicaof", "127.0.0.1 "+port(s.Addr))
			n := newNodes(t, s)
			return &brokertest.Cluster{
				Node: n.add,
				LoseLog: func(string) {
					eventually(t, "the replica", func() bool {
						info, _ := new(replica.command("INFO", "replication")).ToString()
						return strings.Contains(info, "master_link_status:up")
					})
					s.command("WAIT", "1", "0")
					replica.command("REPLICAOF", "NO", "ONE")
					s.Kill()
					for _, p := range n.all() {
						p.Redirect(replica.Addr)
					}
				},
			}
		},
	})
}

// addUser makes the user of the package comment, with its rules.
func (s *server) addUser(cluster bool) {
	s.t.Helper()
	source, err := os.ReadFile("broker.go")
	if err != nil {
		s.t.Fatal(err)
	}
	rules := regexp.MustCompile(`(ACL SETUSER pond .*)(?s:.*?)//\t(\+cluster.*)`).FindSubmatch(source)
	if rules == nil {
		s.t.Fatal("the package comment has no rules")
	}
	s.command(strings.Fields(string(rules[1]))...)
	if cluster {
		s.command(append([]string{"ACL", "SETUSER", "pond"}, strings.Fields(string(rules[2]))...)...)
	}
}

// The permissions in the package comment are sufficient.
func TestContractACL(t *testing.T) {
	s := startServer(t)
	s.addUser(false)
	brokertest.Run(t, brokertest.Harness{
		Skip: map[string]string{
			"VirtualTime": noVirtualTime["VirtualTime"], "Disconnect": "see TestContract", "Sever": "see TestContract",
			"LoseResponse": "see TestContract", "LoseLog": "see TestContract", "Stall": "see TestContract",
		},
		Open: func(t testing.TB) *brokertest.Cluster {
			n := newNodes(t, s)
			n.user = "pond:password@"
			return &brokertest.Cluster{Node: n.add}
		},
	})
}

// A subscription that the server does not allow fails, and the others of its batch do
// not.
func TestForbiddenTopic(t *testing.T) {
	s := startServer(t)
	s.command("ACL", "SETUSER", "pond", "on", ">password", "resetchannels", "&pondsocket:v1:default:open*",
		"&pondsocket:v1:default:__probe__:*", "allkeys", "+@all")
	n := newNodes(t, s)
	n.user = "pond:password@"
	b := n.add()
	defer closeBroker(t, b)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			topic, want := fmt.Sprint("open", i), true
			if i%2 == 1 {
				topic, want = fmt.Sprint("secret", i), false
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := b.Subscribe(ctx, topic, &recorder{})
			if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "NOPERM") {
				t.Errorf("%s: %v", topic, err)
			}
		})
	}
	wg.Wait()
	if err := b.Health(); err != nil {
		t.Errorf("Health: %v", err)
	}
}

// The connection lives, but nothing arrives any more: subscriptions are still at a
// server that the messages do not reach. Nothing is published meanwhile.
func TestDeafSubscription(t *testing.T) {
	old, current := startServer(t), startServer(t)
	n := newNodes(t, old)
	b := n.add()
	defer closeBroker(t, b)
	r := subscribe(t, b, "t")
	began := time.Now()
	n.proxy(b).RedirectCommands(current.Addr)
	// One gap, and another one for each probe of a new connection that is late, because the
	// machine is busy for longer than the interval.
	eventually(t, "Gap", func() bool { return r.countGaps() > 0 })
	t.Logf("found after %v, with a probe interval of %v", time.Since(began).Round(time.Millisecond), probeInterval)
	other := newNodes(t, current).add()
	defer closeBroker(t, other)
	publish(t, other, "t", `{"n":1}`)
	eventually(t, "the message", func() bool { return len(r.texts()) == 1 })
}

func publish(t testing.TB, b pond.Broker, topic, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Publish(ctx, topic, [][]byte{[]byte(text)}); err != nil {
		t.Fatal(err)
	}
}

// A broker whose subscriptions receive data sends no probes. On a busy machine there
// may be a pause that is long enough for one, so one round of several must be without.
func TestIdleProbes(t *testing.T) {
	s := startServer(t)
	n := newNodes(t, s)
	b := n.add()
	defer closeBroker(t, b)
	subscribe(t, b, "t")
	const messages = 60 // in three intervals
	eventually(t, "a round without probes", func() bool {
		s.command("CONFIG", "RESETSTAT")
		for range messages {
			publish(t, b, "t", `{}`)
			<-time.After(probeInterval / 20)
		}
		stats, _ := new(s.command("INFO", "commandstats")).ToString()
		return strings.Contains(stats, fmt.Sprintf("cmdstat_publish:calls=%d,", messages))
	})
}

// The server starts later, and the broker connects without a restart.
func TestServerComesLater(t *testing.T) {
	s := newServer(t)
	b, err := redisbroker.New("redis://"+s.Addr, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer closeBroker(t, b)
	if b.Health() == nil {
		t.Error("Health without a server")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.Publish(ctx, "t", [][]byte{[]byte(`{}`)}); err == nil {
		t.Error("Publish without a server")
	}
	if _, err := b.Subscribe(ctx, "t", &recorder{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Subscribe without a server: %v", err)
	}
	s.Start()
	eventually(t, "Health", func() bool { return b.Health() == nil })
	r := subscribe(t, b, "t")
	publish(t, b, "t", `{"n":1}`)
	eventually(t, "the message", func() bool { return len(r.texts()) == 1 })
}

// The log has one record per outage, which names the server, however many attempts to
// connect fail.
func TestOutageIsLoggedOnce(t *testing.T) {
	s, records := newServer(t), testserver.NewLog()
	var dials atomic.Int64
	b, err := redisbroker.New("redis://"+s.Addr, redisbroker.WithProbeInterval(probeInterval), redisbroker.WithLogger(slog.New(records)),
		redisbroker.WithClientOption(func(o *rueidis.ClientOption) {
			o.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
				dials.Add(1)
				return d.DialContext(ctx, "tcp", addr)
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer closeBroker(t, b)
	attempts := func() {
		t.Helper()
		before := dials.Load()
		eventually(t, "attempts to connect", func() bool { return dials.Load() > before+2 })
	}
	attempts()
	want := map[string]int{"redisbroker: no connection " + s.Addr: 1}
	records.Check(t, want)
	for range 2 {
		s.Start()
		eventually(t, "a connection", func() bool { return b.Health() == nil })
		s.Kill()
		attempts()
		want["redisbroker: connection lost "+s.Addr]++
		records.Check(t, want)
	}
}

// An invalid URL may contain a password, so it must not be part of the error.
func TestInvalidURL(t *testing.T) {
	for _, url := range []string{
		"", "http://host", "redis://host/x", "redis://host?db=x", "pond:s3cret@host:6379", "redis://pond:s3cret@host/x",
		"redis://pond:s3cret@host:63x79", "redis://pond:s3cret@ho st:6379", "redis://pond:s3cr/et@host:6379", "redis://pond:s3cr%zzet@host:6379",
	} {
		if b, err := redisbroker.New(url); err == nil || b != nil || strings.Contains(err.Error(), "s3cr") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// After Close, no goroutine or connection remains.
func TestCloseLeavesNothing(t *testing.T) {
	s := startServer(t)
	before := runtime.NumGoroutine()
	for range 5 {
		b, err := redisbroker.New("redis://"+s.Addr, quiet())
		if err != nil {
			t.Fatal(err)
		}
		subscribe(t, b, "t")
		publish(t, b, "t", `{}`)
		closeBroker(t, b)
	}
	unreachable, err := redisbroker.New("redis://"+testserver.FreeAddr(t), quiet())
	if err != nil {
		t.Fatal(err)
	}
	closeBroker(t, unreachable)
	eventually(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
	m := s.command("CLIENT", "LIST", "TYPE", "pubsub")
	if list, _ := m.ToString(); strings.Contains(list, "addr=") {
		t.Errorf("connections are left: %s", list)
	}
}

// Nodes subscribe to the exact names of topics, and other servers can read the stored
// messages.
func TestForeignServersCanFollow(t *testing.T) {
	s := startServer(t)
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	vectors, err := os.ReadFile("../internal/clusterwire/testdata/vectors-distributed.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name string
		JSON json.RawMessage
	}
	if err := json.Unmarshal(vectors, &all); err != nil {
		t.Fatal(err)
	}
	b := newNodes(t, s).add().(pond.BrokerLog)
	defer closeBroker(t, b)
	executed := 0
	for _, v := range all {
		if !strings.HasPrefix(v.Name, "subscribe/") {
			continue
		}
		executed++
		var names struct{ Topic string }
		if err := json.Unmarshal(v.JSON, &names); err != nil {
			t.Fatal(err)
		}
		topic := strings.TrimPrefix(names.Topic, "pondsocket:v1:default:")
		subscribe(t, b, topic)
		m := s.command("PUBSUB", "CHANNELS", strings.NewReplacer(`\`, `\\`, `[`, `\[`, `*`, `\*`).Replace(names.Topic))
		if list, _ := m.AsStrSlice(); !slices.Equal(list, []string{names.Topic}) {
			t.Errorf("%s: channels %q, want %q", v.Name, list, names.Topic)
		}
		if n, _ := new(s.command("PUBSUB", "NUMPAT")).AsInt64(); n != 0 {
			t.Errorf("%s: %d patterns", v.Name, n)
		}
		foreign := make(chan string, 1)
		conn, release := client.Dedicate()
		conn.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(m rueidis.PubSubMessage) { foreign <- m.Message }})
		if err := conn.Do(t.Context(), conn.B().Subscribe().Channel(names.Topic).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if _, err := appendOne(t, b, topic, 1); err != nil {
			t.Fatal(err)
		}
		var message struct{ N int }
		if text := <-foreign; json.Unmarshal([]byte(text), &message) != nil || message.N != 1 {
			t.Errorf("%s: another server receives %s", v.Name, text)
		}
		release()
	}
	if executed != 5 {
		t.Errorf("%d vectors, want 5", executed)
	}
}

// If the server evicted one or both keys of a log, the log does not look complete.
func TestEviction(t *testing.T) {
	s := startServer(t)
	b := newNodes(t, s).add().(pond.BrokerLog)
	defer closeBroker(t, b)
	start, err := appendOne(t, b, "t", 1)
	if err != nil {
		t.Fatal(err)
	}
	for n, evicted := range []string{"entries", "state"} {
		if _, err := appendOne(t, b, "t", 2*n+2); err != nil {
			t.Fatal(err)
		}
		s.command("DEL", "pondsocket:log1:default:"+evicted+":{pondsocket:v1:default:t}")
		page, err := b.Since(t.Context(), "t", start, 10)
		if err != nil || page.Complete || len(page.Entries) > 0 {
			t.Errorf("%s evicted: %+v, %v", evicted, page, err)
		}
		if _, err := appendOne(t, b, "t", 2*n+3); err != nil {
			t.Fatal(err)
		}
		page, err = b.Since(t.Context(), "t", start, 10)
		if err != nil || page.Complete {
			t.Errorf("%s evicted, and appended to: %+v, %v", evicted, page, err)
		}
	}
}

// Only the state of producers that ended is removed.
func TestProducersAreForgotten(t *testing.T) {
	s := startServer(t)
	b := newNodes(t, s).add().(pond.BrokerLog)
	defer closeBroker(t, b)
	const state = "pondsocket:log1:default:state:{pondsocket:v1:default:t}"
	if _, err := appendOne(t, b, "t", 1); err != nil {
		t.Fatal(err)
	}
	// As if it were six minutes ago.
	ago := fmt.Sprint(time.Now().Add(-6 * time.Minute).UnixMilli())
	s.command("HSET", state, "pruned", ago, "p:old", "7", "t:old", ago)
	if _, err := appendOne(t, b, "t", 2); err != nil {
		t.Fatal(err)
	}
	m := s.command("HKEYS", state)
	names, _ := m.AsStrSlice()
	if slices.Contains(names, "p:old") || slices.Contains(names, "t:old") || !slices.Contains(names, "p:boot") {
		t.Errorf("fields %q", names)
	}
}
