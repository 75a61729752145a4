//go:build !386

package transport_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/transport"
)

// The kernel queues little for a client that gets only the newest frames, because it
// cannot drop any.
func TestKeepLatestLimitsTheKernel(t *testing.T) {
	const size, most = 8 << 10, 512 << 10
	webSocket := func(t *testing.T, s *server, use func(*transport.Conn)) (net.Conn, *peer) {
		c := dial(t, s, "")
		p := receive(t, s.conns)
		use(p.Conn)
		return c.Conn, p
	}
	// The stream is used before it has a connection, as one is that joins with its URL.
	stream := func(t *testing.T, s *server, use func(*transport.Conn)) (net.Conn, *peer) {
		s.onStream = use
		_, conn := openStream(t, s, "HTTP/1.1", "")
		return conn, receive(t, s.conns)
	}
	keep := func(c *transport.Conn) { c.KeepLatest(time.Minute) }
	for name, tc := range map[string]struct {
		connect func(*testing.T, *server, func(*transport.Conn)) (net.Conn, *peer)
		use     func(*transport.Conn)
		little  bool
	}{
		"WebSocket":          {webSocket, keep, true},
		"event stream":       {stream, keep, true},
		"not any more":       {webSocket, func(c *transport.Conn) { keep(c); c.KeepAll() }, false},
		"all frames":         {webSocket, func(*transport.Conn) {}, false},
		"all, event streams": {stream, func(*transport.Conn) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, testConfig())
			conn, p := tc.connect(t, s, tc.use)
			if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
				t.Fatal(err)
			}
			taken := 0
			for p.Queued() < 32<<10 {
				p.Send(frame(`"` + strings.Repeat("x", size) + `"`))
				taken += size
			}
			if (taken <= most) != tc.little {
				t.Errorf("the kernel took %d KiB", taken>>10)
			}
		})
	}
}

// A WebSocket whose client gets only the newest frames need not answer heartbeats while
// its host acknowledges them. If the host has vanished, it is closed as soon as an event
// stream. The test takes as long as the kernel needs for three retransmissions, about two
// seconds.
func TestKeepLatestAndHeartbeats(t *testing.T) {
	cfg := testConfig()
	cfg.PingInterval, cfg.WriteTimeout = 250*time.Millisecond, 250*time.Millisecond
	s := serve(t, cfg)
	connect := func() (*client, *peer) {
		c := dial(t, s, "")
		p := receive(t, s.conns)
		p.KeepLatest(time.Minute)
		return c, p
	}
	_, asleep := connect() // does not read, but its host does
	full, fullPeer := connect()
	if err := full.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	for fullPeer.Queued() == 0 {
		fullPeer.Send(frame(`"` + strings.Repeat("x", 4<<10) + `"`))
	}
	gone, gonePeer := connect()
	dropIncoming(t, gone.Conn.(*net.TCPConn))
	if cause := receive(t, gonePeer.closed); !errors.Is(cause, transport.ErrTimeout) {
		t.Errorf("the connection ended with %v", cause)
	}
	for name, p := range map[string]*peer{"asleep": asleep, "full": fullPeer} {
		if len(p.closed) > 0 {
			t.Errorf("the client that is %s was closed: %v", name, <-p.closed)
		}
	}
	asleep.KeepAll() // from now on it must answer
	if cause := receive(t, asleep.closed); !errors.Is(cause, transport.ErrTimeout) {
		t.Errorf("the connection ended with %v", cause)
	}
}
