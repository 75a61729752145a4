package pondclient_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/pondclient"
)

// A site is a real server in memory that can be restarted, each time with a new Pond.
type site struct {
	t     *testing.T
	build func() (*pond.Pond, *pond.Endpoint)

	mu       sync.Mutex // guards the following fields
	pond     *pond.Pond
	endpoint *pond.Endpoint
	listener *pipenet.Listener
	server   *http.Server
	tasks    sync.WaitGroup
}

func newSite(t *testing.T, build func() (*pond.Pond, *pond.Endpoint)) *site {
	s := &site{t: t, build: build}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *site) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pond, s.endpoint = s.build()
	listener, server := pipenet.Listen(0), &http.Server{
		Handler: s.pond, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	s.listener, s.server = listener, server
	s.tasks.Go(func() { _ = server.Serve(listener) })
}

// stop shuts down the server and the Pond in the right order.
func (s *site) stop() {
	s.mu.Lock()
	p, server := s.pond, s.server
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stopped := background(func() error { return server.Shutdown(ctx) })
	_ = p.Shutdown(ctx)
	<-stopped
	_ = server.Close()
	s.tasks.Wait()
}

func (s *site) restart() {
	s.stop()
	s.start()
}

// A line is the network of one client.
type line struct {
	site *site

	mu    sync.Mutex // guards the following fields
	conns []*pipenet.Conn
	delay time.Duration
}

func (l *line) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	l.site.mu.Lock()
	listener := l.site.listener
	l.site.mu.Unlock()
	c, err := listener.Dial(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Delay(l.delay)
	l.conns = append(l.conns, c)
	return c, nil
}

// each calls f for all connections of the client.
func (l *line) each(f func(*pipenet.Conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		f(c)
	}
}

// cut resets all connections of the client.
func (l *line) cut() { l.each((*pipenet.Conn).Reset) }

// client returns a client of the site, connected, with its network.
func (s *site) client(transport pondclient.Transport, opts ...pondclient.Option) (*pondclient.Client, *line) {
	s.t.Helper()
	l := &line{site: s}
	opts = append([]pondclient.Option{
		pondclient.WithDialContext(l.dial), pondclient.WithLogger(quiet), pondclient.WithProxy(nil), pondclient.WithTransport(transport),
	}, opts...)
	c, err := pondclient.Dial(within(s.t, time.Minute), "ws://example.com/socket", opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { closeNow(s.t, c) })
	return c, l
}

var bothTransports = []pondclient.Transport{pondclient.WebSocket, pondclient.SSE}

// onSite runs a test with a real server over both transports.
func onSite(t *testing.T, build func() (*pond.Pond, *pond.Endpoint), test func(t *testing.T, s *site, over pondclient.Transport)) {
	t.Helper()
	for _, transport := range bothTransports {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newSite(t, build), transport) })
		})
	}
}

type greeting struct {
	Text string `json:"text"`
}

type size struct {
	Bytes int `json:"bytes"`
}

const (
	say  pond.Event[greeting] = "say"
	said pond.Event[greeting] = "said"
	ask  pond.Event[greeting] = "ask"
)

// chat is a server with all features of the official protocol.
func chat(opts ...pond.LobbyOption) func() (*pond.Pond, *pond.Endpoint) {
	return func() (*pond.Pond, *pond.Endpoint) {
		p := pond.New(pond.WithLogger(quiet))
		e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
		l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
			var params struct {
				Name  string `json:"name"`
				Track bool   `json:"track"`
			}
			if err := ctx.Bind(&params); err != nil {
				return err
			}
			if params.Name == "mallory" {
				return ctx.Decline(http.StatusForbidden, "not you")
			}
			if err := ctx.Accept(); err != nil {
				return err
			}
			if params.Track {
				return ctx.Track(map[string]string{"id": ctx.User().ID, "name": params.Name})
			}
			return nil
		}, opts...)
		pond.On(l, say, func(ctx *pond.EventContext, m greeting) error { return ctx.Broadcast(said.With(m)) })
		pond.On(l, ask, func(ctx *pond.EventContext, m greeting) error {
			return ctx.Reply("size", size{len(m.Text)})
		})
		l.OnMessage("say-all", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })
		l.OnMessage("tell-others", func(ctx *pond.EventContext) error { return ctx.Others().Broadcast("said", ctx.Payload()) })
		l.OnMessage("fail", func(*pond.EventContext) error { return pond.Errorf(http.StatusConflict, "busy") })
		l.OnMessage("update", func(ctx *pond.EventContext) error { return ctx.Update(ctx.Payload()) })
		l.OnMessage("evict/:id", func(ctx *pond.EventContext) error { return ctx.Channel().Evict(ctx.Param("id"), "spam") })
		return p, e
	}
}

// member joins a channel of the site.
func member(t *testing.T, c *pondclient.Client, opts ...pondclient.JoinOption) (*pondclient.Channel, *collector) {
	t.Helper()
	ch, err := c.Join(within(t, time.Minute), room, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return ch, collect(t, ch)
}

func TestTheOfficialProtocol(t *testing.T) {
	onSite(t, chat(), func(t *testing.T, s *site, over pondclient.Transport) {
		ann, _ := s.client(over)
		bob, _ := s.client(over)
		_, err := ann.Join(t.Context(), room, pondclient.WithParams(map[string]string{"name": "mallory"}))
		if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != 403 || e.Message != "not you" {
			t.Errorf("error %v", err)
		}
		_, err = ann.Join(t.Context(), "/elsewhere")
		if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != 404 {
			t.Errorf("error %v", err)
		}
		isError(t, err, pondclient.Code("CHANNEL_NOT_FOUND"))

		track := func(name string) pondclient.JoinOption {
			return pondclient.WithParams(map[string]any{"name": name, "track": true})
		}
		a, annEvents := member(t, ann, track("ann"), pondclient.WithPresence())
		annIs, bobIs := fmt.Sprintf(`%s{"id":%[1]q,"name":"ann"}`, ann.UserID()), fmt.Sprintf(`%s{"id":%[1]q,"name":"bob"}`, bob.UserID())
		annEvents.is("presence +" + annIs)
		b, bobEvents := member(t, bob, track("bob"), pondclient.WithPresence())
		annEvents.is("presence +" + bobIs)
		bobEvents.is("presence +" + annIs + " +" + bobIs)

		if err := a.Send(say.With(greeting{"hello"})); err != nil {
			t.Fatal(err)
		}
		if err := a.Send("tell-others", map[string]int{"n": 7}); err != nil {
			t.Fatal(err)
		}
		bobEvents.is("said 7")
		annEvents.is("said")
		m, ok, err := pondclient.Decode(bobEvents.raw[1].(*pondclient.Message), said)
		if !ok || err != nil || m.Text != "hello" {
			t.Errorf("got %+v, %v, error %v", m, ok, err)
		}
		if _, ok, err := pondclient.Decode(bobEvents.raw[1].(*pondclient.Message), ask); ok || err != nil {
			t.Errorf("got %v, error %v", ok, err)
		}
		answer, err := pondclient.Call[size](t.Context(), a, ask, greeting{"hello"})
		if err != nil || answer.Bytes != 5 {
			t.Errorf("got %+v, error %v", answer, err)
		}
		_, err = a.Request(t.Context(), "fail", nil)
		if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != 409 || e.Message != "busy" {
			t.Errorf("error %v", err)
		}
		_, err = a.Request(t.Context(), "unknown", nil)
		isError(t, err, pondclient.Code("HANDLER_NOT_FOUND"))
		if err := errors.Join(a.Send("fail", nil), a.Send("update", map[string]string{"id": ann.UserID(), "name": "Ann"})); err != nil {
			t.Fatal(err)
		}
		annEvents.is(fmt.Sprintf(`failure fail: 409 busy: HANDLER_NOT_FOUND presence ~%s{"id":%[1]q,"name":"Ann"}`, ann.UserID()))
		bobEvents.take()

		// Evicted, and joined again.
		if err := a.Send("evict/"+bob.UserID(), nil); err != nil {
			t.Fatal(err)
		}
		if e, ok := errors.AsType[*pondclient.RemovedError](bobEvents.end()); !ok || e.Reason != "spam" || e.Closed {
			t.Errorf("error %v", bobEvents.err)
		}
		isError(t, b.Send("say", nil), bobEvents.err)
		annEvents.is("kicked presence -" + bobIs)
		b, bobEvents = member(t, bob, track("bob"))
		annEvents.is("presence +" + bobIs)
		if err := b.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		annEvents.is("presence -" + bobIs)
		bobEvents.is("")

		// The server closes the channel.
		ch, _ := s.endpoint.Channel(room)
		ch.Close("over")
		if e, ok := errors.AsType[*pondclient.RemovedError](annEvents.end()); !ok || e.Reason != "over" || !e.Closed {
			t.Errorf("error %v", annEvents.err)
		}
		if err := errors.Join(ann.Close(t.Context()), bob.Close(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

func TestRestart(t *testing.T) {
	onSite(t, chat(), func(t *testing.T, s *site, over pondclient.Transport) {
		c, _ := s.client(over)
		ch, events := member(t, c)
		id := c.UserID()
		s.stop()
		if err := ch.Send(say.With(greeting{"later"})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		s.start()
		time.Sleep(time.Minute)
		events.is("gap:fresh said")
		if c.UserID() == id || c.UserID() == "" {
			t.Errorf("user ID %q after %q", c.UserID(), id)
		}
		time.Sleep(time.Hour) // of heartbeats
		events.is("")
	})
}

func TestRecovery(t *testing.T) {
	onSite(t, chat(pond.WithHistory(pond.History{Messages: 10, Newcomers: 3})), func(t *testing.T, s *site, over pondclient.Transport) {
		n := 0
		publish := func(count int) {
			for range count {
				n++
				if err := s.endpoint.Publish(t.Context(), room, "said", map[string]int{"n": n}); err != nil {
					t.Error(err)
				}
			}
		}
		publish(5)
		c, l := s.client(over)
		_, events := member(t, c, pondclient.WithLast(100))
		events.is("3r 4r 5r recovered")
		publish(1)
		events.is("6")
		l.cut()
		publish(3)
		time.Sleep(time.Minute)
		publish(1)
		events.is("7r 8r 9r recovered 10")
		l.cut()
		publish(20)
		time.Sleep(time.Minute)
		publish(1)
		events.is("gap:expired 31")
		s.restart()
		publish(1) // before it reconnects
		time.Sleep(time.Minute)
		publish(1)
		events.is("gap:epoch 33")
		last := events.raw[len(events.raw)-1].(*pondclient.Message)

		// A program that stored its position continues from there.
		publish(2)
		other, _ := s.client(over)
		_, more := member(t, other, pondclient.WithPosition(last.Position))
		more.is("34r 35r recovered")
	})
}

// A client that is not tracked gets the list, even after it lost its connection.
func TestPresenceDifferences(t *testing.T) {
	onSite(t, chat(pond.WithPresenceDiffs(), pond.WithHistory(pond.History{})), func(t *testing.T, s *site, over pondclient.Transport) {
		watcher, link := s.client(over)
		w, _ := member(t, watcher, pondclient.WithPresence())
		same := func(when string, want int) {
			t.Helper()
			time.Sleep(time.Minute)
			ch, ok := s.endpoint.Channel(room)
			if !ok {
				t.Fatal("there is no channel")
			}
			users := map[string]string{}
			for id, presence := range ch.Presence() {
				users[id] = string(presence)
			}
			known := map[string]string{}
			for _, m := range w.Members() {
				known[m.ID] = string(m.Presence)
			}
			if len(users) != want || !maps.Equal(known, users) {
				t.Fatalf("%s: the client knows %v, the server %v, want %d", when, known, users, want)
			}
		}
		same("first", 0)
		var ann *pondclient.Channel
		for _, name := range []string{"ann", "bob", "cid"} {
			c, _ := s.client(over)
			ann, _ = member(t, c, pondclient.WithPresence(), pondclient.WithParams(map[string]any{"name": name, "track": true}))
		}
		same("after three joins", 3)
		link.cut()
		if err := ann.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		same("after a lost connection", 2)
	})
}

// Queued messages are sent in one request, which the server accepts as a whole and in
// order (rule X-22).
func TestArraysOverAnEventStream(t *testing.T) {
	build := chat(pond.WithHistory(pond.History{}))
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		posts := 0
		s := newSite(t, build)
		s.mu.Lock()
		inner := s.server.Handler
		s.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				mu.Lock()
				posts++
				mu.Unlock()
				time.Sleep(100 * time.Millisecond)
			}
			inner.ServeHTTP(w, r)
		})
		s.mu.Unlock()
		c, _ := s.client(pondclient.SSE)
		ch, events := member(t, c)
		var want strings.Builder
		for i := range 300 {
			if err := ch.Send("say-all", map[string]int{"n": i}); err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(&want, " ", i)
		}
		if err := ch.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		events.is(want.String()[1:])
		mu.Lock()
		defer mu.Unlock()
		if posts > 20 {
			t.Errorf("%d POSTs for 300 messages", posts)
		}
	})
}

// A server that shuts down advises its clients when to reconnect, spread over a second
// for every 500 of them (rule X-21).
func TestRequirement1ClientsObeyTheirServer(t *testing.T) {
	const clients = 600
	for _, transport := range bothTransports {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, chat(pond.WithHistory(pond.History{})))
				var mu sync.Mutex
				var advised []time.Duration
				for range clients {
					c, _ := s.client(transport, pondclient.WithObserver(&pondclient.Observer{
						Disconnected: func(reason *pondclient.ConnectionError, action pondclient.Action, retryIn time.Duration) {
							mu.Lock()
							defer mu.Unlock()
							if reason.RetryAfter > 0 {
								advised = append(advised, retryIn)
								if retryIn < reason.RetryAfter || retryIn > reason.RetryAfter*3/2+100*time.Millisecond {
									t.Errorf("%v after the advice to wait %v", retryIn, reason.RetryAfter)
								}
							}
						},
					}))
					if _, err := c.Join(t.Context(), room); err != nil {
						t.Fatal(err)
					}
				}
				s.restart()
				time.Sleep(time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if len(advised) < clients*9/10 {
					t.Errorf("%d of %d clients got advice", len(advised), clients)
				}
				spread(t, advised, 0, 2*time.Second)
			})
		})
	}
}
