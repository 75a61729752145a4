package attack_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// unreadServer rejects requests for every reason that there is.
func unreadServer(opts ...pond.EndpointOption) *pond.Pond {
	p := pond.New(pond.WithLogger(kit.Silent))
	opts = append(opts, pond.WithOrigins("https://good.example"), pond.WithHosts("pond"))
	p.Endpoint("/socket", kit.Accept, opts...).Lobby("/chat/:room", kit.Admit)
	p.Endpoint("/full", kit.Accept, append(opts, pond.WithMaxConns(1))...)
	p.Endpoint("/declined", func(ctx *pond.ConnectionContext) error { return ctx.Decline(http.StatusForbidden, "no") }, opts...)
	p.Endpoint("/retired", func(ctx *pond.ConnectionContext) error { return ctx.Decline(http.StatusNoContent, "") }, opts...)
	p.Endpoint("/panic", func(*pond.ConnectionContext) error { panic("hunter2") }, opts...)
	return p
}

// unreadRequests are heads of requests, without the headers of a body, with the status
// of their responses. ID stands for the connection ID of a stream.
var unreadRequests = []struct {
	name, head string
	status     int
}{
	{"no endpoint, POST", "POST /nowhere HTTP/1.1\r\nHost: pond\r\n", 404},
	{"no endpoint, GET", "GET /nowhere HTTP/1.1\r\nHost: pond\r\n", 404},
	{"no endpoint, PUT", "PUT / HTTP/1.1\r\nHost: pond\r\n", 404},
	{"host", "POST /socket HTTP/1.1\r\nHost: evil.example\r\n", 421},
	{"origin of a GET", "GET /socket HTTP/1.1\r\nHost: pond\r\nOrigin: https://evil.example\r\nAccept: text/event-stream\r\n", 403},
	{"origin of a POST", "POST /socket HTTP/1.1\r\nHost: pond\r\nOrigin: https://evil.example\r\nX-Connection-ID: ID\r\n", 403},
	{"site", "POST /socket HTTP/1.1\r\nHost: pond\r\nSec-Fetch-Site: cross-site\r\n", 403},
	{"plain GET", "GET /socket HTTP/1.1\r\nHost: pond\r\n", 404},
	{"PUT", "PUT /socket HTTP/1.1\r\nHost: pond\r\n", 405},
	{"HEAD", "HEAD /socket HTTP/1.1\r\nHost: pond\r\n", 405},
	{"preflight", "OPTIONS /socket HTTP/1.1\r\nHost: pond\r\nOrigin: https://good.example\r\n", 204},
	{"upgrade", "GET /socket HTTP/1.1\r\nHost: pond\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400},
	{"half an upgrade", "GET /socket HTTP/1.1\r\nHost: pond\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 426},
	{"declined", "GET /declined HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n", 403},
	{"declined with 204", "GET /retired HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n", 204},
	{"panic", "GET /panic HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n", 500},
	{"full", "GET /full HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n", 503},
	{"POST without an ID", "POST /socket HTTP/1.1\r\nHost: pond\r\n", 400},
	{"POST with an unknown ID", "POST /socket HTTP/1.1\r\nHost: pond\r\nX-Connection-ID: nope\r\n", 404},
	{"POST for another endpoint", "POST /declined HTTP/1.1\r\nHost: pond\r\nX-Connection-ID: ID\r\n", 404},
	{"DELETE without an ID", "DELETE /socket HTTP/1.1\r\nHost: pond\r\n", 400},
	{"DELETE with an unknown ID", "DELETE /socket HTTP/1.1\r\nHost: pond\r\nX-Connection-ID: nope\r\n", 404},
	{"DELETE", "DELETE /socket HTTP/1.1\r\nHost: pond\r\nX-Connection-ID: ID\r\n", 204},
}

// A request that is answered before its body was read keeps its connection for only a few
// seconds, for every kind of response and every way in which the body can be missing.
func TestFault16_UnreadBodiesAreCut(t *testing.T) {
	for name, body := range map[string]struct{ head, part string }{
		"silence":      {"Content-Length: 1000\r\n", ""},
		"large":        {"Content-Length: 100000000\r\n", "x"},
		"trickle":      {"Content-Length: 1000\r\n", "x"},
		"chunks":       {"Transfer-Encoding: chunked\r\n", "1\r\nx\r\n"},
		"half a chunk": {"Transfer-Encoding: chunked\r\n", ""},
		"expectation":  {"Content-Length: 1000\r\nExpect: 100-continue\r\n", ""},
	} {
		for _, request := range unreadRequests {
			t.Run(name+"/"+request.name, func(t *testing.T) {
				serveOnPipes(t, unreadServer(), 0, func(t *testing.T, dial func() net.Conn) {
					secret, _ := openStream(t, dial())
					io.WriteString(dial(), "GET /full HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n\r\n")
					synctest.Wait()
					conn := dial()
					began := time.Now()
					io.WriteString(conn, strings.ReplaceAll(request.head, "ID: ID", "ID: "+secret)+body.head+"\r\n")
					resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: strings.Fields(request.head)[0]})
					if err != nil {
						t.Fatal(err)
					}
					if waited := time.Since(began); resp.StatusCode != request.status || waited != 0 {
						t.Errorf("%s after %v, want %d at once", resp.Status, waited, request.status)
					}
					if !resp.Close || resp.Header.Get("Cache-Control") != "no-store" {
						t.Errorf("headers %v", resp.Header)
					}
					if took := ends(conn, body.part); took > 6*time.Second {
						t.Errorf("the connection was closed after %v", took)
					}
				})
			})
		}
	}
}

// A client that still sends a small body when the response arrives must not lose the
// response: the rest is read, and only then the connection is closed.
func TestFault16_SmallBodiesAreTaken(t *testing.T) {
	for name, body := range map[string]struct{ head, part string }{
		"length": {"Connection: close\r\nContent-Length: 1000\r\n", strings.Repeat("x", 500)},
		"chunks": {"Connection: close\r\nTransfer-Encoding: chunked\r\n", "1f4\r\n" + strings.Repeat("x", 500) + "\r\n"},
	} {
		for _, request := range unreadRequests {
			t.Run(name+"/"+request.name, func(t *testing.T) {
				serveOnPipes(t, unreadServer(), 0, func(t *testing.T, dial func() net.Conn) {
					secret, _ := openStream(t, dial())
					io.WriteString(dial(), "GET /full HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n\r\n")
					synctest.Wait()
					conn := dial()
					io.WriteString(conn, strings.ReplaceAll(request.head, "ID: ID", "ID: "+secret)+body.head+"\r\n")
					for range 2 {
						time.Sleep(2 * time.Second) // net/http alone closes at once if the client does not reuse the connection
						if _, err := io.WriteString(conn, body.part); err != nil {
							t.Errorf("the body was not taken: %v", err)
							return
						}
					}
					if name == "chunks" {
						io.WriteString(conn, "0\r\n\r\n")
					}
					resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: strings.Fields(request.head)[0]})
					if err != nil || resp.StatusCode != request.status || !resp.Close {
						t.Fatalf("%v, %v", resp, err)
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						t.Error(err)
					}
					if took := ends(conn, ""); took > time.Second {
						t.Errorf("the connection was closed after %v", took)
					}
				})
			})
		}
	}
}

// The same for a POST whose body is read in part, or not at all, and for a body that never
// ends: the limit is half a minute.
func TestFault16_BodiesOfPOSTsAreCut(t *testing.T) {
	for name, test := range map[string]struct {
		opts   []pond.EndpointOption
		before string // a body that another request announces and does not send
		body   string
		part   string
		status int
		after  time.Duration // of the response
	}{
		"too large":         {nil, "", "Content-Length: 2000000\r\n\r\n", "x", 413, 0},
		"too large, chunks": {nil, "", "Transfer-Encoding: chunked\r\n\r\n100001\r\n" + strings.Repeat("x", 1<<20+1), "x", 413, 0},
		"queue is full":     {[]pond.EndpointOption{pond.WithPostQueue(1, 1<<20)}, "Content-Length: 10\r\n", "Content-Length: 1000\r\n\r\n", "x", 503, 0},
		"too many bytes":    {[]pond.EndpointOption{pond.WithPostQueue(9, 1000)}, "Content-Length: 600\r\n", "Content-Length: 600\r\n\r\n", "x", 503, 0},
		"too many, chunks":  {[]pond.EndpointOption{pond.WithPostQueue(9, 1000)}, "Content-Length: 600\r\n", "Transfer-Encoding: chunked\r\n\r\n258\r\n" + strings.Repeat("x", 0x258), "x", 503, 0},
		"malformed":         {nil, "", "Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", "x", 400, 0},
		"no end":            {nil, "", "Content-Length: 1000\r\n\r\n", "x", 400, 30 * time.Second},
		"no end, chunks":    {nil, "", "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 400, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			serveOnPipes(t, unreadServer(test.opts...), 4<<20, func(t *testing.T, dial func() net.Conn) {
				secret, _ := openStream(t, dial())
				if test.before != "" {
					io.WriteString(dial(), post(secret)+test.before+"\r\n")
					synctest.Wait()
				}
				conn := dial()
				began := time.Now()
				io.WriteString(conn, post(secret)+test.body)
				var feeding sync.WaitGroup
				defer feeding.Wait()
				defer conn.Close()
				feeding.Go(func() {
					for err := error(nil); err == nil; time.Sleep(time.Second) {
						_, err = io.WriteString(conn, test.part)
					}
				})
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(began); resp.StatusCode != test.status || waited != test.after {
					t.Errorf("%s after %v, want %d after %v", resp.Status, waited, test.status, test.after)
				}
				if took := ends(conn, ""); !resp.Close || took > 6*time.Second {
					t.Errorf("headers %v; the connection was closed after %v", resp.Header, took)
				}
			})
		})
	}
}

// A connection whose requests were read to the end is reused, for all kinds of responses.
func TestFault16_ReadBodiesKeepTheirConnection(t *testing.T) {
	serveOnPipes(t, unreadServer(), 0, func(t *testing.T, dial func() net.Conn) {
		secret, _ := openStream(t, dial())
		conn := dial()
		responses := bufio.NewReader(conn)
		for i, test := range []struct {
			request string
			status  int
		}{
			{post(secret) + "Content-Length: 2\r\n\r\n{}", 204},
			{post(secret) + "Transfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n", 400},
			{"GET /nowhere HTTP/1.1\r\nHost: pond\r\n\r\n", 404},
			{post("nope") + "Content-Length: 0\r\n\r\n", 404},
			{"DELETE /socket HTTP/1.1\r\nHost: pond\r\nX-Connection-ID: nope\r\n\r\n", 404},
			{"OPTIONS /socket HTTP/1.1\r\nHost: pond\r\nOrigin: https://good.example\r\n\r\n", 204},
			{post(secret) + "Content-Length: 6\r\n\r\n{}{}{}", 204},
		} {
			io.WriteString(conn, test.request)
			resp, err := http.ReadResponse(responses, nil)
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != test.status || resp.Close {
				t.Errorf("request %d: %s, want %d; headers %v", i, resp.Status, test.status, resp.Header)
			}
			time.Sleep(time.Minute) // longer than every deadline of a body
		}
	})
}

// Over HTTP/2, such a request ends only its own stream, not the others of the connection.
func TestFault16_UnreadBodiesHarmNoOtherStream(t *testing.T) {
	kit.OnNetwork(t, unreadServer(), "HTTP/2", func(t *testing.T, client *http.Client, _ func() net.Conn) {
		open, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://pond/socket", nil)
		open.Header.Set("Accept", "text/event-stream")
		stream, err := client.Do(open)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Body.Close()
		events := bufio.NewReader(stream.Body)
		secret := stream.Header.Get("X-Connection-ID")
		for i, test := range []struct {
			method, path, id string
			status           int
		}{
			{"POST", "/nowhere", "", 404},
			{"PUT", "/socket", "", 405},
			{"POST", "/socket", "", 400},
			{"POST", "/socket", "nope", 404},
			{"DELETE", "/socket", "nope", 404},
			{"GET", "/declined", "", 403},
		} {
			body, feed := io.Pipe()
			req, _ := http.NewRequestWithContext(t.Context(), test.method, "http://pond"+test.path, body)
			req.Header.Set("Accept", "text/event-stream")
			req.Header.Set("X-Connection-ID", test.id)
			began := time.Now()
			resp, err := client.Do(req)
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			io.Copy(io.Discard, resp.Body)
			if resp.ProtoMajor != 2 || resp.StatusCode != test.status || time.Since(began) > time.Second {
				t.Errorf("request %d: %s %s after %v, want %d", i, resp.Proto, resp.Status, time.Since(began), test.status)
			}
			feed.Close()
			time.Sleep(10 * time.Second)
			join, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://pond/socket",
				strings.NewReader(joinOf(fmt.Sprint("/chat/", i))))
			join.Header.Set("X-Connection-ID", secret)
			if resp, err := client.Do(join); err != nil || resp.StatusCode != http.StatusNoContent {
				t.Fatalf("after request %d: %v, %v", i, resp, err)
			}
			if err := kit.Expect(events, fmt.Sprintf(`"channelName":"/chat/%d"`, i)); err != nil {
				t.Fatalf("after request %d: %v", i, err)
			}
		}
	})
}

// A server that shuts down does not wait longer for them either.
func TestFault16_ServeEndsWithUnreadBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := pipenet.Listen(0)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- unreadServer().Serve(ctx, &http.Server{}, listener) }()
		for _, request := range unreadRequests {
			conn, err := listener.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, request.head+"Content-Length: 1000\r\n\r\n")
		}
		synctest.Wait()
		began := time.Now()
		stop()
		if err := <-ended; err != nil || time.Since(began) > 6*time.Second {
			t.Errorf("Serve ended after %v: %v", time.Since(began), err)
		}
	})
}

// A stream begins at once even if its request announces a body, and even if a middleware
// hides the connection. When the stream ends, the connection is closed.
func TestFault16_StreamsWithUnreadBodies(t *testing.T) {
	p, e, _ := kit.NewPond(pond.WithMaxConns(1))
	synctest.Test(t, func(t *testing.T) {
		for name, handler := range map[string]http.Handler{
			"hijacked":     p,
			"not hijacked": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(noHijacker{w}, r) }),
		} {
			listener := pipenet.Listen(0)
			server := &http.Server{Handler: handler}
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(listener) }()
			conn, err := listener.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\nContent-Length: 1000\r\n\r\nx")
			began := time.Now()
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != http.StatusOK || time.Since(began) != 0 {
				t.Fatalf("%s: %v, %v after %v", name, resp, err, time.Since(began))
			}
			events := bufio.NewReader(resp.Body)
			for line := ""; err == nil && line != ": keepalive\n"; {
				line, err = events.ReadString('\n')
			}
			if err != nil || time.Since(began) > time.Minute {
				t.Errorf("%s: %v after %v", name, err, time.Since(began))
			}
			conn.Close()
			time.Sleep(time.Minute)
			if e.Len() != 0 {
				t.Errorf("%s: the client is still connected", name)
			}
			server.Close()
			<-ended
		}
	})
}

// A noHijacker is a middleware's writer that keeps its connection.
type noHijacker struct{ http.ResponseWriter }

func (w noHijacker) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (noHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}
