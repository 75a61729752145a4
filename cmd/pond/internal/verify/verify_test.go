package verify_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/cmd/pond/internal/verify"
	"github.com/pondsocket/pond/internal/load"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/pondclient"
)

// A cluster is one or more servers in memory, by host name.
type cluster struct {
	t     *testing.T
	mu    sync.Mutex // guards the following field
	hosts map[string]*host
	dials atomic.Int64
}

type host struct {
	pond     *pond.Pond
	server   *http.Server
	listener *pipenet.Listener
	tasks    sync.WaitGroup
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, hosts: map[string]*host{}}
	t.Cleanup(func() {
		for name := range c.hosts {
			c.stop(name)
		}
	})
	return c
}

// start starts a server.
func (c *cluster) start(name string, p *pond.Pond) {
	c.serve(name, p).pond = p
}

// serve starts another kind of server.
func (c *cluster) serve(name string, handler http.Handler) *host {
	h := &host{listener: pipenet.Listen(0)}
	h.server = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	h.tasks.Go(func() { _ = h.server.Serve(h.listener) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[name] = h
	return h
}

func (c *cluster) stop(name string) {
	c.mu.Lock()
	h := c.hosts[name]
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = h.server.Shutdown(ctx) })
	if h.pond != nil {
		_ = h.pond.Shutdown(ctx)
	} else {
		_ = h.server.Close()
	}
	tasks.Wait()
	_ = h.server.Close()
	h.tasks.Wait()
}

func (c *cluster) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	name, _, _ := strings.Cut(addr, ":")
	c.mu.Lock()
	h := c.hosts[name]
	c.mu.Unlock()
	conn, err := h.listener.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// config is that of most tests.
func (c *cluster) config() verify.Config {
	return verify.Config{
		URLs:       []string{"http://one.test/socket"},
		Transports: []pondclient.Transport{pondclient.WebSocket, pondclient.SSE},
		Channel:    "/chat/verify",
		Event:      "message",
		Clients:    8,
		Publishers: 2,
		Rate:       50,
		Cut:        500 * time.Millisecond,
		Duration:   20 * time.Second,
		Settle:     2 * time.Minute,
		Dial:       c.dial,
	}
}

// newPond returns a server whose handler of "message" is h.
func newPond(h pond.Handler[*pond.EventContext], opts ...pond.LobbyOption) (*pond.Pond, *pond.Lobby) {
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() }, opts...)
	l.OnMessage("message", h)
	return p, l
}

func broadcast(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) }

var withHistory = pond.WithHistory(pond.History{Messages: 10_000})

// A scenario is a server, and the expected result of verify.
type scenario struct {
	build  func() *pond.Pond
	config func(c *verify.Config)
	during func(t *testing.T, c *cluster) // something to do while messages are published
	check  func(t *testing.T, r *verify.Result)
	err    string // of the result
}

func TestRun(t *testing.T) {
	var mu sync.Mutex
	for name, s := range map[string]scenario{
		"history": {
			build: func() *pond.Pond { p, _ := newPond(broadcast, withHistory); return p },
			check: func(t *testing.T, r *verify.Result) {
				if r.Recovered == 0 || r.Announced != 0 || r.Cuts == 0 || r.Reconnects == 0 || !r.History || len(r.Gaps) > 0 {
					t.Errorf("%+v", r)
				}
				if r.Delivered+r.Recovered != r.Published*10 || r.Confirmed != r.Published {
					t.Errorf("%d deliveries and %d recovered of %d messages, %d confirmed", r.Delivered, r.Recovered, r.Published, r.Confirmed)
				}
				if r.Latency == nil || r.Recovery == nil || r.Recovery.Max > 30*time.Second {
					t.Errorf("latency %+v, recovery %+v", r.Latency, r.Recovery)
				}
				if len(r.Paths) != 2 || r.Paths[0].Clients != 5 || r.Paths[1].Clients != 5 {
					t.Errorf("paths %+v", r.Paths)
				}
			},
		},
		"no history": {
			build: func() *pond.Pond { p, _ := newPond(broadcast); return p },
			check: func(t *testing.T, r *verify.Result) {
				if r.Recovered != 0 || r.Announced == 0 || r.Gaps["fresh"] == 0 || r.History {
					t.Errorf("%+v", r)
				}
				if r.Delivered+r.Announced != r.Published*10 {
					t.Errorf("%d deliveries and %d announced of %d messages", r.Delivered, r.Announced, r.Published)
				}
			},
		},
		"nothing is broken": {
			build:  func() *pond.Pond { p, _ := newPond(broadcast); return p },
			config: func(c *verify.Config) { c.Cut = 0 },
			check: func(t *testing.T, r *verify.Result) {
				if r.Delivered != r.Published*10 || r.Reconnects+r.Cuts+r.Announced != 0 {
					t.Errorf("%+v", r)
				}
			},
		},
		"a filter loses messages": {
			build: func() *pond.Pond {
				p, l := newPond(broadcast, withHistory)
				n := 0
				l.OnOutgoing("said", func(ctx *pond.OutgoingContext) error {
					mu.Lock()
					defer mu.Unlock()
					if n++; n%1000 == 0 {
						ctx.Block()
					}
					return nil
				})
				return p
			},
			err: "lost silently",
			check: func(t *testing.T, r *verify.Result) {
				if r.Lost < 2 || len(r.Examples) == 0 || !strings.Contains(r.Examples[0], "did not get message") {
					t.Errorf("%+v", r)
				}
			},
		},
		"the handler forgets messages": {
			build: func() *pond.Pond {
				n := 0
				p, _ := newPond(func(ctx *pond.EventContext) error {
					mu.Lock()
					defer mu.Unlock()
					if n++; n%100 == 0 {
						return ctx.Reply("ok", nil)
					}
					return broadcast(ctx)
				})
				return p
			},
			config: func(c *verify.Config) { c.Cut = 0 },
			err:    "lost silently",
			check: func(t *testing.T, r *verify.Result) {
				if r.Lost < 5*10 {
					t.Errorf("%d lost", r.Lost)
				}
			},
		},
		"messages come twice": {
			build: func() *pond.Pond {
				n := 0
				p, _ := newPond(func(ctx *pond.EventContext) error {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == 200 {
						_ = broadcast(ctx)
					}
					return broadcast(ctx)
				}, withHistory)
				return p
			},
			err: "were duplicated",
			check: func(t *testing.T, r *verify.Result) {
				if r.Duplicated != 10 || r.Lost != 0 {
					t.Errorf("%d duplicated, %d lost", r.Duplicated, r.Lost)
				}
			},
		},
		"messages are out of order": {
			build: func() *pond.Pond {
				var kept json.RawMessage
				n := 0
				p, _ := newPond(func(ctx *pond.EventContext) error {
					mu.Lock()
					defer mu.Unlock()
					switch n++; n {
					case 200:
						kept = ctx.Payload()
						return ctx.Reply("ok", nil)
					case 220:
						_ = broadcast(ctx)
						return ctx.Broadcast("said", kept)
					}
					return broadcast(ctx)
				}, withHistory)
				return p
			},
			err: "out of order",
			check: func(t *testing.T, r *verify.Result) {
				if r.Disordered != 10 || r.Lost != 0 {
					t.Errorf("%d out of order, %d lost", r.Disordered, r.Lost)
				}
			},
		},
		"restarts": {
			build: func() *pond.Pond { p, _ := newPond(broadcast, withHistory); return p },
			during: func(_ *testing.T, c *cluster) {
				for range 3 {
					time.Sleep(4 * time.Second)
					c.stop("one.test")
					time.Sleep(time.Second)
					p, _ := newPond(broadcast, withHistory)
					c.start("one.test", p)
				}
			},
			check: func(t *testing.T, r *verify.Result) {
				if r.Gaps["epoch"] == 0 || r.Announced == 0 {
					t.Errorf("%+v", r)
				}
				if r.Confirmed+r.Unknown+r.Rejected != r.Published {
					t.Errorf("%d confirmed, %d unknown and %d rejected of %d", r.Confirmed, r.Unknown, r.Rejected, r.Published)
				}
			},
		},
		"broadcasts with other IDs": { // as official servers make them
			build: func() *pond.Pond {
				p, _ := newPond(func(ctx *pond.EventContext) error {
					return ctx.Channel().Broadcast("said", ctx.Payload())
				})
				return p
			},
			config: func(c *verify.Config) { c.Rate = 10 },
			during: func(_ *testing.T, c *cluster) {
				time.Sleep(4 * time.Second)
				c.stop("one.test")
				p, _ := newPond(func(ctx *pond.EventContext) error {
					return ctx.Channel().Broadcast("said", ctx.Payload())
				})
				c.start("one.test", p)
			},
			check: func(t *testing.T, r *verify.Result) {
				if r.Confirmed < 150 {
					t.Errorf("%+v", r)
				}
			},
		},
		"a client is evicted": {
			build: func() *pond.Pond {
				n := 0
				p, _ := newPond(func(ctx *pond.EventContext) error {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == 100 {
						for u := range ctx.Channel().Users() {
							if u.ID != ctx.User().ID {
								_ = ctx.Channel().Evict(u.ID, "spam")
								break
							}
						}
					}
					return broadcast(ctx)
				}, withHistory)
				return p
			},
			config: func(c *verify.Config) { c.Cut = 0 }, // a broken connection could lose the notice
			check: func(t *testing.T, r *verify.Result) {
				if r.Removed != 1 || r.Announced < 100 {
					t.Errorf("%+v", r)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				c.start("one.test", s.build())
				cfg := c.config()
				if s.config != nil {
					s.config(&cfg)
				}
				var tasks sync.WaitGroup
				if s.during != nil {
					tasks.Go(func() { s.during(t, c) })
				}
				r, err := verify.Run(t.Context(), cfg)
				tasks.Wait()
				if err != nil {
					t.Fatal(err)
				}
				s.check(t, r)
				switch err := r.Err(); {
				case err == nil && s.err != "":
					t.Errorf("no error: %+v", r)
				case err != nil && (s.err == "" || !strings.Contains(err.Error(), s.err)):
					t.Errorf("error %v: %+v", err, r)
				}
			})
		})
	}
}

func TestRunCannotVerify(t *testing.T) {
	plain := func() *pond.Pond { p, _ := newPond(broadcast); return p }
	for name, tc := range map[string]struct {
		build  func() *pond.Pond
		config func(c *verify.Config)
		want   string
	}{
		"no server":  {plain, func(c *verify.Config) { c.URLs[0] = "http://one.test/elsewhere?token=secret" }, "cannot connect to http://one.test/elsewhere: "},
		"no channel": {plain, func(c *verify.Config) { c.Channel = "/nope" }, "cannot join /nope"},
		"rejected": {func() *pond.Pond {
			p, _ := newPond(func(*pond.EventContext) error { return pond.Errorf(422, "what?") })
			return p
		}, nil, "422 what?; use the -event and -payload"},
		"unknown event": {plain, func(c *verify.Config) { c.Event = "x" }, `the server rejects the event "x"`},
		"nothing comes": {func() *pond.Pond {
			p, _ := newPond(func(ctx *pond.EventContext) error { return ctx.Reply("ok", nil) })
			return p
		}, nil, "no member got the first message"},
		"not to all": {func() *pond.Pond {
			p, _ := newPond(func(ctx *pond.EventContext) error { return ctx.Others().Broadcast("said", ctx.Payload()) })
			return p
		}, nil, "2 of 10 members did not get the first message"},
		"two clusters": {plain, func(c *verify.Config) { c.URLs = append(c.URLs, "ws://two.test/socket") }, "one cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				c.start("one.test", tc.build())
				c.start("two.test", tc.build())
				cfg := c.config()
				if tc.config != nil {
					tc.config(&cfg)
				}
				_, err := verify.Run(t.Context(), cfg)
				if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
					t.Errorf("error %v, want %q", err, tc.want)
				}
			})
		})
	}
}

func TestWaitAndInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		p, _ := newPond(broadcast, withHistory)
		c.start("one.test", p)
		cfg := c.config()
		wait := make(chan struct{})
		cfg.Wait, cfg.Interval = wait, time.Second
		phases := map[string]int{}
		cfg.Progress = func(p verify.Progress) { phases[p.Phase]++ }
		time.AfterFunc(2*time.Minute, func() { close(wait) })
		r, err := verify.Run(t.Context(), cfg)
		if err != nil || r.Err() != nil {
			t.Fatal(err, r.Err())
		}
		if r.Published < 100*50 || phases[verify.Waiting] < 95 || phases[verify.Publishing] < 18 {
			t.Errorf("%d messages, phases %v", r.Published, phases)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		p, _ := newPond(broadcast)
		c.start("one.test", p)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		r, err := verify.Run(ctx, c.config())
		if err != nil || !r.Interrupted || r.Err() == nil {
			t.Errorf("error %v, result %+v", err, r)
		}
	})
}

func TestPayloadOfAnApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		p, _ := newPond(func(ctx *pond.EventContext) error {
			var m struct {
				From string `json:"from"`
				Text string `json:"text"`
			}
			if err := ctx.Bind(&m); err != nil || m.From == "" {
				return pond.Errorf(400, "who are you?")
			}
			return ctx.Broadcast("said", map[string]any{"lines": []string{"<b>" + m.Text + "</b>"}})
		}, withHistory)
		c.start("one.test", p)
		cfg := c.config()
		var err error
		if cfg.Payload, err = load.ParsePayload(`{"from":"verify {{.Client}}","text":"{{.Text}}"}`); err != nil {
			t.Fatal(err)
		}
		cfg.Duration = 5 * time.Second
		r, err := verify.Run(t.Context(), cfg)
		if err != nil || r.Err() != nil || r.Published < 200 {
			t.Errorf("error %v, result %+v", err, r)
		}
	})
}

// A message that arrives after the first message that is published at the end, with a delay,
// is out of order, and not lost.
func TestMessageBehindTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		began := time.Now()
		kept, probes := "", 0
		c := newCluster(t)
		c.serve("one.test", &liar{mangle: func(m *liarMember, frame string, _ bool) []string {
			switch {
			case m.number != 5 || !strings.Contains(frame, "/1/") || time.Since(began) < 10*time.Second:
			case kept == "":
				kept = frame
				close(end)
				return nil
			default:
				if probes++; probes == 2 {
					return []string{kept, frame}
				}
			}
			return []string{frame}
		}})
		cfg := c.config()
		cfg.Cut, cfg.Duration, cfg.Wait = 0, time.Second, end
		r, err := verify.Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if r.Lost != 0 || r.Disordered != 1 || probes != 2 {
			t.Errorf("%d lost, %d out of order, %d messages at the end: %+v", r.Lost, r.Disordered, probes, r)
		}
	})
}
