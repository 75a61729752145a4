package load_test

import (
	"flag"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/load"
)

// TestMain runs more tests in parallel than there are processors, because most tests wait for
// deliveries that never arrive.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("16")
	}
	os.Exit(m.Run())
}

// servePond serves a Pond for the dialect Pond, and returns its address.
func servePond(t *testing.T) string {
	t.Helper()
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		var join struct {
			Track map[string]string `json:"track"`
		}
		if err := ctx.Bind(&join); err != nil {
			return err
		}
		if err := ctx.Accept(); err != nil || join.Track == nil {
			return err
		}
		return ctx.Track(join.Track)
	}, pond.WithPresenceDiffs())
	l.OnMessage("message", func(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) })
	l.OnMessage("echo", func(ctx *pond.EventContext) error { return ctx.Reply(ctx.Event(), ctx.Payload()) })
	srv := httptest.NewServer(p)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		if err := p.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		srv.Close()
	})
	return strings.TrimPrefix(srv.URL, "http://")
}

var (
	pondDialect = load.Pond{Path: "/socket", Channel: "/chat/%d"}
	diffDialect = load.Pond{Path: "/socket", Channel: "/chat/%d", Diff: true}
)
