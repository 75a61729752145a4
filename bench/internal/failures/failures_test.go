//go:build linux

package failures

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/load"
)

// Every message is counted: as delivered, refused or lost.
func TestRun(t *testing.T) {
	var failing atomic.Bool
	var refused, lost atomic.Int64
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	lobby := endpoint.Lobby("/log/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() }, pond.WithHistory(pond.History{}))
	lobby.OnMessage("message", func(ctx *pond.EventContext) error {
		switch {
		case !failing.Load():
			return ctx.Broadcast(ctx.Event(), ctx.Payload())
		case refused.Load() < 3:
			refused.Add(1)
			return pond.Errorf(http.StatusServiceUnavailable, "not now")
		}
		lost.Add(1)
		return nil
	})
	srv := httptest.NewServer(p)
	defer srv.Close()
	defer func() { _ = p.Shutdown(context.Background()) }()
	addr := strings.TrimPrefix(srv.URL, "http://")

	r, err := Run(t.Context(), Config{
		Dialect:   load.Pond{Path: "/socket", Channel: "/log/%d"},
		Publisher: addr, Members: []string{addr, addr}, Positions: true,
		Interval: 2 * time.Millisecond, Before: 50 * time.Millisecond, After: 50 * time.Millisecond,
		Fail: func(context.Context) error {
			failing.Store(true)
			for lost.Load() < 5 {
				<-time.After(time.Millisecond)
			}
			failing.Store(false)
			return nil
		},
		Settle: 100 * time.Millisecond, Wait: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Refused != 3 || r.Lost != float64(lost.Load()) || r.Silent != r.Lost || r.Told != 0 || r.Latest == 0 {
		t.Errorf("%+v, want 3 refused, and %d lost silently", r, lost.Load())
	}
}
