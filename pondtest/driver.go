// Package pondtest tests a Pond, or any [http.Handler] that speaks its protocol,
// as clients see it, and without a network.
//
//	func TestLast(t *testing.T) {
//		for _, tr := range pondtest.Transports {
//			t.Run(string(tr), func(t *testing.T) {
//				pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
//					ann, bob := d.Connect(tr, "/socket?uid=ann"), d.Connect(tr, "/socket?uid=bob")
//					ann.Join("/chat/1", nil)
//					bob.Join("/chat/1", nil)
//					bob.Close()
//					ann.Expect("left")
//					time.Sleep(time.Hour) // of heartbeats
//					ann.Quiet()
//				})
//			})
//		}
//	}
//
// Connections are in memory, so that a test runs in a bubble of
// [testing/synctest]. Hours pass in milliseconds there, a test that waits for a
// message that does not come fails at once, and "nothing else comes" is a fact
// and not a guess.
//
// The driver is as strict as the strictest client. A message that one of the
// official clients would not understand fails the test.
//
// # Waiting
//
// What has to wait for the server waits for one minute of the bubble's time, and
// then fails the test. Methods that speak of an idle server wait until all
// goroutines stand still, which takes no time in the bubble.
package pondtest

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
)

// patience is how long everything waits for the server. It is not forever,
// because heartbeats would let time pass forever.
const patience = time.Minute

// A Transport is how a session talks to the server.
type Transport string

// The transports.
const (
	WebSocket Transport = "WebSocket"
	SSE       Transport = "SSE"
)

// Transports are all transports, for tests that must pass with each.
var Transports = []Transport{WebSocket, SSE}

// Run runs test in a bubble of [testing/synctest], with h as the handler of a
// server at http://example.com. The rules of [synctest.Test] apply: t.Run and
// t.Parallel must not be called inside.
//
// When test returns, the sessions that are left hang up, and the server hears of
// it. Then, if h has a method Shutdown(context.Context) error, as a Pond has, it
// is called, even if test did so before. A goroutine that is left then fails the
// test. So a Pond behind another handler has to be shut down by the test itself.
func Run(t *testing.T, h http.Handler, test func(t *testing.T, d *Driver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(t, h)
		defer d.close()
		test(t, d)
	})
}

// A Driver connects clients to the handler. Its methods fail the test if
// something goes wrong. It belongs, with all of its sessions, to the goroutine of
// the test.
type Driver struct {
	t        *testing.T
	handler  http.Handler
	server   *http.Server
	listener *pipenet.Listener
	tasks    sync.WaitGroup // the server, and what reads for the sessions
	sessions []*Session
	requests int           // request IDs given out
	slowest  time.Duration // the longest delay of a session
}

func newDriver(t *testing.T, h http.Handler) *Driver {
	d := &Driver{t: t, handler: h, listener: pipenet.Listen(0)}
	d.server = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: patience,
		ErrorLog:          slog.NewLogLogger(slog.NewTextHandler(t.Output(), nil), slog.LevelError),
	}
	d.tasks.Go(func() {
		_ = d.server.Serve(d.listener) // until it is shut down
	})
	return d
}

// close ends everything, in an order in which nothing depends on chance: clients
// have left before the server is asked to stop.
func (d *Driver) close() {
	for _, s := range d.sessions {
		s.conn.Close()
		s.conn.Plug()
	}
	time.Sleep(d.slowest)
	synctest.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.t.Context()), patience)
	defer cancel()
	if h, ok := d.handler.(interface{ Shutdown(context.Context) error }); ok {
		if err := h.Shutdown(ctx); err != nil {
			d.t.Errorf("pondtest: Shutdown of the handler: %v", err)
		}
	}
	if err := d.server.Shutdown(ctx); err != nil {
		d.t.Errorf("pondtest: requests were not answered before the end: %v", err)
		d.server.Close()
	}
	d.tasks.Wait()
}

// Connect connects a client to target, a path with an optional query, and
// returns it when the server's CONNECTION message has come, which it consumes.
// The options apply to every request of the client: those of an SSE client that
// send messages repeat them, as browsers repeat cookies.
//
// A WebSocket client offers compression if an option does: it understands
// permessage-deflate with server_no_context_takeover.
func (d *Driver) Connect(tr Transport, target string, opts ...Option) *Session {
	d.t.Helper()
	return d.connect(tr, target, opts, network{})
}

func (d *Driver) connect(tr Transport, target string, opts []Option, n network) *Session {
	d.t.Helper()
	s := d.open(tr, target, opts, n)
	if !s.accepted {
		s.fatalf("declined with %s: %s", s.response.Status, body(s.response))
	}
	s.start()
	first := s.take("the CONNECTION message", func(Message) bool { return true })
	if first.Action != actionConnect || first.Event != "CONNECTION" {
		s.fatalf("the first message is %v, want CONNECT CONNECTION", first)
	}
	first.Bind(d.t, &s.identity)
	return s
}

// Declined connects a client that must be declined, and returns the answer. Its
// body can be read without waiting.
func (d *Driver) Declined(tr Transport, target string, opts ...Option) *http.Response {
	d.t.Helper()
	s := d.open(tr, target, opts, network{})
	if s.accepted {
		s.fatalf("accepted with %s, want declined", s.response.Status)
	}
	return s.response
}
