package transport_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// A connection that ends before it is started does not stay on the wheel.
func TestEndBeforeStart(t *testing.T) {
	for name, end := range map[string]func(*transport.Conn){
		"close": func(c *transport.Conn) { c.Close(ws.CloseGoingAway, "", transport.ErrClosed) },
		"abort": func(c *transport.Conn) { c.Abort(transport.ErrClosed) },
	} {
		t.Run(name, func(t *testing.T) {
			hub := transport.NewHub(testConfig())
			near, far := net.Pipe()
			p := newPeer()
			c, err := hub.AcceptWebSocket(hijackable{conn: far}, ws.Handshake{Key: "dGhlIHNhbXBsZSBub25jZQ=="}, p)
			if err != nil {
				t.Fatal(err)
			}
			end(c)
			receive(t, p.closed)
			c.Start()
			near.Close()
			if err := hub.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := hub.Registered(); n != 0 {
				t.Errorf("%d connections are left on the wheel", n)
			}
		})
	}
}

// Nothing is written before Start, even if the shard is busy while frames are
// queued. Otherwise a connection whose client disconnected could end before the
// application registers it, and stay registered.
func TestFault04_NothingIsWrittenBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.PingInterval = time.Hour
		hub := transport.NewHub(cfg)
		near, far := net.Pipe()
		p := newPeer()
		release := hub.Hold()
		c, err := hub.AcceptWebSocket(hijackable{conn: far}, ws.Handshake{Key: "dGhlIHNhbXBsZSBub25jZQ=="}, p)
		if err != nil {
			t.Fatal(err)
		}
		near.Close() // so the first write fails
		c.Send(frame("{}"))
		release()
		synctest.Wait()
		if len(p.closed) > 0 {
			t.Error("the connection ended before it was started")
		}
		c.Start()
		synctest.Wait()
		if len(p.closed) != 1 {
			t.Errorf("Closed was called %d times after Start, want 1", len(p.closed))
		}
	})
}
