package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// oldWriter is a wrapper without Unwrap. It panics if the wrapped writer is not one
// of net/http.
type oldWriter struct{ http.ResponseWriter }

func (w oldWriter) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

func (w oldWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.ResponseWriter.(http.Hijacker).Hijack()
}

// politeWriter returns an error of its own from Hijack.
type politeWriter struct{ http.ResponseWriter }

func (w politeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (politeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("not here")
}

// silentWriter has a Flush that does nothing if the wrapped writer cannot flush.
type silentWriter struct{ http.ResponseWriter }

func (w silentWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w silentWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// plainWriter hides all optional methods.
type plainWriter struct{ w http.ResponseWriter }

func (w plainWriter) Header() http.Header         { return w.w.Header() }
func (w plainWriter) Write(b []byte) (int, error) { return w.w.Write(b) }
func (w plainWriter) WriteHeader(status int)      { w.w.WriteHeader(status) }

func wrapping(wrap func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrap(w), r) })
	}
}

// If a wrapper hides the connection, the client gets 500, the log names the wrapper,
// and no connection remains that Shutdown would wait for.
func TestHiddenConnections(t *testing.T) {
	timeout := func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") }
	plain := wrapping(func(w http.ResponseWriter) http.ResponseWriter { return plainWriter{w} })
	old := wrapping(func(w http.ResponseWriter) http.ResponseWriter { return oldWriter{w} })
	polite := wrapping(func(w http.ResponseWriter) http.ResponseWriter { return politeWriter{w} })
	silent := wrapping(func(w http.ResponseWriter) http.ResponseWriter { return silentWriter{w} })
	for name, test := range map[string]struct {
		wrap      func(http.Handler) http.Handler
		webSocket string // in the log
		stream    string
	}{
		"TimeoutHandler": {
			timeout,
			"*http.timeoutWriter hides http.Hijacker: mount the Pond outside of http.TimeoutHandler",
			"*http.timeoutWriter hides http.Hijacker and http.Flusher: mount",
		},
		"no Unwrap": {
			plain,
			"server_test.plainWriter hides http.Hijacker: add an Unwrap method",
			"server_test.plainWriter hides http.Hijacker and http.Flusher: add an Unwrap method",
		},
		"behind a wrapper that would panic": {
			func(h http.Handler) http.Handler { return plain(old(h)) },
			"server_test.oldWriter hides http.Hijacker: add an Unwrap method, or do not wrap the Pond in this middleware (panic: ",
			"server_test.oldWriter cannot stream: panic: ",
		},
		"behind a wrapper with Unwrap": {
			func(h http.Handler) http.Handler { return plain(silent(h)) },
			"server_test.plainWriter hides http.Hijacker: ",
			"server_test.plainWriter hides http.Hijacker and http.Flusher: ",
		},
		"behind a wrapper with its own error": {
			func(h http.Handler) http.Handler { return plain(polite(h)) },
			"server_test.plainWriter hides http.Hijacker: ",
			"server_test.plainWriter hides http.Hijacker and http.Flusher: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
			h := test.wrap(p)
			for _, ask := range []struct {
				logged  string
				headers []string
			}{
				{test.webSocket, []string{
					"Connection: Upgrade", "Upgrade: websocket",
					"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
				}},
				{test.stream, []string{"Accept: text/event-stream"}},
			} {
				log.Reset()
				w := httptest.NewRecorder()
				h.ServeHTTP(w, kit.Request("GET", "/socket", "", ask.headers...))
				// After the stream started, it is too late for a status.
				if w.Code != http.StatusInternalServerError && !strings.Contains(ask.logged, "cannot stream") {
					t.Errorf("%s: status %d, %q", ask.headers[0], w.Code, w.Body)
				}
				if !strings.Contains(log.String(), ask.logged) {
					t.Errorf("%s: the log has %s", ask.headers[0], &log)
				}
				if id := w.Result().Header.Get("X-Connection-ID"); w.Code != http.StatusOK && id != "" {
					t.Errorf("the rejection has the connection ID %s", id)
				}
			}
			if err := p.Shutdown(t.Context()); err != nil || e.Len() != 0 {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}

// An event stream works behind a wrapper that refuses Hijack but supports Flush.
func TestStreamBehindAHijackerThatRefuses(t *testing.T) {
	p, _, _ := kit.NewPond()
	server := httptest.NewServer(wrapping(func(w http.ResponseWriter) http.ResponseWriter { return politeWriter{w} })(p))
	defer server.Close()
	resp, err := server.Client().Do(kit.Request("GET", server.URL+"/socket", "", "Accept: text/event-stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := kit.Expect(bufio.NewReader(resp.Body), "CONNECTION"); err != nil {
		t.Error(err)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// An event stream that was taken over from a compressing middleware is not
// compressed, and has no Content-Encoding.
func TestStreamIsNotCalledCompressed(t *testing.T) {
	p, _, _ := kit.NewPond()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		p.ServeHTTP(w, r)
	}))
	defer server.Close()
	resp, err := server.Client().Do(kit.Request("GET", server.URL+"/socket", "", "Accept: text/event-stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if coding := resp.Header.Get("Content-Encoding"); coding != "" || resp.Uncompressed {
		t.Errorf("Content-Encoding %q, decoded %t", coding, resp.Uncompressed)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Shutdown(t.Context()) }() // the client reads at the same time
	if stream, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(stream), "event: CONNECTION\n") {
		t.Errorf("%q, %v", stream, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
