package load_test

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/load"
)

// A node is one of two servers that share their channels.
type node struct {
	addr  string
	joins atomic.Int64
}

func serveNode(t *testing.T, broker pond.Broker) *node {
	t.Helper()
	n := &node{}
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)), pond.WithBroker(broker))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	l := e.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
		n.joins.Add(1)
		return ctx.Accept()
	}, pond.WithHistory(pond.History{}))
	l.OnMessage("message", broadcast)
	srv := httptest.NewServer(p)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		if err := p.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		srv.Close()
	})
	n.addr = strings.TrimPrefix(srv.URL, "http://")
	return n
}

// Clients connect to the nodes that Place returns, at first and after a reset.
func TestNodes(t *testing.T) {
	bus := memorybroker.New()
	one, two := serveNode(t, bus.Broker("one")), serveNode(t, bus.Broker("two"))
	cfg := load.Config{
		Dialect: load.Pond{Path: "/socket", Channel: "/log/%d"}, Addr: one.addr, Nodes: []string{two.addr},
		Place:   func(client int, again bool) int { return min(client, 1) },
		Clients: 5, Messages: 50, LostAfter: lostAfter,
	}
	cfg.Scenario, cfg.Positions = load.Fanout, true
	res := run(t, cfg)
	checkFaults(t, res, load.Faults{})
	if a, b := one.joins.Load(), two.joins.Load(); a != 1 || b != 4 {
		t.Errorf("%d and %d clients, want 1 and 4", a, b)
	}
	if res.Deliveries != 250 {
		t.Errorf("%d deliveries, want 250", res.Deliveries)
	}

	cfg.Scenario, cfg.Rate, cfg.Resets, cfg.Away = load.Recover, 1000, 200, 20*time.Millisecond
	cfg.Place = func(_ int, again bool) int {
		if again {
			return 0
		}
		return 1
	}
	res = run(t, cfg)
	checkFaults(t, res, load.Faults{})
	if a, b := one.joins.Load(), two.joins.Load(); a < 2 || b != 9 {
		t.Errorf("%d and %d clients, want some resets, and 9", a, b)
	}
}

func TestNodesNeedWebSockets(t *testing.T) {
	cfg := load.Config{Scenario: load.Fanout, Dialect: load.Pond{}, Transport: load.SSE, Addr: "127.0.0.1:1", Nodes: []string{"127.0.0.1:2"}}
	if err := cfg.Check(); err == nil {
		t.Error("event streams with two nodes")
	}
}
