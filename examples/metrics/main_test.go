package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	p := chat(
		pond.WithObserver(observer(reg)),
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
			`pond_clients{transport="websocket"} 1`,
			`pond_clients{transport="sse"} 1`,
			`pond_members 2`,
			`pond_disconnected_total{cause="client"} 1`,
			`pond_rejected_total{status="403"} 1`,
			`pond_left_total{reason="connection_closed"} 1`,
			`pond_limited_total{limit="message_size"} 1`,
			`pond_deliveries_total 3`,
			`pond_handler_seconds_count{result="ok"} 4`, // three joins and "say"
		} {
			if !strings.Contains(got, "\n"+want+"\n") {
				t.Errorf("no line %q", want)
			}
		}
		if t.Failed() {
			t.Log(got)
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
