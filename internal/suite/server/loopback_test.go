package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// These tests use real sockets, which take a different path through the transport
// than pipes. They wait for events, with a timeout that only a failure reaches.

// Promise 4: 1,000 clients close their connections properly and 1,000 do not. Each
// client leaves once, and no goroutine or connection remains.
func TestPromiseThousandEnds(t *testing.T) {
	const n = 1000
	var left atomic.Int32
	p, e, l := kit.NewPond(kit.NoPings())
	l.OnLeave(func(ctx *pond.LeaveContext) error {
		if ctx.Reason() != pond.LeaveDisconnected {
			t.Errorf("reason %s", ctx.Reason())
		}
		left.Add(1)
		return nil
	})
	server := httptest.NewServer(p)
	defer server.Close()
	base := runtime.NumGoroutine()
	for name, end := range map[string]func(net.Conn) error{
		"close": func(c net.Conn) error {
			_, err := c.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8})
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, c) // until the server closes its side
			return errors.Join(err, c.Close())
		},
		"reset": func(c net.Conn) error {
			return errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close())
		},
	} {
		left.Store(0)
		conns := kit.Clients(t, server.Listener.Addr().String(), n)
		if e.Len() != n {
			t.Fatalf("%s: %d are connected", name, e.Len())
		}
		var wg sync.WaitGroup
		for _, c := range conns {
			wg.Go(func() {
				if err := end(c); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
		kit.Eventually(t, name+": all have left", func() bool { return left.Load() >= n && e.Len() == 0 })
		kit.Eventually(t, name+": no goroutine is left", func() bool { return runtime.NumGoroutine() <= base+2 })
		if left.Load() != n {
			t.Errorf("%s: %d leave handlers ran", name, left.Load())
		}
		if _, ok := e.Channel("/chat/1"); ok {
			t.Errorf("%s: the channel still exists", name)
		}
	}
}

// There is no raw access to TLS connections: the transport reads and writes them
// through net.Conn.
func TestOverTLS(t *testing.T) {
	p, e, _ := kit.NewPond()
	server := httptest.NewTLSServer(p)
	defer server.Close()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), server.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := kit.Join(conn, 1); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	ch, _ := e.Channel("/chat/1")
	for i := range 100 {
		if err := ch.Broadcast(fmt.Sprint("event-", i), nil); err != nil {
			t.Fatal(err)
		}
		if err := kit.Expect(r, fmt.Sprintf(`"event-%d"`, i)); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Shutdown(t.Context()) }()
	if goodbye, err := io.ReadAll(r); err != nil || !strings.HasSuffix(string(goodbye), "\x88\x16\x03\xe9server shutting down") {
		t.Errorf("ended with %q, %v", goodbye, err)
	}
	conn.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Serve shuts down in the right order: the listener, the clients, the server.
func TestServe(t *testing.T) {
	p, _, l := kit.NewPond()
	var reason atomic.Value
	l.OnLeave(func(ctx *pond.LeaveContext) error { reason.Store(ctx.Reason()); return nil })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	srv := &http.Server{}
	go func() { ended <- p.Serve(ctx, srv, listener) }()
	client := kit.Clients(t, addr, 1)[0]
	defer client.Close()
	stream, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	fmt.Fprint(stream, "GET /socket HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(stream), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	stop()
	goodbye, err := io.ReadAll(client)
	if err != nil || len(goodbye) < 4 || string(goodbye[2:4]) != "\x03\xe9" {
		t.Errorf("the WebSocket ended with %q, %v", goodbye, err)
	}
	client.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	stream.Close()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(kit.Patience):
		t.Fatal("Serve did not return")
	}
	if reason.Load() != pond.LeaveShutdown {
		t.Errorf("reason %v", reason.Load())
	}
	if srv.ReadHeaderTimeout == 0 {
		t.Error("there is no limit on the time for headers")
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the server still listens")
	}
}

func TestListenAndServeReportsATakenPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := pond.New().ListenAndServe(t.Context(), &http.Server{Addr: listener.Addr().String()}); err == nil {
		t.Error("no error")
	}
}

// Over HTTP/2, and behind a wrapper that does not support Hijack, event streams use
// the handler's ResponseWriter.
func TestStreamsThatCannotBeTakenOver(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"HTTP/2": func(h http.Handler) http.Handler { return h },
		"wrapper": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(flushOnly{w, w.(http.Flusher)}, r)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, e, _ := kit.NewPond()
			server := httptest.NewUnstartedServer(wrap(p))
			server.EnableHTTP2 = name == "HTTP/2"
			server.StartTLS()
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), kit.Patience)
			defer cancel()
			do := func(method, body string, headers ...string) *http.Response {
				req := kit.Request(method, server.URL+"/socket", body, headers...).WithContext(ctx)
				resp, err := server.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				return resp
			}
			resp := do("GET", "", "Accept: text/event-stream")
			if want := map[string]int{"HTTP/2": 2, "wrapper": 1}[name]; resp.ProtoMajor != want {
				t.Fatalf("HTTP/%d", resp.ProtoMajor)
			}
			id := resp.Header.Get("X-Connection-ID")
			push := func(message string) {
				r := do("POST", message, "X-Connection-ID: "+id)
				defer r.Body.Close()
				if r.StatusCode != http.StatusNoContent {
					t.Fatal(r.Status)
				}
			}
			stream := bufio.NewScanner(resp.Body)
			expect := func(event string) {
				t.Helper()
				for stream.Scan() {
					if stream.Text() == "event: "+event {
						return
					}
				}
				t.Fatalf("no %s: %v", event, stream.Err())
			}
			expect("CONNECTION")
			push(kit.JoinMessage(1))
			expect("ACKNOWLEDGE")
			push(`{"action":"BROADCAST","event":"say","channelName":"/chat/1","requestId":"","payload":{}}`)
			expect("said")
			if err := p.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Errorf("the stream ended with %v", err)
			}
			if e.Len() != 0 {
				t.Error("the client is still connected")
			}
		})
	}
}

// flushOnly is a ResponseWriter that supports Flush but not Hijack, as some
// middlewares make it.
type flushOnly struct {
	http.ResponseWriter
	http.Flusher
}

func (flushOnly) Unwrap() {} // hides the wrapped writer

// The server notices at once that a client disconnects, even if only the request's
// context reports it.
func TestHTTP2DisconnectIsNoticed(t *testing.T) {
	p, e, _ := kit.NewPond()
	server := httptest.NewUnstartedServer(p)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	req := kit.Request("GET", server.URL+"/socket", "", "Accept: text/event-stream").WithContext(ctx)
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	kit.Eventually(t, "connected", func() bool { return e.Len() == 1 })
	leave()
	kit.Eventually(t, "disconnected", func() bool { return e.Len() == 0 })
}

// A WebSocket behind such a wrapper is rejected, and the log names the wrapper.
func TestWebSocketThatCannotBeTakenOver(t *testing.T) {
	p, e, _ := kit.NewPond()
	w := httptest.NewRecorder()
	p.ServeHTTP(flushOnly{w, w}, kit.Request("GET", "/socket", "", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status %d", w.Code)
	}
	if err := p.Shutdown(t.Context()); err != nil || e.Len() != 0 {
		t.Errorf("Shutdown: %v", err)
	}
}

// Code that keeps a *Channel gets an error after the channel ended, even if a new
// channel has the same name.
func TestChannelThatHasEndedIsClosed(t *testing.T) {
	p, e, _ := kit.NewPond()
	server := httptest.NewServer(p)
	defer server.Close()
	addr := server.Listener.Addr().String()
	first, err := kit.Joined(addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	ch, ok := e.Channel("/chat/1")
	if !ok {
		t.Fatal("no channel")
	}
	first.Close()
	kit.Eventually(t, "the client is gone", func() bool { return e.Len() == 0 })
	second, err := kit.Joined(addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := ch.Broadcast("news", nil); !errors.Is(err, pond.ErrClosed) {
		t.Errorf("a broadcast to a closed channel returned %v", err)
	}
}

// The write timeout applies to writes, not to the time between them. Over HTTP/2, a
// write deadline that passes resets a stream even if nothing is being written.
func TestHTTP2StreamOutlivesTheWriteTimeout(t *testing.T) {
	p, _, _ := kit.NewPond(pond.WithWriteTimeout(500*time.Millisecond), pond.WithPingInterval(time.Second))
	server := httptest.NewUnstartedServer(p)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	ctx, leave := context.WithTimeout(t.Context(), kit.Patience)
	defer leave()
	resp, err := server.Client().Do(kit.Request("GET", server.URL+"/socket", "", "Accept: text/event-stream").WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := bufio.NewScanner(resp.Body)
	for stream.Scan() {
		if stream.Text() == ": keepalive" { // arrives long after the deadline of the last write
			return
		}
	}
	t.Fatalf("the stream ended: %v", stream.Err())
}
