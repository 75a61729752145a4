// Package proxies_test runs servers behind real proxies, with the configurations
// in the folders. Only the names, the addresses and the timeouts are others.
package proxies_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/hosttest"
)

// heartbeat is as long as two and a half of them are the silence that the proxies
// allow, as in the configurations. That takes real seconds: the proxies have
// clocks of their own. Less would be a matter of luck on a busy machine.
const heartbeat = 2 * time.Second

// A server broadcasts all messages at /api/socket. Its clients at /api/silent get
// no heartbeats; when three of those in /chat/silent are gone, those who are in
// /chat/idle at /api/socket are woken.
type server struct {
	addr string
	stop func()      // does what SIGTERM does to a program, and waits
	left chan string // the channels that clients of /api/silent have left

	endpoint *pond.Endpoint // /api/socket
}

// newServer runs a server at addr until the test ends.
func newServer(t *testing.T, addr string) *server {
	t.Helper()
	accept := func(ctx *pond.ConnectionContext) error { return ctx.Accept() }
	admit := func(ctx *pond.JoinContext) error { return ctx.Accept() }
	p := pond.New()
	socket := p.Endpoint("/socket", accept, pond.WithPingInterval(heartbeat), pond.WithJoinByURL())
	socket.Lobby("/log/:room", admit, pond.WithHistory(pond.History{}))
	lobby := socket.Lobby("/chat/:room", admit)
	lobby.OnMessage("message", func(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) })

	s := &server{left: make(chan string, 100), endpoint: socket}
	var cut atomic.Int32
	silent := p.Endpoint("/silent", accept, pond.WithPingInterval(time.Hour))
	silent.Lobby("/chat/:room", admit).OnLeave(func(ctx *pond.LeaveContext) error {
		s.left <- ctx.Channel().Name()
		if ctx.Channel().Name() == "/chat/silent" && cut.Add(1) == 3 {
			if idle, ok := socket.Channel("/chat/idle"); ok {
				return idle.Broadcast("wake", nil)
			}
		}
		return nil
	})

	l := listen(t, addr)
	s.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, &http.Server{Handler: http.StripPrefix("/api", p)}, l) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func TestProxies(t *testing.T) {
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, "127.0.0.1:0")
			s := newSite(t, p, server.addr)
			t.Run("chat", func(t *testing.T) { testChat(t, s) })
			t.Run("gone", func(t *testing.T) { testGone(t, s, server) })
			t.Run("idle", func(t *testing.T) { testIdle(t, s) })
			t.Run("resume", func(t *testing.T) { testResume(t, s, server) })
			t.Run("restart", func(t *testing.T) { testRestart(t, s, server) })
		})
	}
}

// testChat says one thing after the other. Each is said only when the one before
// has been heard, so no proxy may wait for more to come.
func testChat(t *testing.T, s *site) {
	for proto, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		to := s.target(s.client(t, http2), "/api/socket")
		if stream := hosttest.Dial(t, hosttest.SSE, to); stream.Response.Proto != proto {
			t.Errorf("the stream comes over %s, want %s", stream.Response.Proto, proto)
		}
		hosttest.Chat(t, to)
	}
}

// testGone has clients go without a word. The proxy has to tell the server at
// once, and not when it cuts who is silent: the witness, who came first.
func testGone(t *testing.T, s *site, server *server) {
	ways := s.ways(t)
	s.dial(t, ways[0], "/api/silent", "/chat/witness")
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { s.dial(t, w, "/api/silent", "/chat/"+w.name) }) // its end is that of the client
		if name := <-server.left; name != "/chat/"+w.name {
			t.Fatalf("%s is not missed before %s is cut", w.name, name)
		}
	}
}

// testIdle says nothing until the proxy has cut those that are silent. Who has
// heartbeats is still there, and has been for longer.
func testIdle(t *testing.T, s *site) {
	doctor := s.askDoctor(t, "-channel", "/chat/doctor", "-idle", "6s", "-timeout", "1m")
	var idle []*hosttest.Session
	for _, w := range s.ways(t) {
		idle = append(idle, s.dial(t, w, "/api/socket", "/chat/idle"))
	}
	for _, w := range s.ways(t) {
		s.dial(t, w, "/api/silent", "/chat/silent")
	}
	for _, session := range idle { // first the WebSocket, which answers to pings while it waits
		session.Hear("wake")
	}
	if problems := doctor(); len(problems) > 0 {
		t.Errorf("the doctor finds %q", problems)
	}
}

// testRestart sees the end of the server from the other side of the proxy, and
// comes back to the next one.
func testRestart(t *testing.T, s *site, server *server) {
	var all []*hosttest.Session
	for _, w := range s.ways(t) {
		all = append(all, s.dial(t, w, "/api/socket", "/chat/1"))
	}
	go server.stop()
	for _, session := range all {
		session.Told()
	}
	server.stop()
	newServer(t, server.addr)
	hosttest.Chat(t, s.target(s.client(t, true), "/api/socket"))
}

// TestSeveralServers opens event streams one after the other. Each of their POSTs
// has to reach the server that has the stream.
func TestSeveralServers(t *testing.T) {
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, p, newServer(t, "127.0.0.1:0").addr, newServer(t, "127.0.0.1:0").addr)
			for _, w := range s.ways(t) {
				for range 4 {
					s.dial(t, w, "/api/socket", "/chat/1")
				}
			}
		})
	}
}
