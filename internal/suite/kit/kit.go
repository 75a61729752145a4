// Package kit contains helpers for the packages of internal/suite: small servers,
// requests, and checks of messages. Only tests use it.
package kit

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// Silent is the logger of tests in which handlers fail on purpose.
var Silent = slog.New(slog.DiscardHandler)

// Accept accepts every connection.
func Accept(ctx *pond.ConnectionContext) error { return ctx.Accept() }

// Admit accepts every join.
func Admit(ctx *pond.JoinContext) error { return ctx.Accept() }

// NewPond returns a server with one endpoint, /socket, and one lobby, /chat/:room,
// which accept every client. The names of its events describe their handlers.
func NewPond(opts ...pond.EndpointOption) (*pond.Pond, *pond.Endpoint, *pond.Lobby) {
	p := pond.New(pond.WithLogger(Silent))
	e := p.Endpoint("/socket", Accept, opts...)
	l := e.Lobby("/chat/:room", Admit)
	Handlers(l)
	return p, e, l
}

// Handlers adds the events of [NewPond] to a lobby.
func Handlers(l *pond.Lobby) {
	l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })
	l.OnMessage("tell-others", func(ctx *pond.EventContext) error { return ctx.Others().Broadcast("said", ctx.Payload()) })
	l.OnMessage("tell/:id", func(ctx *pond.EventContext) error {
		return ctx.Channel().To(ctx.Param("id")).Broadcast("said", ctx.Payload())
	})
	l.OnMessage("ask", func(ctx *pond.EventContext) error { return ctx.Reply("answer", ctx.Payload()) })
	l.OnMessage("track", func(ctx *pond.EventContext) error { return ctx.Track(ctx.Payload()) })
	l.OnMessage("update", func(ctx *pond.EventContext) error { return ctx.Update(ctx.Payload()) })
	l.OnMessage("untrack", func(ctx *pond.EventContext) error { return ctx.Untrack() })
	l.OnMessage("evict/:id", func(ctx *pond.EventContext) error { return ctx.Channel().Evict(ctx.Param("id"), "spam") })
}

// OnBoth runs test over each transport, each time with a new server, in a
// synctest bubble.
func OnBoth(t *testing.T, server func() *pond.Pond, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport)) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			pondtest.Run(t, server(), func(t *testing.T, d *pondtest.Driver) { test(t, d, tr) })
		})
	}
}

// OnBothPlain is OnBoth with a server from [NewPond].
func OnBothPlain(t *testing.T, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport)) {
	t.Helper()
	OnBoth(t, func() *pond.Pond { p, _, _ := NewPond(); return p }, test)
}

// Is fails the test unless m has this action, event and payload.
func Is(t *testing.T, m pondtest.Message, action, event, payload string) {
	t.Helper()
	if m.Action != action || m.Event != event || string(m.Payload) != payload {
		t.Fatalf("got %v, want %s %s %s", m, action, event, payload)
	}
}

// Status returns the status in the payload of an error message, where it has two names.
func Status(t *testing.T, m pondtest.Message) int {
	t.Helper()
	var e struct{ Status, StatusCode int }
	m.Bind(t, &e)
	if e.Status != e.StatusCode {
		t.Fatalf("two statuses in %v", m)
	}
	return e.Status
}

// ReadAll returns the body of a response.
func ReadAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// JSON returns v as JSON.
func JSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
