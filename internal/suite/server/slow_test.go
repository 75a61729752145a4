package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

// A client that reads without pause is never slow, whatever the transport and the
// number of processors, even if a handler sends more than WithOutboxSize at once.
func TestFault11_ClientThatReadsIsNotSlow(t *testing.T) {
	for _, procs := range []int{1, 2} {
		for _, burst := range []struct{ replies, size int }{{1, 1100 << 10}, {2500, 1 << 10}} {
			for _, filtered := range []bool{false, true} {
				for name, connect := range map[string]func(*testing.T, *httptest.Server) io.Reader{
					"TCP": joinWebSocket, "TLS": joinWebSocket, "HTTP/2": joinStream,
				} {
					t.Run(fmt.Sprintf("%d processors, %d replies, filtered %t, %s", procs, burst.replies, filtered, name), func(t *testing.T) {
						defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
						p := pond.New(pond.WithLogger(kit.Silent))
						l := p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
							payload := map[string]string{"text": strings.Repeat("x", burst.size)}
							err := ctx.Accept()
							for range burst.replies {
								err = errors.Join(err, ctx.Reply("burst", payload))
							}
							return errors.Join(err, ctx.Reply("finished", nil))
						})
						if filtered {
							l.OnOutgoing("burst", func(*pond.OutgoingContext) error { return nil })
						}
						left := make(chan pond.LeaveReason, 1)
						l.OnLeave(func(ctx *pond.LeaveContext) error {
							left <- ctx.Reason()
							return nil
						})
						srv := httptest.NewUnstartedServer(p)
						srv.EnableHTTP2 = name == "HTTP/2"
						if name == "TCP" {
							srv.Start()
						} else {
							srv.StartTLS()
						}
						defer srv.Close()
						defer srv.CloseClientConnections()
						if err := readUntil(connect(t, srv), `"finished"`); err != nil {
							t.Errorf("the client did not receive all messages: %.200v", err)
							select {
							case reason := <-left:
								t.Errorf("it left: %s", reason)
							default:
							}
						}
					})
				}
			}
		}
	}
}

// readUntil reads until what arrives.
func readUntil(r io.Reader, what string) error {
	buf, kept := make([]byte, 64<<10), 0
	for {
		n, err := r.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], []byte(what)) {
			return nil
		}
		if err != nil {
			return err
		}
		end := kept + n
		kept = copy(buf, buf[max(0, end-len(what)):end])
	}
}

func joinWebSocket(t *testing.T, srv *httptest.Server) io.Reader {
	conn := dialServer(t, srv, srv.TLS != nil)
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write(append([]byte(handshake), masked(ws.Text, kit.JoinMessage(1))...)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func joinStream(t *testing.T, srv *httptest.Server) io.Reader {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP2(true)
	return joinStreamWith(t, srv, transport)
}

// joinStreamWith joins with an event stream, and a transport of its own.
func joinStreamWith(t *testing.T, srv *httptest.Server, transport *http.Transport) io.Reader {
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	t.Cleanup(transport.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), kit.Patience)
	t.Cleanup(cancel)
	request := func(method, body string, header ...string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, method, srv.URL+"/socket", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(header[0], header[1])
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	stream := request(http.MethodGet, "", "Accept", "text/event-stream")
	posted := request(http.MethodPost, kit.JoinMessage(1), "X-Connection-ID", stream.Header.Get("X-Connection-ID"))
	if posted.StatusCode != http.StatusNoContent {
		t.Fatalf("POST: status %d", posted.StatusCode)
	}
	return stream.Body
}

// A client that does not read is disconnected within two seconds, and no sooner than
// one second after more than WithOutboxSize was queued for it.
func TestFault11_ClientThatDoesNotReadIsSlow(t *testing.T) {
	const outbox = 64 << 10
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p, e, l := kit.NewPond(pond.WithOutboxSize(outbox))
			var left chan time.Time
			l.OnLeave(func(ctx *pond.LeaveContext) error {
				if ctx.Reason() != pond.LeaveSlow {
					t.Errorf("the client left: %s", ctx.Reason())
				}
				left <- time.Now()
				return nil
			})
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				left = make(chan time.Time, 1)
				s := d.Connect(tr, "/socket")
				s.Join("/chat/1", nil)
				s.Stall()
				ch, _ := e.Channel("/chat/1")
				payload := map[string]string{"text": strings.Repeat("x", 1<<10)}
				for range 3 * outbox >> 10 {
					if err := ch.Broadcast("tick", payload); err != nil {
						t.Fatal(err)
					}
				}
				full := time.Now()
				synctest.Wait()
				if len(left) > 0 {
					t.Fatal("the client was disconnected at once")
				}
				if took := (<-left).Sub(full); took < time.Second || took > 2*time.Second {
					t.Errorf("the client was disconnected after %v", took)
				}
			})
		})
	}
}

// At four times WithOutboxSize, a reply fails and a broadcast disconnects the client.
func TestFault11_FullOutbox(t *testing.T) {
	const outbox = 64 << 10
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p, _, l := kit.NewPond(pond.WithOutboxSize(outbox))
			var replies chan int
			payload := map[string]string{"text": strings.Repeat("x", 1<<10)}
			l.OnMessage("flood", func(ctx *pond.EventContext) error {
				for n := 0; ; n++ {
					if err := ctx.Reply("burst", payload); errors.Is(err, pond.ErrOverloaded) {
						replies <- n
						return nil
					} else if err != nil || n > 1000 {
						return fmt.Errorf("reply %d: %w", n, err)
					}
				}
			})
			left := make(chan pond.LeaveReason, 2)
			l.OnLeave(func(ctx *pond.LeaveContext) error {
				left <- ctx.Reason()
				return nil
			})
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				replies = make(chan int, 1)
				s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
				s.Join("/chat/1", nil)
				other.Join("/chat/1", nil)
				s.Stall()
				s.Send("/chat/1", "flood", nil)
				if n := <-replies; n<<10 < 3*outbox || n<<10 > 5*outbox {
					t.Errorf("%d replies of 1 KiB were queued, with an outbox of %d bytes", n, outbox)
				}
				synctest.Wait() // what the network takes
				s.Send("/chat/1", "flood", nil)
				<-replies
				if len(left) > 0 {
					t.Fatalf("a reply disconnected the client: %s", <-left)
				}
				other.Send("/chat/1", "say", map[string]string{"text": strings.Repeat("x", 2<<10)})
				other.Expect("said")
				synctest.Wait()
				if len(left) != 1 {
					t.Fatal("a broadcast did not disconnect the client")
				}
				if reason := <-left; reason != pond.LeaveSlow {
					t.Errorf("the client left: %s", reason)
				}
				other.Close()
				<-left
			})
		})
	}
}
