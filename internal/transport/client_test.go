package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// A server serves one hub on loopback: real sockets, direct reads and writes.
type server struct {
	*httptest.Server
	hub   *transport.Hub
	conns chan *peer // accepted, in order
	onMsg func(p *peer, data []byte)

	onStream func(*transport.Conn) // is called with streams that are not open; may be nil

	writes *atomic.Int64 // counts the direct writes of all WebSockets; may be nil
	reads  *atomic.Int64 // counts the direct reads of all streams; may be nil
}

// A peer is the server's end of a connection, as its Receiver.
type peer struct {
	server *server
	*transport.Conn
	msgs     chan string
	broken   chan *ws.CloseError
	closed   chan error
	end      transport.End // valid after a receive from closed
	released chan struct{} // closed by Released
}

func newPeer() *peer {
	return &peer{
		msgs: make(chan string, 1000), broken: make(chan *ws.CloseError, 1), closed: make(chan error, 2),
		released: make(chan struct{}),
	}
}

func (p *peer) Message(_ *transport.Conn, data []byte) {
	if p.server.onMsg != nil {
		p.server.onMsg(p, data)
		return
	}
	p.msgs <- string(data)
}
func (p *peer) Process(*transport.Conn)                       {}
func (p *peer) Invalid(_ *transport.Conn, err *ws.CloseError) { p.broken <- err }
func (p *peer) Released(*transport.Conn)                      { close(p.released) }

func (p *peer) Closed(_ *transport.Conn, end transport.End) {
	p.end = end
	p.closed <- end.Cause
}

func testConfig() transport.Config {
	return transport.Config{
		MaxMessage: 1 << 20, MaxFragments: 100, OutboxBytes: 1 << 20, Backlog: 4 << 20,
		WriteTimeout: 10 * time.Second, CloseTimeout: 5 * time.Second, PingInterval: time.Minute,
		CompressFrom: 128,
	}
}

func serve(t testing.TB, cfg transport.Config) *server {
	return serveWith(t, cfg, (*httptest.Server).Start)
}

// serveWith serves as start does: over TCP, TLS or HTTP/2.
func serveWith(t testing.TB, cfg transport.Config, start func(*httptest.Server)) *server {
	s := &server{hub: transport.NewHub(cfg), conns: make(chan *peer, 20000)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := newPeer()
		p.server = s
		if ws.IsUpgrade(r) {
			h, bad := ws.ParseHandshake(r, cfg.Compress)
			if bad != nil {
				http.Error(w, bad.Message, bad.Status)
				return
			}
			c, err := s.hub.AcceptWebSocket(w, h, p)
			if err != nil {
				t.Error(err)
				return
			}
			p.Conn = c
			if s.writes != nil {
				c.CountWrites(s.writes)
			}
			c.Start()
			s.conns <- p
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		c := s.hub.NewStream(transport.StreamOptions{Named: r.URL.Query().Has("named")}, p)
		if s.onStream != nil {
			s.onStream(c)
		}
		taken, err := c.Open(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		p.Conn = c
		if s.reads != nil {
			c.CountReads(s.reads)
		}
		if !taken {
			if err := c.SendHeader(); err != nil {
				t.Error(err)
			}
		}
		c.Start()
		s.conns <- p
		if !taken {
			c.Serve(r.Context())
		}
	}))
	start(s.Server)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.hub.Wait(ctx); err != nil {
			t.Error("goroutines of the hub are left")
		}
	})
	return s
}

// A client is a WebSocket client.
type client struct {
	net.Conn
	t   testing.TB
	br  *bufio.Reader
	dec ws.Decoder
	got []string
	end *ws.CloseError
}

func dial(t testing.TB, s *server, header string) *client {
	return dialWith(t, s, header, "")
}

// dialWith sends early together with the handshake.
func dialWith(t testing.TB, s *server, header, early string) *client {
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return dialOver(t, conn, header, early)
}

// dialOver dials on a connection.
func dialOver(t testing.TB, conn net.Conn, header, early string) *client {
	t.Cleanup(func() { conn.Close() })
	c := &client{Conn: conn, t: t, br: bufio.NewReader(conn)}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n%s", header, early)
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", res.StatusCode)
	}
	c.dec.Init(&ws.Config{}, ws.Client, res.Header.Get("Sec-WebSocket-Extensions") != "")
	return c
}

func (c *client) Message(_ ws.Opcode, data []byte) error {
	c.got = append(c.got, string(data))
	return nil
}

func (c *client) Control(op ws.Opcode, data []byte) error {
	if op == ws.Ping {
		_, err := c.Write(ws.AppendMasked(nil, ws.Pong, true, false, [4]byte{1, 2, 3, 4}, data))
		return err
	}
	c.got = append(c.got, "pong "+string(data))
	return nil
}

func (c *client) PeerClosed(code int, reason string) error {
	c.end = &ws.CloseError{Code: code, Reason: reason}
	return nil
}

func (c *client) send(text string) {
	c.t.Helper()
	c.sendFrame(ws.Text, text)
}

func (c *client) sendFrame(op ws.Opcode, text string) {
	c.t.Helper()
	if _, err := c.Write(ws.AppendMasked(nil, op, true, false, [4]byte{1, 2, 3, 4}, []byte(text))); err != nil {
		c.t.Fatal(err)
	}
}

// read reads until done returns true or the connection ends.
func (c *client) read(done func() bool) error {
	c.t.Helper()
	buf := make([]byte, 64<<10)
	for !done() {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := c.br.Read(buf)
		if err != nil {
			return err
		}
		if err := c.dec.Feed(buf[:n], c); err != nil {
			c.t.Fatal(err)
		}
	}
	return nil
}

// next returns the next message.
func (c *client) next() string {
	c.t.Helper()
	if err := c.read(func() bool { return len(c.got) > 0 }); err != nil {
		c.t.Fatal(err)
	}
	msg := c.got[0]
	c.got = c.got[1:]
	return msg
}

// closed waits for the close frame and for the end of the connection.
func (c *client) closed() *ws.CloseError {
	c.t.Helper()
	if err := c.read(func() bool { return c.end != nil }); err != nil {
		c.t.Fatal("no close frame: ", err)
	}
	if err := c.read(func() bool { return false }); !errors.Is(err, io.EOF) {
		c.t.Fatal("after the close frame: ", err)
	}
	return c.end
}

func frame(text string) *transport.Frame {
	return transport.NewFrame("said", append(make([]byte, transport.Headroom), text...))
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came in 20 s")
		panic("unreachable")
	}
}

// openStream opens an event stream and returns the response's head and body.
func openStream(t testing.TB, s *server, proto, query string) (*http.Response, net.Conn) {
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /%s %s\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n", query, proto)
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res, conn
}

// readBytes reads exactly len(want) bytes.
func readBytes(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, []byte(want)) {
		t.Fatalf("got %q, want %q", got, want)
	}
}
