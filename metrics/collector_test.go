package metrics_test

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/pondtest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pondsocket/pond/metrics"
)

// want has all metrics, after everything that TestCollector does but the shutdown.
const want = `
# HELP pond_broker_failing_topics Channels with queued messages whose last attempt to send failed.
# TYPE pond_broker_failing_topics gauge
pond_broker_failing_topics 0
# HELP pond_broker_queued_bytes Size of the messages that are queued for the broker.
# TYPE pond_broker_queued_bytes gauge
pond_broker_queued_bytes 0
# HELP pond_broker_queued_topics Channels with messages that are queued for the broker.
# TYPE pond_broker_queued_topics gauge
pond_broker_queued_topics 0
# HELP pond_clients Clients that are connected.
# TYPE pond_clients gauge
pond_clients{endpoint="/:tenant/socket",transport="sse"} 1
pond_clients{endpoint="/:tenant/socket",transport="websocket"} 1
# HELP pond_connected_total Connections.
# TYPE pond_connected_total counter
pond_connected_total{endpoint="/:tenant/socket",transport="sse"} 1
pond_connected_total{endpoint="/:tenant/socket",transport="websocket"} 4
# HELP pond_degraded 1 while the connection to the cluster is lost, otherwise 0.
# TYPE pond_degraded gauge
pond_degraded 0
# HELP pond_deliveries_total Recipients of broadcasts and replies.
# TYPE pond_deliveries_total counter
pond_deliveries_total{endpoint="/:tenant/socket",lobby="/chat/:room"} 3
# HELP pond_disconnected_total Ended connections.
# TYPE pond_disconnected_total counter
pond_disconnected_total{cause="client",endpoint="/:tenant/socket",transport="websocket"} 1
pond_disconnected_total{cause="server",endpoint="/:tenant/socket",transport="websocket"} 1
pond_disconnected_total{cause="slow",endpoint="/:tenant/socket",transport="websocket"} 1
# HELP pond_handler_duration_seconds Duration of handlers of joins and messages.
# TYPE pond_handler_duration_seconds histogram
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="join",lobby="/chat/:room",result="ok",le="0.1"} 7
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="join",lobby="/chat/:room",result="ok",le="1"} 7
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="join",lobby="/chat/:room",result="ok",le="+Inf"} 7
pond_handler_duration_seconds_sum{endpoint="/:tenant/socket",kind="join",lobby="/chat/:room",result="ok"} 0
pond_handler_duration_seconds_count{endpoint="/:tenant/socket",kind="join",lobby="/chat/:room",result="ok"} 7
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="error",le="0.1"} 1
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="error",le="1"} 1
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="error",le="+Inf"} 1
pond_handler_duration_seconds_sum{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="error"} 0
pond_handler_duration_seconds_count{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="error"} 1
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="failure",le="0.1"} 2
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="failure",le="1"} 2
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="failure",le="+Inf"} 2
pond_handler_duration_seconds_sum{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="failure"} 0
pond_handler_duration_seconds_count{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="failure"} 2
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="ok",le="0.1"} 0
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="ok",le="1"} 1
pond_handler_duration_seconds_bucket{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="ok",le="+Inf"} 1
pond_handler_duration_seconds_sum{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="ok"} 0.5
pond_handler_duration_seconds_count{endpoint="/:tenant/socket",kind="message",lobby="/chat/:room",result="ok"} 1
# HELP pond_joined_total Memberships.
# TYPE pond_joined_total counter
pond_joined_total{endpoint="/:tenant/socket",lobby="/chat/:room"} 7
# HELP pond_left_total Ended memberships.
# TYPE pond_left_total counter
pond_left_total{endpoint="/:tenant/socket",lobby="/chat/:room",reason="connection_closed"} 2
pond_left_total{endpoint="/:tenant/socket",lobby="/chat/:room",reason="explicit_leave"} 2
pond_left_total{endpoint="/:tenant/socket",lobby="/chat/:room",reason="slow_consumer"} 1
# HELP pond_limited_total Limits that clients reached.
# TYPE pond_limited_total counter
pond_limited_total{endpoint="/:tenant/socket",limit="channel_name"} 1
pond_limited_total{endpoint="/:tenant/socket",limit="outbox"} 1
# HELP pond_lost_total Messages that members on other nodes do not get.
# TYPE pond_lost_total counter
pond_lost_total 0
# HELP pond_members Members of channels.
# TYPE pond_members gauge
pond_members{endpoint="/:tenant/socket",lobby="/chat/:room"} 2
# HELP pond_messages_total Broadcasts and replies.
# TYPE pond_messages_total counter
pond_messages_total{endpoint="/:tenant/socket",lobby="/chat/:room"} 2
# HELP pond_missed_total Messages of other nodes that members on this node do not get.
# TYPE pond_missed_total counter
pond_missed_total 0
# HELP pond_recovered_total Requests to recover missed messages.
# TYPE pond_recovered_total counter
pond_recovered_total{endpoint="/:tenant/socket",lobby="/chat/:room",result="epoch"} 1
pond_recovered_total{endpoint="/:tenant/socket",lobby="/chat/:room",result="ok"} 1
# HELP pond_rejected_total Requests that did not become a connection.
# TYPE pond_rejected_total counter
pond_rejected_total{endpoint="/:tenant/socket",status="403"} 1
`

// chat has one lobby and handlers with all results.
func chat(opts ...pond.Option) (*pond.Pond, *pond.Endpoint) {
	p := pond.New(append(opts, pond.WithLogger(slog.New(slog.DiscardHandler)))...)
	e := p.Endpoint("/:tenant/socket", func(ctx *pond.ConnectionContext) error {
		if ctx.Query().Has("no") {
			return ctx.Decline(403, "")
		}
		return ctx.Accept()
	}, pond.WithOutboxSize(64<<10))
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() }, pond.WithHistory(pond.History{}))
	l.OnMessage("say", func(ctx *pond.EventContext) error {
		time.Sleep(500 * time.Millisecond)
		return ctx.Broadcast("said", ctx.Payload())
	})
	l.OnMessage("forbidden", func(*pond.EventContext) error { return pond.Errorf(403, "no") })
	l.OnMessage("broken", func(*pond.EventContext) error { return errors.New("no") })
	l.OnMessage("panic", func(*pond.EventContext) error { panic("no") })
	return p, e
}

func TestCollector(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := metrics.New(metrics.WithBuckets(.1, 1))
	reg.MustRegister(c)
	p, endpoint := chat(pond.WithObserver(c.Observer()))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		d.Declined(pondtest.WebSocket, "/acme/socket?no")
		connect := func(tr pondtest.Transport, tenant string) *pondtest.Session {
			s := d.Connect(tr, "/"+tenant+"/socket")
			s.Join("/chat/"+tenant, nil)
			return s
		}
		ann, bob := connect(pondtest.WebSocket, "acme"), connect(pondtest.SSE, "acme")
		ann.Join("/chat/"+strings.Repeat("x", 300), nil)
		ann.Request("/chat/acme", "say", nil)
		for _, event := range []string{"forbidden", "broken", "panic", "unknown"} {
			ann.Request("/chat/acme", event, nil)
		}
		bob.Drain()

		cid := connect(pondtest.WebSocket, "other")
		cid.Leave("/chat/other")
		cid.Join("/chat/other", nil, pondtest.Want("recover"), pondtest.Last(1))
		cid.Leave("/chat/other")
		cid.Join("/chat/other", nil, pondtest.Want("recover"), pondtest.From(pondtest.Position{Epoch: "old", Offset: 1}, ""))
		cid.Close()
		dee := connect(pondtest.WebSocket, "other")
		if err := endpoint.Disconnect(dee.ID(), 4000, ""); err != nil {
			t.Error(err)
		}
		slow := connect(pondtest.WebSocket, "slow")
		slow.Stall()
		if err := endpoint.Publish(t.Context(), "/chat/slow", "large", map[string]string{"text": strings.Repeat("x", 128<<10)}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		compare(t, reg, want)

		if ch, ok := endpoint.Channel("/chat/acme"); !ok {
			t.Error("no channel")
		} else if n := allocations(ch); n > 0 {
			t.Errorf("a broadcast and a handler cost %v allocations", n)
		}
		p.Shutdown(t.Context())
		compare(t, reg, wantAtEnd, "pond_clients", "pond_members")
	})
	problems, err := testutil.GatherAndLint(reg)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if err != nil {
		t.Error(err)
	}
}

// Messages that a member that does not read will not get are counted.
func TestDropped(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := metrics.New()
	reg.MustRegister(c)
	p := pond.New(pond.WithObserver(c.Observer()))
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	endpoint.Lobby("/board/:market", func(ctx *pond.JoinContext) error { return ctx.Accept() },
		pond.WithSlowClients(pond.KeepLatest(nil)))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket")
		ann.Join("/board/nyse", nil)
		board, _ := endpoint.Channel("/board/nyse")
		ann.Stall()
		send := func(size int) {
			if err := board.Broadcast("prices", map[string]string{"list": strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
		}
		send(100 << 10) // more than the network takes
		time.Sleep(time.Second)
		for range 5 {
			send(1)
		}
		ann.Resume()
		if got := len(ann.Drain()); got != 2 {
			t.Errorf("Ann received %d messages", got)
		}
		compare(t, reg, `
# HELP pond_dropped_total Outdated messages that slow members did not get.
# TYPE pond_dropped_total counter
pond_dropped_total{endpoint="/socket",lobby="/board/:market"} 4
`, "pond_dropped_total")
	})
}

// allocations returns how often a Collector allocates for a broadcast and a handler.
func allocations(ch *pond.Channel) float64 {
	o := metrics.New().Observer()
	return testing.AllocsPerRun(100, func() {
		o.Sent(ch, "said", 10)
		o.Handled(ch, "say", time.Second, nil)
	})
}

const wantAtEnd = `
# HELP pond_clients Clients that are connected.
# TYPE pond_clients gauge
pond_clients{endpoint="/:tenant/socket",transport="sse"} 0
pond_clients{endpoint="/:tenant/socket",transport="websocket"} 0
# HELP pond_members Members of channels.
# TYPE pond_members gauge
pond_members{endpoint="/:tenant/socket",lobby="/chat/:room"} 0
`

// wantWithoutBroker has the metrics of a node that lost its broker for a minute.
const wantWithoutBroker = `
# HELP pond_degraded 1 while the connection to the cluster is lost, otherwise 0.
# TYPE pond_degraded gauge
pond_degraded %d
# HELP pond_lost_total Messages that members on other nodes do not get.
# TYPE pond_lost_total counter
pond_lost_total %d
`

// wantQueued has the metrics of a node that has messages for its broker.
const wantQueued = `
# HELP pond_broker_failing_topics Channels with queued messages whose last attempt to send failed.
# TYPE pond_broker_failing_topics gauge
pond_broker_failing_topics %[1]d
# HELP pond_broker_queued_topics Channels with messages that are queued for the broker.
# TYPE pond_broker_queued_topics gauge
pond_broker_queued_topics %[1]d
`

func TestCollectorOfANode(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := metrics.New()
	reg.MustRegister(c)
	var p *pond.Pond
	serve := func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(w, r) }
	pondtest.Run(t, http.HandlerFunc(serve), func(t *testing.T, d *pondtest.Driver) {
		b := memorybroker.New().Broker("a")
		p, _ = chat(pond.WithObserver(c.Observer()), pond.WithBroker(b))
		defer p.Shutdown(t.Context())
		check := func(degraded, lost int) {
			t.Helper()
			compare(t, reg, fmt.Sprintf(wantWithoutBroker, degraded, lost), "pond_degraded", "pond_lost_total")
		}
		queued := func(want int) { // topics, whose messages cannot be sent
			t.Helper()
			compare(t, reg, fmt.Sprintf(wantQueued, want), "pond_broker_queued_topics", "pond_broker_failing_topics")
			if q := p.BrokerQueue(); q.Topics != want || q.Failing != want || (q.Bytes >= 100) != (want > 0) {
				t.Errorf("%+v, want %d topics", q, want)
			}
		}
		ann := d.Connect(pondtest.WebSocket, "/acme/socket")
		ann.Join("/chat/1", nil)
		time.Sleep(time.Second)
		check(0, 0)
		queued(0)
		b.Disconnect()
		time.Sleep(time.Minute)
		check(1, 0)
		ann.Send("/chat/1", "say", nil) // it is stored before it is sent
		time.Sleep(time.Second)
		queued(1)
		time.Sleep(time.Minute)
		check(1, 1)
		ann.Drain()
		b.Connect()
		time.Sleep(time.Minute)
		check(0, 1)
		queued(0)
	})
}

// compare compares all gathered metrics, or those with these names.
func compare(t *testing.T, reg prometheus.Gatherer, want string, names ...string) {
	t.Helper()
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// Everything that an Observer can receive is counted.
func TestCollectorIsComplete(t *testing.T) {
	o := reflect.ValueOf(metrics.New().Observer()).Elem()
	for field, f := range o.Fields() {
		if f.IsNil() {
			t.Errorf("%s is not counted", field.Name)
		}
	}
}

// The package comment has all metrics with their labels.
func TestCollectorIsDocumented(t *testing.T) {
	source, err := os.ReadFile("collector.go")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^//\t(pond_\w+) +(\w+(?:, \w+)*|no labels)  `).FindAllStringSubmatch(string(source), -1) {
		documented[m[1]] = m[2]
	}
	descs := make(chan *prometheus.Desc, 100)
	metrics.New().Describe(descs)
	close(descs)
	for d := range descs {
		m := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{([^}]*)\}`).FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		if got, want := documented[m[1]], cmp.Or(strings.ReplaceAll(m[2], ",", ", "), "no labels"); got != want {
			t.Errorf("%s: the comment has the labels %q, want %q", m[1], got, want)
		}
		delete(documented, m[1])
	}
	if len(documented) > 0 {
		t.Errorf("documented, but not there: %v", documented)
	}
}

func TestCollectorOfForwardedRequests(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := metrics.New()
	reg.MustRegister(c)
	var a, b *pond.Pond
	serve := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			a.ServeHTTP(w, r)
		} else {
			b.ServeHTTP(w, r)
		}
	}
	pondtest.Run(t, http.HandlerFunc(serve), func(t *testing.T, d *pondtest.Driver) {
		bus := memorybroker.New()
		a, _ = chat(pond.WithBroker(bus.Broker("a")))
		defer a.Shutdown(t.Context())
		b, _ = chat(pond.WithBroker(bus.Broker("b")), pond.WithObserver(c.Observer()))
		defer b.Shutdown(t.Context())
		ann := d.Connect(pondtest.SSE, "/acme/socket")
		for body, want := range map[string]int{`{"action":"PING"}`: http.StatusNoContent, "[1]": http.StatusBadRequest} {
			if got := d.Push(ann, []byte(body)); got != want {
				t.Errorf("%s: status %d, want %d", body, got, want)
			}
		}
		compare(t, reg, `
# HELP pond_forwarded_total Requests of event streams for other nodes of the cluster.
# TYPE pond_forwarded_total counter
pond_forwarded_total{endpoint="/:tenant/socket",status="204"} 1
pond_forwarded_total{endpoint="/:tenant/socket",status="400"} 1
`, "pond_forwarded_total")
	})
}
