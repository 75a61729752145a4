// Package brokertest tests whether a broker complies with the contract of [pond.Broker]
// and, if it has their methods, of [pond.BrokerLog] and [pond.BrokerWaiter]:
//
//	func TestBroker(t *testing.T) {
//		brokertest.Run(t, brokertest.Harness{
//			Open: func(t testing.TB) *brokertest.Cluster {
//				server := startServer(t)
//				return &brokertest.Cluster{
//					Node: func() pond.Broker { return mybroker.New(server.Addr) },
//				}
//			},
//			Skip: map[string]string{"Stall": "the server cannot be stopped"},
//		})
//	}
//
// The suite waits for events, never for a fixed time. It causes failures with the
// functions of [Cluster]. If a broker cannot offer a function, [Harness.Skip] must
// contain the reason, which the output of the tests shows.
package brokertest

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
)

// A Harness creates brokers of one kind.
type Harness struct {
	// Open creates a cluster for one test, with its own server or a part of a server that
	// other tests do not use. It registers the cleanup of the cluster with t.Cleanup; the
	// brokers are closed before.
	Open func(t testing.TB) *Cluster

	// Skip contains the reasons for missing features: for each function of Cluster that is
	// nil, by its name, for "Log" if the brokers have no log, and for "VirtualTime" if
	// Bubble is false.
	Skip map[string]string

	// Bubble runs each test in a bubble of [testing/synctest], for brokers without a
	// network. Some properties can only be tested in a bubble.
	Bubble bool

	// Timeout limits each wait for an event. The default is 30 s.
	Timeout time.Duration
}

// A Cluster creates the nodes of one test, and causes their failures. Only Node is
// required.
type Cluster struct {
	// Node returns a broker for a new node of the cluster. It may try to connect in
	// the background.
	Node func() pond.Broker

	// Disconnect contains functions that break the connection of a node so that its broker
	// can reconnect immediately, by name. They return when the connection is broken.
	Disconnect map[string]func(node pond.Broker)

	// Sever disconnects a node until restore is called.
	Sever func(node pond.Broker) (restore func())

	// Stall keeps a node's connections open, but no data passes, or the backend does
	// nothing, until resume is called.
	Stall func(node pond.Broker) (resume func())

	// LoseLog makes the backend lose the log of a topic, for example by a restart
	// without a disk. It returns when the log is lost.
	LoseLog func(topic string)

	// LoseResponse makes the next Append of the node to the topic store its batch and
	// return an error.
	LoseResponse func(node pond.Broker, topic string)
}

// A check tests one property.
type check struct {
	name  string
	needs string // a field of Cluster, "Log", or ""
	run   func(e *env)
}

// Run tests the brokers of the harness.
func Run(t *testing.T, h Harness) {
	t.Helper()
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			if needs, reason := h.skip(c); reason != "" {
				t.Skipf("without %s: %s", needs, reason)
			}
			h.within(t, func(t *testing.T) { h.run(t, c) })
		})
	}
}

// skip returns the reason to skip a check, if there is one.
func (h *Harness) skip(c check) (needs, reason string) {
	needsLog := []string{"LoseLog", "LoseResponse", "VirtualTime"}
	if h.Skip["Log"] != "" && slices.Contains(needsLog, c.needs) {
		return "Log", h.Skip["Log"]
	}
	return c.needs, h.Skip[c.needs]
}

// within runs a test, in a bubble if Bubble is true.
func (h *Harness) within(t *testing.T, f func(t *testing.T)) {
	if h.Bubble {
		synctest.Test(t, f)
		return
	}
	f(t)
}

// run runs one check.
func (h *Harness) run(t testing.TB, c check) {
	t.Helper()
	e := newEnv(t, h)
	if missing := e.missing(c.needs); missing != "" {
		t.Fatalf("%s is missing, and Harness.Skip has no reason", missing)
	}
	c.run(e)
	e.finish()
}

// missing returns the name of a feature that a check needs and the cluster does not
// have, or "".
func (e *env) missing(needs string) string {
	c := e.cluster
	absent := map[string]bool{
		"Disconnect":   len(c.Disconnect) == 0,
		"Sever":        c.Sever == nil,
		"Stall":        c.Stall == nil,
		"LoseLog":      c.LoseLog == nil,
		"LoseResponse": c.LoseResponse == nil,
		"VirtualTime":  !e.bubble,
	}
	if absent[needs] {
		return needs
	}
	if slices.Contains([]string{"Log", "LoseLog", "LoseResponse", "VirtualTime"}, needs) {
		if _, ok := e.node().(pond.BrokerLog); !ok {
			return "Log"
		}
	}
	return ""
}

// checks returns all checks.
func checks() []check {
	return slices.Concat(messageChecks, subscriptionChecks, closeChecks, faultChecks, waiterChecks, logChecks, retentionChecks, logFaultChecks)
}
