package pondclient_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondclient"
)

// A stream that is cut off silently is noticed although POSTs, which use another
// network connection, still work.
func TestRequirement5AStreamThatIsDeafWhilePostsWork(t *testing.T) {
	onSite(t, chat(), func(t *testing.T, s *site, over pondclient.Transport) {
		if over == pondclient.WebSocket {
			return
		}
		c, l := s.client(over)
		ch, events := member(t, c)
		synctest.Wait()
		l.conns[0].Unplug() // that of the stream
		before := time.Now()
		if err := ch.Send("say", greeting{"x"}); err != nil {
			t.Fatal(err)
		}
		for range 300 {
			time.Sleep(time.Second)
			if strings.Contains(events.take(), "gap:fresh") {
				break
			}
		}
		if d := time.Since(before); d > 2*time.Minute {
			t.Errorf("noticed after %v", d)
		}
	})
}

// HTTP/2 has one network connection for everything. When it is dead, the next attempt
// must not use it again.
func TestRequirement5ADeadConnectionOfHTTP2(t *testing.T) {
	certified := httptest.NewTLSServer(http.NotFoundHandler())
	certified.Close()
	roots := certified.Client().Transport.(*http.Transport).TLSClientConfig
	synctest.Test(t, func(t *testing.T) {
		p, _ := chat()()
		var protocols []string
		listener := pipenet.Listen(0)
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				protocols = append(protocols, r.Method+" "+r.Proto)
				p.ServeHTTP(w, r)
			}),
			TLSConfig: &tls.Config{Certificates: certified.TLS.Certificates}, ReadHeaderTimeout: time.Minute,
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
		}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.ServeTLS(listener, "", "") })
		defer serving.Wait()
		defer server.Close()
		defer func() { _ = p.Shutdown(within(t, time.Minute)) }()
		var conns []*pipenet.Conn
		c, err := pondclient.Dial(within(t, time.Minute), "https://example.com/socket", overStream, pondclient.WithTLSConfig(roots),
			pondclient.WithLogger(quiet), pondclient.WithProxy(nil), pondclient.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
				c, err := listener.Dial(ctx)
				conns = append(conns, c)
				return c, err
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { closeNow(t, c) }()
		defer func() {
			for _, c := range conns {
				c.Reset() // those that were unplugged do not end by themselves
			}
		}()
		ch, events := member(t, c)
		time.Sleep(2 * time.Minute) // the client knows the heartbeats
		for n := range 3 {
			if len(conns) != n+1 {
				t.Fatalf("%d network connections, %q", len(conns), protocols)
			}
			conns[n].Unplug()
			before := time.Now()
			for !strings.Contains(events.take(), "gap:fresh") {
				if time.Sleep(time.Second); time.Since(before) > 5*time.Minute {
					t.Fatalf("it does not connect again: %q", protocols)
				}
			}
			if d := time.Since(before); d > 2*time.Minute {
				t.Errorf("connected again after %v", d)
			}
			if err := ch.Send("say", greeting{"x"}); err != nil {
				t.Fatal(err)
			}
			events.is("said")
		}
		if protocols[0] != "GET HTTP/2.0" || protocols[1] != "POST HTTP/2.0" {
			t.Errorf("%q", protocols)
		}
	})
}

// Advice counts for the end that it announces, and not for one hours later.
func TestOldAdvice(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		_, s := f.connected()
		s.send("SYSTEM", "RECONNECT", "ENDPOINT", "x", `{"after":500000,"reason":"shutdown"}`, "")
		time.Sleep(5 * time.Hour)
		before := time.Now()
		s.cut()
		f.welcome()
		if d := time.Since(before); d > 5*time.Second {
			t.Errorf("connected after %v", d)
		}
	})
}

// A POST in progress when its connection ends.
func TestRequirement44APostThatIsAborted(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client(overStream)
		s := f.welcome()
		ch := enter(t, c, s, room, `{}`)
		f.postWith(func(r *http.Request, _ string) int {
			<-r.Context().Done()
			return http.StatusGone
		})
		for range 5 {
			asked := background(func() error { _, err := ch.Request(t.Context(), "x", nil); return err })
			synctest.Wait()
			s.cut()
			isError(t, <-asked, pondclient.ErrUnknownOutcome)
			s = f.accept()
			f.postWith(nil)
			s.welcome()
			s.join(`{}`)
			f.postWith(func(r *http.Request, _ string) int {
				<-r.Context().Done()
				return http.StatusGone
			})
		}
		asked := background(func() error { _, err := ch.Request(t.Context(), "x", nil); return err })
		synctest.Wait()
		closeNow(t, c)
		isError(t, <-asked, pondclient.ErrUnknownOutcome)
	})
}

// A handshake that ends at any byte, in any way, is one more attempt.
func TestHandshakesThatEndEarly(t *testing.T) {
	ends := map[string]func(c *pipenet.Conn){
		"closed": func(c *pipenet.Conn) { c.Close() },
		"reset":  func(c *pipenet.Conn) { c.Reset() },
		"silent": func(*pipenet.Conn) {},
	}
	for _, over := range bothTransports {
		for name, end := range ends {
			t.Run(string(over)+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					listener := pipenet.Listen(0)
					defer listener.Close()
					whole := make(chan struct{})
					var serving sync.WaitGroup
					defer serving.Wait()
					serving.Go(func() {
						for cut := 0; ; cut++ {
							conn, err := listener.Accept()
							if err != nil {
								return
							}
							req, err := http.ReadRequest(bufio.NewReader(conn))
							if err != nil {
								conn.Close()
								return
							}
							text := `{"action":"CONNECT","event":"CONNECTION","channelName":"ENDPOINT","requestId":"x","payload":{"id":"u"}}`
							answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: " + text + "\n\n")
							if over == pondclient.WebSocket {
								h, _ := ws.ParseHandshake(req, false)
								answer = ws.AppendFrame(ws.AppendSwitchingProtocols(nil, h, nil), ws.Text, false, []byte(text))
							}
							_, _ = conn.Write(answer[:min(cut, len(answer))])
							if cut == len(answer) {
								close(whole)
								_, _ = io.Copy(io.Discard, conn)
								conn.Close()
								return
							}
							end(conn.(*pipenet.Conn))
							if name == "silent" {
								serving.Go(func() { // until the client gives up
									_, _ = io.Copy(io.Discard, conn)
									conn.Close()
								})
							}
						}
					})
					c, err := pondclient.Dial(within(t, 24*time.Hour), "ws://example.com/socket", pondclient.WithTransport(over), pondclient.WithLogger(quiet), pondclient.WithProxy(nil),
						pondclient.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) { return listener.Dial(ctx) }))
					if err != nil {
						t.Fatal(err)
					}
					<-whole
					closeNow(t, c)
				})
			})
		}
	}
}

// Close, Leave and further joins from inside a loop over events.
func TestCallsFromALoopOverEvents(t *testing.T) {
	onSite(t, chat(), func(t *testing.T, s *site, over pondclient.Transport) {
		c, _ := s.client(over)
		ch, err := c.Join(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := ch.Send("say", greeting{"x"}); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for _, err := range ch.Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			switch n++; n {
			case 1:
				if _, err := ch.Request(t.Context(), "ask", greeting{"x"}); err != nil {
					t.Error(err)
				}
				other, err := c.Join(t.Context(), "/chat/2")
				if err != nil {
					t.Fatal(err)
				}
				if err := other.Leave(t.Context()); err != nil {
					t.Error(err)
				}
				for _, err := range ch.Events(t.Context()) {
					isError(t, err, pondclient.ErrInUse)
				}
			case 2:
				if err := c.Close(t.Context()); err != nil {
					t.Error(err)
				}
			default:
				t.Error("an event after Close")
			}
		}
		if n != 2 {
			t.Errorf("%d events", n)
		}
	})
}
