package main

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	var log strings.Builder
	p := monitored(reg, slog.New(slog.NewTextHandler(&log, nil)), -1, // all handlers are slow
		pond.WithEndpointDefaults(pond.WithMaxMessageSize(1<<10), pond.WithOutboxSize(64<<10)),
	)
	pondtest.Run(t, handler(p, reg), func(t *testing.T, d *pondtest.Driver) {
		defer p.Shutdown(t.Context())
		ann, bob := d.Connect(pondtest.WebSocket, "/socket"), d.Connect(pondtest.SSE, "/socket")
		cid := d.Connect(pondtest.WebSocket, "/socket")
		for _, s := range []*pondtest.Session{ann, bob, cid} {
			s.Join("/chat/1", nil)
		}
		ann.Request("/chat/1", "say", nil)     // three deliveries
		ann.Request("/chat/1", "unknown", nil) // no handler
		cid.Close()
		cid.Closed()
		d.Declined(pondtest.SSE, "/socket", pondtest.Header("Origin", "https://evil.example"))
		d.Push(bob, []byte(strings.Repeat("x", 2<<10))) // too large
		ann.Drain()
		bob.Drain()
		got := scrape(t, d)
		for _, want := range []string{
			`pond_clients{endpoint="/socket",transport="websocket"} 1`,
			`pond_clients{endpoint="/socket",transport="sse"} 1`,
			`pond_members{endpoint="/socket",lobby="/chat/:room"} 2`,
			`pond_disconnected_total{cause="client",endpoint="/socket",transport="websocket"} 1`,
			`pond_rejected_total{endpoint="/socket",status="403"} 1`,
			`pond_left_total{endpoint="/socket",lobby="/chat/:room",reason="connection_closed"} 1`,
			`pond_limited_total{endpoint="/socket",limit="message_size"} 1`,
			`pond_deliveries_total{endpoint="/socket",lobby="/chat/:room"} 3`,
			`pond_handler_duration_seconds_count{endpoint="/socket",kind="message",lobby="/chat/:room",result="ok"} 1`,
		} {
			if !strings.Contains(got, "\n"+want+"\n") {
				t.Errorf("no line %q", want)
			}
		}
		if t.Failed() {
			t.Log(got)
		}
		if got := strings.Count(log.String(), `msg="slow handler" channel=/chat/1 event=say duration=`); got != 1 {
			t.Errorf("the slow handler is logged %d times:\n%s", got, log.String())
		}
	})
}

func scrape(t *testing.T, d *pondtest.Driver) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(d.Do(req).Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
