package transport_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// pipe returns a started WebSocket over a pipe, and the client's end of it.
func pipe(t *testing.T, cfg transport.Config, conn func(net.Conn) net.Conn) (*peer, net.Conn, *transport.Hub) {
	t.Helper()
	hub := transport.NewHub(cfg)
	near, far := net.Pipe()
	p := newPeer()
	if conn != nil {
		far = conn(far)
	}
	c, err := hub.AcceptWebSocket(hijackable{conn: far}, ws.Handshake{Key: "dGhlIHNhbXBsZSBub25jZQ=="}, p)
	if err != nil {
		t.Fatal(err)
	}
	p.Conn = c
	c.Start()
	if _, err := http.ReadResponse(bufio.NewReader(near), nil); err != nil {
		t.Fatal(err)
	}
	return p, near, hub
}

// Data that a client sends after the server closed the connection is not decoded, and
// little of it is read.
func TestFault08_LittleIsReadAfterClose(t *testing.T) {
	const most = 2 << 20
	cfg := testConfig()
	cfg.CloseTimeout = time.Hour
	cfg.PingInterval = 24 * time.Hour
	broken := bytes.Repeat([]byte{0x81, 0x81, 1, 2, 3, 4, 0xff}, 1000) // not UTF-8
	for name, first := range map[string][]byte{
		"broken frames":  broken,
		"messages":       bytes.Repeat(ws.AppendMasked(nil, ws.Text, true, false, [4]byte{1}, []byte("x")), 1000),
		"a broken frame": {0x81, 0x01, 'x'}, // not masked: the server closes the connection
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, near, hub := pipe(t, cfg, nil)
				if name != "a broken frame" {
					p.Close(ws.CloseNormal, "", transport.ErrClosed)
				} else if _, err := near.Write(first); err != nil {
					t.Fatal(err)
				}
				frame := make([]byte, 125)
				if _, err := near.Read(frame); err != nil || frame[0] != 0x88 {
					t.Fatalf("got %x, %v; want a close frame", frame[0], err)
				}
				msgs, invalid := len(p.msgs), len(p.broken)
				sent := 0
				for sent < 2*most {
					n, err := near.Write(broken)
					if sent += n; err != nil {
						break
					}
				}
				if sent > most {
					t.Errorf("the server read %d bytes after its close frame", sent)
				}
				near.Close()
				synctest.Wait()
				if len(p.msgs) != msgs || len(p.broken) != invalid {
					t.Errorf("%d messages, %d errors after the close frame", len(p.msgs)-msgs, len(p.broken)-invalid)
				}
				if err := hub.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A client that answers the server's close frame need not close its side, even if it
// was in the middle of a message.
func TestAnswerToCloseEndsTheConnection(t *testing.T) {
	cfg := testConfig()
	cfg.CloseTimeout = time.Hour
	for _, middle := range []bool{false, true} {
		t.Run(fmt.Sprintf("in the middle of a message: %t", middle), func(t *testing.T) {
			s := serve(t, cfg)
			c := dial(t, s, "")
			p := receive(t, s.conns)
			if middle {
				_, _ = c.Write(ws.AppendMasked(nil, ws.Text, false, false, [4]byte{1}, []byte("begun")))
				c.sendFrame(ws.Ping, "")
				c.next() // so the server read it
			}
			p.Close(ws.CloseGoingAway, "", transport.ErrClosed)
			if err := c.read(func() bool { return c.end != nil }); err != nil {
				t.Fatal(err)
			}
			if middle {
				_, _ = c.Write(ws.AppendMasked(nil, ws.Continuation, true, false, [4]byte{1}, []byte(" and ended")))
			}
			c.sendFrame(ws.Close, "\x03\xe9")
			receive(t, p.released)
			if len(p.msgs) > 0 {
				t.Error("a message arrived after the close frame")
			}
		})
	}
}

// The client of an event stream may keep its side of the connection open when the
// stream ends, for further requests: the server can end the stream without this.
func TestFault10_EndOfStreamDoesNotWaitForTheClient(t *testing.T) {
	cfg := testConfig()
	cfg.CloseTimeout = time.Hour
	for name, start := range map[string]func(*httptest.Server){"TCP": (*httptest.Server).Start, "TLS": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			s := serveWith(t, cfg, start)
			client := s.Client()
			res, err := client.Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close() // and does not read
			p := receive(t, s.conns)
			p.Send(frame("{}"))
			p.Close(0, "", transport.ErrClosed)
			receive(t, p.released)
		})
	}
	t.Run("pipe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			hub := transport.NewHub(cfg)
			near, far := net.Pipe()
			defer near.Close()
			p := newPeer()
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			c, _, err := hub.AcceptStream(hijackable{conn: far}, r, transport.StreamOptions{}, p)
			if err != nil {
				t.Fatal(err)
			}
			c.Start()
			c.Close(0, "", transport.ErrClosed)
			go func() {
				buf := make([]byte, 4096)
				for {
					if _, err := near.Read(buf); err != nil {
						return
					}
				}
			}()
			began := time.Now()
			<-p.released
			if took := time.Since(began); took > time.Second {
				t.Errorf("the connection was closed after %v", took)
			}
		})
	})
}

// An event stream whose client sent data waits for more without a large buffer, on
// connections that cannot be read without waiting.
func TestFault23_StreamWaitsWithoutABuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := transport.NewHub(testConfig())
		near, far := net.Pipe()
		var size atomic.Int64
		p := newPeer()
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		c, _, err := hub.AcceptStream(hijackable{conn: sizedReads{far, &size}}, r, transport.StreamOptions{}, p)
		if err != nil {
			t.Fatal(err)
		}
		c.Start()
		if _, err := http.ReadResponse(bufio.NewReader(near), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := near.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := size.Load(); n > 512 {
			t.Errorf("the stream waits with a buffer of %d bytes", n)
		}
		near.Close()
		if err := hub.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// sizedReads records the size of the buffer of the last read.
type sizedReads struct {
	net.Conn
	size *atomic.Int64
}

func (s sizedReads) Read(b []byte) (int, error) {
	s.size.Store(int64(len(b)))
	return s.Conn.Read(b)
}
