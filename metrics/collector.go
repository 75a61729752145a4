// Package metrics exports metrics of a Pond to Prometheus:
//
//	collector := metrics.New()
//	prometheus.MustRegister(collector)
//	p := pond.New(pond.WithObserver(collector.Observer()))
//
// These are the metrics, with their labels:
//
//	pond_clients                   endpoint, transport          clients that are connected
//	pond_connected_total           endpoint, transport          connections
//	pond_disconnected_total        endpoint, transport, cause   ended connections
//	pond_rejected_total            endpoint, status             requests that did not become a connection
//	pond_limited_total             endpoint, limit              limits that clients reached
//	pond_members                   endpoint, lobby              members of channels
//	pond_joined_total              endpoint, lobby              memberships
//	pond_left_total                endpoint, lobby, reason      ended memberships
//	pond_recovered_total           endpoint, lobby, result      requests to recover missed messages
//	pond_messages_total            endpoint, lobby              broadcasts and replies
//	pond_deliveries_total          endpoint, lobby              their recipients
//	pond_dropped_total             endpoint, lobby              outdated messages that slow members did not get
//	pond_handler_duration_seconds  endpoint, lobby, kind, result  histogram: handlers of joins and messages
//	pond_degraded                  no labels  1 while the connection to the cluster is lost, otherwise 0
//	pond_forwarded_total           endpoint, status             requests of event streams for other nodes of the cluster
//	pond_lost_total                no labels  messages that members on other nodes do not get
//	pond_missed_total              no labels  messages of other nodes that members on this node do not get
//	pond_broker_queued_topics      no labels  channels with messages that are queued for the broker
//	pond_broker_failing_topics     no labels  those whose last attempt to send failed
//	pond_broker_queued_bytes       no labels  size of the queued messages
//
// The labels have these values:
//
//	endpoint   the path of the endpoint, such as "/:tenant/socket"
//	lobby      the pattern of the lobby, such as "/chat/:room"
//	transport  "websocket", "sse"
//	cause      "client" (or the network), "server" (Disconnect, Shutdown), "slow" (the client did not read)
//	status     the HTTP status of the response
//	limit      a [pond.Limit]
//	reason     a [pond.LeaveReason]
//	result     of a request to recover: "ok", or why it failed, see [pond.Observer];
//	           of a handler: "ok", "error" (a [*pond.Error], for the client), "failure" (another error, or a panic)
//	kind       "join", "message"
//
// The number of time series depends on the program only. Names of channels, events and
// users are not labels, because clients choose them.
package metrics

import (
	"cmp"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
	"github.com/prometheus/client_golang/prometheus"
)

// A Collector collects the metrics of a Pond. It is a [prometheus.Collector].
type Collector struct {
	clients, members                           *prometheus.GaugeVec
	connected, disconnected, rejected, limited *prometheus.CounterVec
	joined, left, recovered                    *prometheus.CounterVec
	messages, deliveries, dropped, forwarded   *prometheus.CounterVec
	handlers                                   *prometheus.HistogramVec
	degraded                                   prometheus.Gauge
	lost, missed                               prometheus.Counter

	all  []prometheus.Collector
	node atomic.Pointer[pond.Pond] // nil until it reported whether it is degraded
}

type config struct{ buckets []float64 }

// An Option configures a [Collector].
type Option func(*config)

// WithBuckets sets the upper limits of the buckets of pond_handler_duration_seconds, in
// seconds. The default is 0.1 ms, 0.5 ms, 1 ms, 5 ms and so on, up to 5 s.
func WithBuckets(limits ...float64) Option { return func(c *config) { c.buckets = limits } }

// New returns a Collector. Use it for one Pond.
func New(opts ...Option) *Collector {
	cfg := config{buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5}}
	for _, opt := range opts {
		opt(&cfg)
	}
	c := &Collector{}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		c.all = append(c.all, v)
		return v
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		c.all = append(c.all, v)
		return v
	}
	const endpoint, lobby = "endpoint", "lobby"
	c.clients = gauge("pond_clients", "Clients that are connected.", endpoint, "transport")
	c.connected = counter("pond_connected_total", "Connections.", endpoint, "transport")
	c.disconnected = counter("pond_disconnected_total", "Ended connections.", endpoint, "transport", "cause")
	c.rejected = counter("pond_rejected_total", "Requests that did not become a connection.", endpoint, "status")
	c.limited = counter("pond_limited_total", "Limits that clients reached.", endpoint, "limit")
	c.members = gauge("pond_members", "Members of channels.", endpoint, lobby)
	c.joined = counter("pond_joined_total", "Memberships.", endpoint, lobby)
	c.left = counter("pond_left_total", "Ended memberships.", endpoint, lobby, "reason")
	c.recovered = counter("pond_recovered_total", "Requests to recover missed messages.", endpoint, lobby, "result")
	c.messages = counter("pond_messages_total", "Broadcasts and replies.", endpoint, lobby)
	c.deliveries = counter("pond_deliveries_total", "Recipients of broadcasts and replies.", endpoint, lobby)
	c.dropped = counter("pond_dropped_total", "Outdated messages that slow members did not get.", endpoint, lobby)
	c.forwarded = counter("pond_forwarded_total", "Requests of event streams for other nodes of the cluster.", endpoint, "status")
	c.handlers = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "pond_handler_duration_seconds", Help: "Duration of handlers of joins and messages.", Buckets: cfg.buckets,
	}, []string{endpoint, lobby, "kind", "result"})
	c.degraded = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pond_degraded", Help: "1 while the connection to the cluster is lost, otherwise 0.",
	})
	c.lost = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pond_lost_total", Help: "Messages that members on other nodes do not get.",
	})
	c.missed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pond_missed_total", Help: "Messages of other nodes that members on this node do not get.",
	})
	c.all = append(c.all, c.handlers, c.degraded, c.lost, c.missed)
	queue := func(name, help string, value func(pond.BrokerQueue) int) {
		c.all = append(c.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if p := c.node.Load(); p != nil {
				return float64(value(p.BrokerQueue()))
			}
			return 0
		}))
	}
	queue("pond_broker_queued_topics", "Channels with messages that are queued for the broker.",
		func(q pond.BrokerQueue) int { return q.Topics })
	queue("pond_broker_failing_topics", "Channels with queued messages whose last attempt to send failed.",
		func(q pond.BrokerQueue) int { return q.Failing })
	queue("pond_broker_queued_bytes", "Size of the messages that are queued for the broker.",
		func(q pond.BrokerQueue) int { return q.Bytes })
	return c
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range c.all {
		v.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, v := range c.all {
		v.Collect(ch)
	}
}

// Observer returns an observer that counts, for [pond.WithObserver].
func (c *Collector) Observer() *pond.Observer {
	return &pond.Observer{
		Connected: func(e *pond.Endpoint, _ string, t pond.Transport) {
			c.clients.WithLabelValues(e.Path(), string(t)).Inc()
			c.connected.WithLabelValues(e.Path(), string(t)).Inc()
		},
		Disconnected: func(e *pond.Endpoint, _ string, t pond.Transport, cause error) {
			c.clients.WithLabelValues(e.Path(), string(t)).Dec()
			c.disconnected.WithLabelValues(e.Path(), string(t), causeOf(cause)).Inc()
		},
		Rejected: func(e *pond.Endpoint, status int) {
			c.rejected.WithLabelValues(e.Path(), strconv.Itoa(status)).Inc()
		},
		Limited: func(e *pond.Endpoint, l pond.Limit) {
			c.limited.WithLabelValues(e.Path(), string(l)).Inc()
		},
		Joined: func(ch *pond.Channel, _ pond.User) {
			endpoint, lobby := labels(ch.Lobby())
			c.members.WithLabelValues(endpoint, lobby).Inc()
			c.joined.WithLabelValues(endpoint, lobby).Inc()
		},
		Left: func(ch *pond.Channel, _ pond.User, reason pond.LeaveReason) {
			endpoint, lobby := labels(ch.Lobby())
			c.members.WithLabelValues(endpoint, lobby).Dec()
			c.left.WithLabelValues(endpoint, lobby, string(reason)).Inc()
		},
		Recovered: func(ch *pond.Channel, _ pond.User, failure pond.GapReason) {
			endpoint, lobby := labels(ch.Lobby())
			c.recovered.WithLabelValues(endpoint, lobby, cmp.Or(string(failure), "ok")).Inc()
		},
		Sent: func(ch *pond.Channel, _ string, recipients int) {
			endpoint, lobby := labels(ch.Lobby())
			c.messages.WithLabelValues(endpoint, lobby).Inc()
			c.deliveries.WithLabelValues(endpoint, lobby).Add(float64(recipients))
		},
		Dropped: func(ch *pond.Channel, _ pond.User, n int) {
			endpoint, lobby := labels(ch.Lobby())
			c.dropped.WithLabelValues(endpoint, lobby).Add(float64(n))
		},
		Handled: func(ch *pond.Channel, event string, d time.Duration, err error) {
			kind := "message"
			if event == "" {
				kind = "join"
			}
			endpoint, lobby := labels(ch.Lobby())
			c.handlers.WithLabelValues(endpoint, lobby, kind, resultOf(err)).Observe(d.Seconds())
		},
		Forwarded: func(e *pond.Endpoint, status int, _ time.Duration) {
			c.forwarded.WithLabelValues(e.Path(), strconv.Itoa(status)).Inc()
		},
		Degraded: func(p *pond.Pond, reason error) {
			c.node.Store(p)
			if reason == nil {
				c.degraded.Set(0)
			} else {
				c.degraded.Set(1)
			}
		},
		Lost:   func(_ *pond.Pond, messages int, _ error) { c.lost.Add(float64(messages)) },
		Missed: func(_ *pond.Pond, messages int) { c.missed.Add(float64(messages)) },
	}
}

// labels returns the labels of a lobby.
func labels(l *pond.Lobby) (endpoint, lobby string) { return l.Endpoint().Path(), l.Pattern() }

// causeOf returns a label with few values. Errors of the network have many texts.
func causeOf(err error) string {
	switch {
	case errors.Is(err, pond.ErrClosed):
		return "server"
	case errors.Is(err, pond.ErrSlowClient):
		return "slow"
	}
	return "client"
}

// resultOf returns the label for the result of a handler.
func resultOf(err error) string {
	if err == nil {
		return "ok"
	}
	if _, ok := errors.AsType[*pond.Error](err); ok {
		return "error"
	}
	return "failure"
}
