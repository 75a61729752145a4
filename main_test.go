package pond_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(idleServerEnv) != "" {
		serveIdle()
		return
	}
	os.Exit(m.Run())
}

// silent is the logger of tests in which handlers fail on purpose.
var silent = slog.New(slog.DiscardHandler)

func accept(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func admit(ctx *pond.JoinContext) error { return ctx.Accept() }

func newPond(opts ...pond.EndpointOption) (*pond.Pond, *pond.Endpoint, *pond.Lobby) {
	p := pond.New(pond.WithLogger(silent))
	e := p.Endpoint("/socket", accept, opts...)
	l := e.Lobby("/chat/:room", admit)
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
	return p, e, l
}

func onBoth(t *testing.T, server func() *pond.Pond, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport)) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			pondtest.Run(t, server(), func(t *testing.T, d *pondtest.Driver) { test(t, d, tr) })
		})
	}
}

func onBothPlain(t *testing.T, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport)) {
	t.Helper()
	onBoth(t, func() *pond.Pond { p, _, _ := newPond(); return p }, test)
}

func is(t *testing.T, m pondtest.Message, action, event, payload string) {
	t.Helper()
	if m.Action != action || m.Event != event || string(m.Payload) != payload {
		t.Fatalf("got %v, want %s %s %s", m, action, event, payload)
	}
}

func status(t *testing.T, m pondtest.Message) int {
	t.Helper()
	var e struct{ Status, StatusCode int }
	m.Bind(t, &e)
	if e.Status != e.StatusCode {
		t.Fatalf("two statuses in %v", m)
	}
	return e.Status
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
