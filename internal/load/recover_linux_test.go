package load_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/load"
)

// A forgetful is a server whose recovery can have faults.
type forgetful struct {
	replay func(f *forgetful, d delivery, ctx *pond.OutgoingContext) error // handles replayed messages; may be nil
	join   func(ctx *pond.JoinContext)                                     // called for joins with a position; may be nil
	accept func(client string, again bool) error                           // called for connections; may be nil

	mu        sync.Mutex
	connected map[string]bool // by client

	joins sync.Mutex // orders joins and messages
	sent  int        // number of messages

	numbers sync.Map // of messages, by payload
	since   sync.Map // value of sent when a member joined, by user ID

	chosen delivery // the only one with a fault
	blocks map[delivery]struct{}
}

// A delivery is a message to a client.
type delivery struct {
	client string
	number int
}

// serve returns the address of the server.
func (f *forgetful) serve(t *testing.T) string {
	t.Helper()
	f.connected, f.blocks = map[string]bool{}, map[delivery]struct{}{}
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		client := ctx.Request().Header.Get("X-Client")
		f.mu.Lock()
		again := f.connected[client]
		f.connected[client] = true
		f.mu.Unlock()
		if f.accept != nil {
			if err := f.accept(client, again); err != nil {
				return err
			}
		}
		ctx.Assign("client", client)
		return ctx.Accept()
	})
	l := e.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
		f.joins.Lock()
		defer f.joins.Unlock()
		f.since.Store(ctx.User().ID, f.sent)
		if _, ok := ctx.Recovery(); ok && f.join != nil {
			f.join(ctx)
		}
		return ctx.Accept()
	}, pond.WithHistory(pond.History{}))
	l.OnMessage("message", func(ctx *pond.EventContext) error {
		f.joins.Lock()
		defer f.joins.Unlock()
		f.numbers.Store(string(ctx.Payload()), f.sent)
		f.sent++
		return broadcast(ctx)
	})
	if f.replay != nil {
		l.OnOutgoing("message", f.outgoing)
	}
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

// outgoing calls replay for messages that were sent before the recipient joined.
func (f *forgetful) outgoing(ctx *pond.OutgoingContext) error {
	number, ok1 := f.numbers.Load(string(ctx.Payload()))
	since, ok2 := f.since.Load(ctx.User().ID)
	if !ok1 || !ok2 {
		return errors.New("unknown message or recipient")
	}
	if number.(int) >= since.(int) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replay(f, delivery{ctx.Get("client").(string), number.(int)}, ctx)
}

// choose reports whether d is the first delivery. A client that is reset before it
// received the delivery asks for it again.
func (f *forgetful) choose(d delivery) bool {
	if f.chosen == (delivery{}) {
		f.chosen = d
	}
	return d == f.chosen
}

// A numbered is the dialect of clients that tell the server their number.
type numbered struct {
	load.Pond

	deaf int // number of the client that does not receive RECOVERED; 0 if there is none
}

func (d numbered) Open(c *load.Client) load.Request {
	return load.Request{Path: "/socket", Header: fmt.Sprintf("X-Client: %d\r\n", c.Number)}
}

func (d numbered) Receive(c *load.Client, message []byte, events []load.Event, out *load.Outgoing) []load.Event {
	if d.deaf > 0 && c.Number == d.deaf && strings.Contains(string(message), `"event":"RECOVERED"`) {
		return events
	}
	return d.Pond.Receive(c, message, events, out)
}

// recovering makes 100 messages in half a second, with about a hundred resets.
func recovering(tr load.Transport, addr string, deaf int) load.Config {
	return load.Config{
		Scenario: load.Recover, Transport: tr, Clients: 5, Messages: 100, Rate: 1000, Resets: 200, Away: 20 * time.Millisecond,
		Dialect: numbered{load.Pond{Path: "/socket", Channel: "/log/%d"}, deaf}, Addr: addr, LostAfter: lostAfter,
	}
}

// Clients whose connections are reset receive every message once, and no reset counts as
// a fault.
func TestRecover(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		for name, change := range map[string]func(*load.Config){
			"one room":  func(*load.Config) {},
			"two rooms": func(cfg *load.Config) { cfg.Clients, cfg.Rooms, cfg.Rate = 10, 2, 2000 },
			"threads":   func(cfg *load.Config) { cfg.Clients, cfg.Threads, cfg.Rate = 9, 3, 1800 },
		} {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				cfg := recovering(tr, new(forgetful).serve(t), 0)
				cfg.LostAfter = time.Minute
				change(&cfg)
				res := run(t, cfg)
				checkFaults(t, res, load.Faults{})
				if want := int64(100 * cfg.Clients / max(1, cfg.Rooms)); res.Deliveries != want || res.Faults.Expected != want {
					t.Errorf("%d deliveries of %d, want %d", res.Deliveries, res.Faults.Expected, want)
				}
				rec := res.Recovery
				if rec.Holes > 0 || rec.Reconnects == 0 || rec.Replayed == 0 || rec.CaughtUp == nil || rec.CaughtUp.Count != rec.Reconnects {
					t.Fatalf("recovery %+v", rec)
				}
				if res.Latency.Count != res.Deliveries-rec.Replayed {
					t.Errorf("latency of %d deliveries, want %d without %d replayed", res.Latency.Count, res.Deliveries, rec.Replayed)
				}
			})
		}
	}
}

// Exactly the faults of a recovery are counted.
func TestFaultsOfRecoveryAreCounted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		server func() *forgetful
		deaf   int
		want   func(f *forgetful, res load.Result) load.Faults
	}{
		"one lost": {
			server: func() *forgetful {
				return &forgetful{replay: func(f *forgetful, d delivery, ctx *pond.OutgoingContext) error {
					if f.choose(d) {
						ctx.Block()
					}
					return nil
				}}
			},
			want: func(*forgetful, load.Result) load.Faults { return load.Faults{Lost: 1} },
		},
		"one duplicated": {
			server: func() *forgetful {
				return &forgetful{replay: func(f *forgetful, d delivery, ctx *pond.OutgoingContext) error {
					if f.choose(d) {
						return ctx.Transform(map[string]json.RawMessage{"once": ctx.Payload(), "again": ctx.Payload()})
					}
					return nil
				}}
			},
			want: func(*forgetful, load.Result) load.Faults { return load.Faults{Duplicated: 1} },
		},
		// A client that is reset meanwhile asks again for the same messages. All clients receive
		// the last messages, by which they notice a hole.
		"recovered without replay": {
			server: func() *forgetful {
				return &forgetful{replay: func(f *forgetful, d delivery, ctx *pond.OutgoingContext) error {
					if d.number < 90 {
						f.blocks[d] = struct{}{}
						ctx.Block()
					}
					return nil
				}}
			},
			want: func(f *forgetful, _ load.Result) load.Faults {
				f.mu.Lock()
				defer f.mu.Unlock()
				return load.Faults{Lost: int64(max(1, len(f.blocks)))}
			},
		},
		"not recovered": {
			server: func() *forgetful { return &forgetful{join: func(ctx *pond.JoinContext) { ctx.LimitReplay(0) }} },
			want: func(_ *forgetful, res load.Result) load.Faults {
				return load.Faults{
					Lost: max(1, res.Faults.Expected-res.Deliveries), Unrecovered: max(1, res.Faults.Unrecovered),
					Reason: "cannot recover: limit",
				}
			},
		},
		"never caught up": {
			server: func() *forgetful { return new(forgetful) },
			deaf:   3,
			want: func(*forgetful, load.Result) load.Faults {
				return load.Faults{Unrecovered: 1, Reason: "did not catch up: 1"}
			},
		},
		"cannot reconnect": {
			server: func() *forgetful {
				return &forgetful{accept: func(client string, again bool) error {
					if client == "3" && again {
						return pond.Errorf(http.StatusForbidden, "once is enough")
					}
					return nil
				}}
			},
			want: func(*forgetful, load.Result) load.Faults { return load.Faults{Failed: 1, Reason: "403"} },
		},
	} {
		for _, tr := range transports {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				f := tt.server()
				res := run(t, recovering(tr, f.serve(t), tt.deaf))
				checkFaults(t, res, tt.want(f, res))
				if res.Messages != 100 {
					t.Errorf("%d messages", res.Messages)
				}
				switch holes := res.Recovery.Holes; name {
				case "recovered without replay":
					if holes == 0 {
						t.Error("no hole, although nothing was replayed")
					}
				case "one lost":
					if holes > 1 { // none if it was the last message
						t.Errorf("%d holes", holes)
					}
				default:
					if holes > 0 {
						t.Errorf("%d holes", holes)
					}
				}
			})
		}
	}
}
