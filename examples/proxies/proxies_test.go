// Package proxies_test runs servers behind real proxies, with the configurations in the
// folders. It replaces only names, addresses, certificates and timeouts.
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

// heartbeat is the heartbeat interval. As in the configurations, the timeouts of the proxies
// are two and a half intervals. The proxies use real time, and a shorter interval would make
// the test unreliable on a busy machine.
const heartbeat = 2 * time.Second

// A server broadcasts all messages at /api/socket. Clients at /api/silent receive no
// heartbeats. When three members of /chat/silent have left, the server sends "wake" to the
// members of /chat/idle at /api/socket.
type server struct {
	addr string
	stop func()      // has the effect of SIGTERM, and waits
	left chan string // the channels that clients of /api/silent left

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

// testChat sends each message only after the previous one arrived, so it fails if a proxy
// buffers messages.
func testChat(t *testing.T, s *site) {
	for proto, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		to := s.target(s.client(t, http2), "/api/socket")
		if stream := hosttest.Dial(t, hosttest.SSE, to); stream.Response.Proto != proto {
			t.Errorf("the stream uses %s, want %s", stream.Response.Proto, proto)
		}
		hosttest.Chat(t, to)
	}
}

// testGone closes connections without a close frame. The proxy must close its connection to
// the server at once, and not only when it closes idle connections. A witness connects before
// each of them, so its connection reaches the timeout first.
func testGone(t *testing.T, s *site, server *server) {
	ways := s.ways(t)
	for _, w := range ways {
		witness := "/chat/witness-" + w.name
		s.dial(t, ways[0], "/api/silent", witness)
		t.Run(w.name, func(t *testing.T) { s.dial(t, w, "/api/silent", "/chat/"+w.name) }) // disconnects at its end
		for left := ""; left != "/chat/"+w.name; {                                         // earlier witnesses may time out
			if left = <-server.left; left == witness {
				t.Fatalf("the end of %s was not detected before %s timed out", w.name, witness)
			}
		}
	}
}

// testIdle sends nothing until the proxy closed the connections without heartbeats. The
// connections with heartbeats are older and must still be open.
func testIdle(t *testing.T, s *site) {
	doctor := s.askDoctor(t, "-channel", "/chat/doctor", "-idle", "6s", "-timeout", "1m")
	var idle []*hosttest.Session
	for _, w := range s.ways(t) {
		idle = append(idle, s.dial(t, w, "/api/socket", "/chat/idle"))
	}
	for _, w := range s.ways(t) {
		s.dial(t, w, "/api/silent", "/chat/silent")
	}
	for _, session := range idle { // the WebSocket first, because it answers pings while it waits
		session.Hear("wake")
	}
	if problems := doctor(); len(problems) > 0 {
		t.Errorf("the doctor found %q", problems)
	}
}

// testRestart stops the server, checks that the clients are notified through the proxy, and
// reconnects to the next server.
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

// TestSeveralServers opens event streams one after the other. Each POST must reach the
// server of its stream.
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
