package transport_test

import (
	"net"
	"testing"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// A connection that ends before it is started leaves nothing on the wheel.
func TestEndBeforeStart(t *testing.T) {
	for name, end := range map[string]func(*transport.Conn){
		"close": func(c *transport.Conn) { c.Close(ws.CloseGoingAway, "", transport.ErrClosed) },
		"abort": func(c *transport.Conn) { c.Abort(transport.ErrClosed) },
	} {
		t.Run(name, func(t *testing.T) {
			hub := transport.NewHub(testConfig())
			near, far := net.Pipe()
			p := &peer{closed: make(chan error, 2)}
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
