package transport_test

import (
	"errors"
	"net"
	"testing"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// A client that pings and never reads the answers is cut off like every other
// slow one, before tiny answers have piled up to a multiple of the outbox.
func TestPingsWithoutReading(t *testing.T) {
	const pings = 50_000
	hub := transport.NewHub(testConfig()) // 1 MiB may wait
	near, far := net.Pipe()
	defer near.Close()
	p := newPeer()
	c, err := hub.AcceptWebSocket(hijackable{conn: far}, ws.Handshake{Key: "dGhlIHNhbXBsZSBub25jZQ=="}, p)
	if err != nil {
		t.Fatal(err)
	}
	c.Start()
	go func() {
		flood := make([]byte, 0, 6*100)
		for range 100 {
			flood = ws.AppendMasked(flood, ws.Ping, true, false, [4]byte{}, nil)
		}
		for range pings / 100 {
			if _, err := near.Write(flood); err != nil {
				return
			}
		}
		near.Close()
	}()
	if cause := receive(t, p.closed); !errors.Is(cause, transport.ErrSlow) {
		t.Errorf("the connection ended with %v", cause)
	}
}
