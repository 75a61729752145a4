package main

import (
	"errors"
	"strconv"
	"time"

	"github.com/pondsocket/pond"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// observer returns an Observer that counts in reg. Names of events and channels are not
// labels, because clients choose them.
func observer(reg prometheus.Registerer) *pond.Observer {
	f := promauto.With(reg)
	counter := func(name, help, label string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	clients := f.NewGaugeVec(prometheus.GaugeOpts{Name: "pond_clients", Help: "Connected clients."}, []string{"transport"})
	members := f.NewGauge(prometheus.GaugeOpts{Name: "pond_members", Help: "Members of all channels."})
	disconnected := counter("pond_disconnected_total", "Ended connections.", "cause")
	rejected := counter("pond_rejected_total", "Requests that did not become a connection.", "status")
	left := counter("pond_left_total", "Ended memberships.", "reason")
	limited := counter("pond_limited_total", "Limits that clients reached.", "limit")
	recovered := counter("pond_recovered_total", "Requests to recover missed messages.", "failure")
	sent := f.NewCounter(prometheus.CounterOpts{Name: "pond_deliveries_total", Help: "Recipients of broadcasts and replies."})
	handled := f.NewHistogramVec(prometheus.HistogramOpts{Name: "pond_handler_seconds", Help: "Duration of handlers."}, []string{"result"})
	return &pond.Observer{
		Connected: func(_ *pond.Endpoint, _ string, t pond.Transport) { clients.WithLabelValues(string(t)).Inc() },
		Disconnected: func(_ *pond.Endpoint, _ string, t pond.Transport, cause error) {
			clients.WithLabelValues(string(t)).Dec()
			disconnected.WithLabelValues(causeOf(cause)).Inc()
		},
		Refused: func(_ *pond.Endpoint, status int) { rejected.WithLabelValues(strconv.Itoa(status)).Inc() },
		Joined:  func(*pond.Channel, pond.User) { members.Inc() },
		Left: func(_ *pond.Channel, _ pond.User, r pond.LeaveReason) {
			members.Dec()
			left.WithLabelValues(string(r)).Inc()
		},
		Limited:   func(_ *pond.Endpoint, l pond.Limit) { limited.WithLabelValues(string(l)).Inc() },
		Recovered: func(_ *pond.Channel, _ pond.User, failure string) { recovered.WithLabelValues(failure).Inc() },
		Sent:      func(_ *pond.Channel, _ string, recipients int) { sent.Add(float64(recipients)) },
		Handled: func(_ *pond.Channel, _ string, d time.Duration, err error) {
			handled.WithLabelValues(map[bool]string{true: "ok", false: "error"}[err == nil]).Observe(d.Seconds())
		},
	}
}

// causeOf returns a label with few values. Errors of the network have many texts.
func causeOf(err error) string {
	switch {
	case errors.Is(err, pond.ErrClosed):
		return "server" // for example, Endpoint.Disconnect or Shutdown
	case errors.Is(err, pond.ErrSlowClient):
		return "slow"
	}
	return "client" // the client or the network
}
