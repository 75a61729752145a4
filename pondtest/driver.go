// Package pondtest tests a Pond, or any [http.Handler] that speaks its protocol,
// from the client's side and without a network.
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
// Connections are in memory, so that a test can run in a bubble of
// [testing/synctest], where time is virtual. Hours take milliseconds, a test that
// waits for a message that never arrives fails at once, and a test can prove that
// no further message arrives.
//
// The driver is as strict as the strictest client: a message that one of the
// official clients would not understand fails the test.
//
// # Time
//
// A method that waits for the server fails the test after one minute of the
// bubble's time. Methods that wait until the server is idle wait until all
// goroutines of the bubble are blocked, which takes no virtual time.
//
// The clock of a bubble starts at midnight UTC on 2000-01-01. Tokens and certificates
// that were created outside the bubble are not yet valid there, so create them inside,
// with time.Now.
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

// timeout limits every wait for the server. There must be a limit, because
// heartbeats keep virtual time running, so a bubble never deadlocks.
const timeout = time.Minute

// A Transport is the transport of a session. Its values are those of pond.Transport.
type Transport string

// The transports.
const (
	WebSocket Transport = "websocket"
	SSE       Transport = "sse"
)

// Transports lists all transports, for tests that must pass with each.
var Transports = []Transport{WebSocket, SSE}

// Run runs test in a bubble of [testing/synctest], with h as the handler of a
// server at http://example.com. The rules of [synctest.Test] apply: t.Run and
// t.Parallel must not be called inside.
//
// When test returns, Run closes the remaining sessions and lets the server detect
// this. Then, if h has a method Shutdown(context.Context) error, as a Pond does,
// Run calls it, even if test already did. The test fails if any goroutine remains.
// If another handler wraps the Pond, the test itself must shut down the Pond.
func Run(t *testing.T, h http.Handler, test func(t *testing.T, d *Driver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(t, h)
		defer d.close()
		test(t, d)
	})
}

// A Driver connects clients to the handler. Its methods fail the test if
// something goes wrong. Use a Driver and its sessions only in the goroutine of the
// test.
type Driver struct {
	t        *testing.T
	handler  http.Handler
	server   *http.Server
	listener *pipenet.Listener
	tasks    sync.WaitGroup // the server, and the readers of the sessions
	sessions []*Session
	requests int           // number of request IDs used so far
	slowest  time.Duration // the longest delay of a session
}

func newDriver(t *testing.T, h http.Handler) *Driver {
	d := &Driver{t: t, handler: h, listener: pipenet.Listen(0)}
	d.server = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: timeout,
		ErrorLog:          slog.NewLogLogger(slog.NewTextHandler(t.Output(), nil), slog.LevelError),
	}
	d.tasks.Go(func() {
		_ = d.server.Serve(d.listener) // returns after Shutdown
	})
	return d
}

// close ends everything in a deterministic order: all clients leave before the
// server is shut down.
func (d *Driver) close() {
	for _, s := range d.sessions {
		s.conn.Close()
		s.conn.Plug()
	}
	time.Sleep(d.slowest)
	synctest.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.t.Context()), timeout)
	defer cancel()
	if h, ok := d.handler.(interface{ Shutdown(context.Context) error }); ok {
		if err := h.Shutdown(ctx); err != nil {
			d.t.Errorf("pondtest: Shutdown of the handler: %v", err)
		}
	}
	if err := d.server.Shutdown(ctx); err != nil {
		d.t.Errorf("pondtest: the server did not respond to all requests: %v", err)
		d.server.Close()
	}
	d.tasks.Wait()
}

// Connect connects a client to target, a path with an optional query. It waits
// for the server's CONNECTION message, which it consumes, and returns the session.
// The options apply to every request of the client. An SSE client also applies
// them to the requests that send messages, as browsers repeat cookies.
//
// A WebSocket client offers compression only if an option adds the header. It
// supports permessage-deflate with server_no_context_takeover.
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

// Declined connects a client that the server must decline, and returns the
// response. The body of the response is in memory.
func (d *Driver) Declined(tr Transport, target string, opts ...Option) *http.Response {
	d.t.Helper()
	s := d.open(tr, target, opts, network{})
	if s.accepted {
		s.fatalf("accepted with %s, want declined", s.response.Status)
	}
	return s.response
}
