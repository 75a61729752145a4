package load_test

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/load"
)

const lateMessages = 400

// serveLatest returns the address of a server that keeps the latest messages. outgoing,
// which may be nil, sees the messages to the client that stops reading, which is the last
// one, with the number of messages so far. If closes is set, the server disconnects this
// client in the middle.
func serveLatest(t *testing.T, closes bool, outgoing func(ctx *pond.OutgoingContext, sent int64) error) string {
	t.Helper()
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		ctx.Assign("client", ctx.Request().Header.Get("X-Client"))
		return ctx.Accept()
	}, pond.WithCloseTimeout(10*time.Millisecond), pond.WithOutboxSize(64<<10))
	var last atomic.Value // the user ID of the client that stops reading
	l := e.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
		if ctx.Get("client") == "2" {
			last.Store(ctx.User().ID)
		}
		return ctx.Accept()
	}, pond.WithSlowClients(pond.KeepLatest(nil)))
	var sent atomic.Int64
	l.OnMessage("message", func(ctx *pond.EventContext) error {
		if sent.Add(1) == lateMessages/2 && closes {
			if err := e.Disconnect(last.Load().(string), 0, ""); err != nil {
				return err
			}
		}
		return broadcast(ctx)
	})
	if outgoing != nil {
		l.OnOutgoing("message", func(ctx *pond.OutgoingContext) error {
			if ctx.Get("client") == "2" {
				return outgoing(ctx, sent.Load())
			}
			return nil
		})
	}
	srv := httptest.NewUnstartedServer(p)
	srv.Listener = smallBuffers{srv.Listener}
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		if err := p.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		srv.Close()
	})
	return strings.TrimPrefix(srv.URL, "http://")
}

// smallBuffers lets the kernel take little for a client that does not read.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
	}
	return c, err
}

// late sends more than the kernel takes for the one client that stops reading, and makes
// it read again when everything is sent.
func late(tr load.Transport, addr string) load.Config {
	return load.Config{
		Scenario: load.Latest, Transport: tr, Clients: 3, Stalled: 1, Size: 4 << 10, Messages: lateMessages, Rate: 3000,
		Away: time.Minute, Dialect: numbered{load.Pond{Path: "/socket", Channel: "/log/%d"}, 0}, Addr: addr, LostAfter: time.Minute,
	}
}

// A member that stops reading skips messages, and receives the newest one.
func TestLatest(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			var c *load.Catchup
			for range 5 { // on a busy machine, the server may send after the member reads again
				res := run(t, late(tr, serveLatest(t, false, nil)))
				checkFaults(t, res, load.Faults{})
				c = res.Catchup
				if all := int64(2 * lateMessages); res.Deliveries != all-c.Behind {
					t.Errorf("%d deliveries, and %d skipped, of %d", res.Deliveries, c.Behind, all)
				}
				if c.Skipped > 0 {
					break
				}
			}
			if c.Resumed != 1 || c.Skipped == 0 || c.Outdated+c.Skipped != lateMessages-1 || c.UpToDate == nil || c.UpToDate.Count != 1 {
				t.Errorf("catch-up %+v", c)
			}
		})
	}
}

// The faults of a server that does not keep the latest messages are counted.
func TestFaultsOfLatestAreCounted(t *testing.T) {
	t.Parallel()
	type filter = func(ctx *pond.OutgoingContext, sent int64) error
	for name, tt := range map[string]struct {
		closes   bool
		outgoing func() filter
		want     load.Faults
	}{
		"closed": {closes: true, want: load.Faults{Closed: 1, Reason: "was closed"}},
		"newest is missing": {
			outgoing: func() filter {
				return func(ctx *pond.OutgoingContext, sent int64) error {
					if sent == lateMessages {
						ctx.Block()
					}
					return nil
				}
			},
			want: load.Faults{Lost: 1, Reason: "did not receive the newest message: 1"},
		},
		"out of order": {
			outgoing: func() filter {
				var first json.RawMessage
				again := false
				return func(ctx *pond.OutgoingContext, sent int64) error {
					switch {
					case first == nil:
						first = ctx.Payload()
					case sent == lateMessages && !again:
						again = true
						return ctx.Transform(map[string]json.RawMessage{"a": ctx.Payload(), "b": first})
					}
					return nil
				}
			},
			want: load.Faults{Reordered: 1, Reason: "client 2 received message 0 after message"},
		},
	} {
		for _, tr := range transports {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				var outgoing filter
				if tt.outgoing != nil {
					outgoing = tt.outgoing()
				}
				cfg := late(tr, serveLatest(t, tt.closes, outgoing))
				if tt.want.Lost > 0 {
					cfg.LostAfter = 2 * lostAfter // all messages are sent first
				}
				checkFaults(t, run(t, cfg), tt.want)
			})
		}
	}
}
