package pondtest

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
)

// A network holds the network conditions of a client. They apply to all of its
// connections.
type network struct {
	delay   time.Duration
	trickle bool
}

// dial opens the connection for req.
func (d *Driver) dial(req *http.Request, n network) *pipenet.Conn {
	d.t.Helper()
	dial := d.listener.Dial
	if req.RemoteAddr != "" {
		from, err := netip.ParseAddrPort(req.RemoteAddr)
		if err != nil {
			d.t.Fatalf("pondtest: RemoteAddr %q: %v", req.RemoteAddr, err)
		}
		dial = func(ctx context.Context) (*pipenet.Conn, error) {
			return d.listener.DialFrom(ctx, net.TCPAddrFromAddrPort(from))
		}
	}
	conn, err := dial(d.t.Context())
	if err != nil {
		d.t.Fatalf("pondtest: %v", err)
	}
	conn.Delay(n.delay)
	if n.trickle {
		conn.Trickle()
	}
	return conn
}

// Stall makes the client stop reading, like a client that is asleep. Data sent so
// far is received, and the network buffers 64 KiB more. The client does not answer
// heartbeats either.
func (s *Session) Stall() {
	synctest.Wait()
	s.conn.Hold()
}

// Vanish disconnects the client from the network without closing the connection.
// Data already sent has arrived, unless [Session.Delay] delays it. From now on
// neither side receives anything from the other. The server gets no error, but its
// heartbeats are not answered, and its writes block after 64 KiB. Data that the
// client sends is lost, unless [Session.Resume] is called.
func (s *Session) Vanish() {
	synctest.Wait()
	s.vanished = true
	s.conn.Unplug()
}

// Resume ends [Session.Stall] and [Session.Vanish]. Data in transit arrives,
// except messages that an SSE client sent, which are lost.
func (s *Session) Resume() {
	s.vanished = false
	s.conn.Plug()
	s.conn.Release()
}

// Delay delays everything that either side sends from now on by d, including the
// requests of an SSE client. A request and its answer must together take less than
// a minute. Methods that wait until the server is idle do not wait for delayed
// data.
func (s *Session) Delay(d time.Duration) {
	s.network.delay = d
	s.driver.slowest = max(s.driver.slowest, d)
	s.conn.Delay(d)
}

// Trickle makes everything that either side sends arrive one byte per read, without
// delay between the bytes. It also applies to the requests of an SSE client.
func (s *Session) Trickle() {
	s.network.trickle = true
	s.conn.Trickle()
}

// Reset resets the connection: the server's reads and writes fail, and data in
// transit is lost.
func (s *Session) Reset() { s.conn.Reset() }

// Reconnect connects again, as [Driver.Connect] does, with the same target and
// options, and the same [Session.Delay] and [Session.Trickle]. It returns a new
// session, which is not a member of any channel, unless its URL joins one. The old
// session is unchanged, so a server that has not yet detected its loss has both.
//
// An SSE session that received an event with an ID sends the last ID as Last-Event-ID,
// as a browser's EventSource does.
func (s *Session) Reconnect() *Session {
	s.t.Helper()
	opts := s.opts
	if stream, ok := s.link.(*eventStream); ok {
		if id := stream.lastID(); id != "" {
			opts = append(slices.Clip(opts), Header("Last-Event-ID", id))
		}
	}
	return s.driver.connect(s.transport, s.target, opts, s.network)
}
