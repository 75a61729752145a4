package pondtest

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
)

// A network is what lies between a client and the server, on all connections of
// the client.
type network struct {
	delay   time.Duration
	trickle bool
}

// dial makes the connection for req.
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

// Stall makes the client stop to read, as one that has gone to sleep. What the
// server has sent so far is received; 64 KiB more get as far as the network of
// the client. Heartbeats are not answered either.
func (s *Session) Stall() {
	synctest.Wait()
	s.conn.Hold()
}

// Vanish pulls the cable of the client. What either side has sent so far has
// arrived, unless [Session.Delay] holds it up; from now on neither hears of the
// other. Nothing tells the server, but heartbeats are not answered, and 64 KiB
// later its writes have to wait. What the client sends goes nowhere, too.
func (s *Session) Vanish() {
	synctest.Wait()
	s.vanished = true
	s.conn.Unplug()
}

// Resume ends [Session.Stall] and [Session.Vanish]. What was on its way arrives,
// but for messages of an SSE client, which are lost.
func (s *Session) Resume() {
	s.vanished = false
	s.conn.Plug()
	s.conn.Release()
}

// Delay makes all that is sent from now on, by either side, take d to arrive. An
// SSE client's requests are delayed, too. It must leave time to answer within a
// minute. Methods that wait until the server is idle do not wait for what is on
// its way.
func (s *Session) Delay(d time.Duration) {
	s.network.delay = d
	s.driver.slowest = max(s.driver.slowest, d)
	s.conn.Delay(d)
}

// Trickle makes all that is sent, by either side, arrive in pieces of one byte,
// without any delay between them. That goes for the requests of an SSE client,
// too.
func (s *Session) Trickle() {
	s.network.trickle = true
	s.conn.Trickle()
}

// Reset resets the connection: the server's reads and writes fail, and data in
// transit is lost.
func (s *Session) Reset() { s.conn.Reset() }

// Reconnect connects once more, as [Driver.Connect] does, with the same target
// and options, over a network of the same [Session.Delay] and [Session.Trickle].
// The answer is a session of its own: it has joined no channel. The old one stays
// as it is, so that a server that has not missed it yet has both.
func (s *Session) Reconnect() *Session {
	s.t.Helper()
	return s.driver.connect(s.transport, s.target, s.opts, s.network)
}
