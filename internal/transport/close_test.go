package transport_test

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// A hijackable is a ResponseWriter whose Hijack returns one end of a pipe.
type hijackable struct {
	http.ResponseWriter
	conn net.Conn
}

func (h hijackable) Header() http.Header { return http.Header{} }

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// A client that accepts one write after the other, each just in time, does not keep the
// connection open for longer than CloseTimeout.
func TestCloseHasOneLimitForAllWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.PingInterval = time.Hour
		hub := transport.NewHub(cfg)
		near, far := net.Pipe()
		p := newPeer()
		c, err := hub.AcceptWebSocket(hijackable{conn: far}, ws.Handshake{Key: "dGhlIHNhbXBsZSBub25jZQ=="}, p)
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		for range 15 {
			c.Send(frame(string(make([]byte, 64<<10))))
		}
		c.Close(ws.CloseNormal, "", transport.ErrClosed)
		began := time.Now()
		for buf := make([]byte, 128<<10); err == nil; _, err = near.Read(buf) {
			time.Sleep(cfg.CloseTimeout - time.Second)
		}
		// One CloseTimeout to receive the last frame, and another one until the sleeping
		// client detects it.
		if took := time.Since(began); took > 2*cfg.CloseTimeout {
			t.Errorf("the connection was there for another %v", took)
		}
		if err := hub.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
