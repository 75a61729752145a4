package server_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

const handshake = "GET /socket HTTP/1.1\r\nHost: pond\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func masked(op ws.Opcode, data string) []byte {
	return ws.AppendMasked(nil, op, true, false, [4]byte{1, 2, 3, 4}, []byte(data))
}

// joinSayClose is what a client sends in one write: it joins, says something, and
// ends the connection with a close frame, if it is polite.
func joinSayClose(polite bool) []byte {
	b := masked(ws.Text, kit.JoinMessage(1))
	b = append(b, masked(ws.Text, `{"action":"BROADCAST","event":"say","channelName":"/chat/1","requestId":"r","payload":{"text":"last words"}}`)...)
	if polite {
		b = append(b, masked(ws.Close, "\x03\xe8")...)
	}
	return b
}

// The messages that a client sends before it ends its connection are handled, for all ways
// to end a connection.
func TestFault09_MessagesBeforeTheEndAreHandled(t *testing.T) {
	for name, test := range map[string]struct {
		polite bool
		end    func(conn net.Conn) error // after the messages
	}{
		"close frame": {true, func(net.Conn) error { return nil }},
		"disconnect":  {false, net.Conn.Close},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %t", name, secure), func(t *testing.T) {
				events := make(chan string, 10)
				p := pond.New(pond.WithLogger(kit.Silent))
				l := p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
					events <- "join"
					return ctx.Accept()
				})
				l.OnMessage("say", func(ctx *pond.EventContext) error {
					events <- fmt.Sprintf("say, context done: %t", ctx.Err() != nil)
					return nil
				})
				l.OnLeave(func(ctx *pond.LeaveContext) error {
					events <- "leave " + string(ctx.Reason())
					return nil
				})
				srv := httptest.NewUnstartedServer(p)
				if secure {
					srv.StartTLS()
				} else {
					srv.Start()
				}
				defer srv.Close()
				conn := dialServer(t, srv, secure)
				defer conn.Close()
				// All in one write: nothing of the server's is read before.
				if _, err := conn.Write(append([]byte(handshake), joinSayClose(test.polite)...)); err != nil {
					t.Fatal(err)
				}
				if err := test.end(conn); err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{"join", "say, context done: false", "leave " + string(pond.LeaveDisconnected)} {
					select {
					case got := <-events:
						if got != want {
							t.Fatalf("got %q, want %q", got, want)
						}
					case <-time.After(kit.Patience):
						t.Fatalf("%q did not happen", want)
					}
				}
			})
		}
	}
}

// If a client ends its connection, the contexts of its handlers are canceled after its
// earlier messages are handled, at most 5 s later. If the server ends the connection, they
// are canceled at once.
func TestFault09_WhenContextsAreCancelled(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(e *pond.Endpoint, s *pondtest.Session)
		want time.Duration
	}{
		"client": {func(_ *pond.Endpoint, s *pondtest.Session) { s.SendFrame(masked(ws.Close, "\x03\xe8")) }, 5 * time.Second},
		"server": {func(e *pond.Endpoint, s *pondtest.Session) { _ = e.Disconnect(s.ID(), 0, "") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, e, l := kit.NewPond()
			var waited chan time.Duration
			var started chan struct{}
			l.OnMessage("wait", func(ctx *pond.EventContext) error {
				close(started)
				began := time.Now()
				<-ctx.Done()
				waited <- time.Since(began)
				return nil
			})
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				waited, started = make(chan time.Duration, 1), make(chan struct{}) // in the bubble
				s := d.Connect(pondtest.WebSocket, "/socket")
				s.Join("/chat/1", nil)
				s.Send("/chat/1", "wait", nil)
				<-started
				test.end(e, s)
				if got := <-waited; got != test.want {
					t.Errorf("the context was cancelled after %v, want %v", got, test.want)
				}
				synctest.Wait()
				if n := e.Len(); n != 0 {
					t.Errorf("%d clients are connected", n)
				}
			})
		})
	}
}

// A connection's slot is given back when its socket is closed, not when the server
// decides to end the connection: a client could keep any number of sockets open.
func TestFault07_SlotIsHeldUntilTheSocketIsClosed(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %t", secure), func(t *testing.T) {
			left := make(chan struct{}, 10)
			p := pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(&pond.Observer{
				Disconnected: func(*pond.Endpoint, string, pond.Transport, error) { left <- struct{}{} },
			}))
			ids := make(chan string, 100)
			e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
				ids <- ctx.UserID()
				return ctx.Accept()
			}, pond.WithMaxConns(1), pond.WithCloseTimeout(time.Hour))
			srv := httptest.NewUnstartedServer(p)
			if secure {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			connect := func() (net.Conn, int) {
				conn := dialServer(t, srv, secure)
				if _, err := io.WriteString(conn, handshake); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				return conn, resp.StatusCode
			}
			first, status := connect() // does not answer the close frame
			defer first.Close()
			if status != http.StatusSwitchingProtocols {
				t.Fatalf("status %d", status)
			}
			if err := e.Disconnect(<-ids, 0, ""); err != nil {
				t.Fatal(err)
			}
			<-left
			second, status := connect()
			second.Close()
			if status != http.StatusServiceUnavailable {
				t.Errorf("status %d while the socket of the first client is open", status)
			}
			first.Close()
			kit.Eventually(t, "another client is accepted", func() bool {
				another, status := connect()
				another.Close()
				return status == http.StatusSwitchingProtocols
			})
		})
	}
}

func dialServer(t *testing.T, srv *httptest.Server, secure bool) net.Conn {
	t.Helper()
	addr := srv.Listener.Addr().String()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(kit.Patience))
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return conn
}
