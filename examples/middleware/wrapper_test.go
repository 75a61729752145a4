package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	"github.com/klauspost/compress/gzhttp"
	"github.com/labstack/echo/v5"
	echomiddleware "github.com/labstack/echo/v5/middleware"
	"github.com/pondsocket/pond"
	"github.com/rs/cors"

	"github.com/pondsocket/pond/examples/internal/hosttest"
	"github.com/pondsocket/pond/examples/internal/selfsigned"
)

// Typical wrappers that log the status.
type (
	plainWriter  struct{ http.ResponseWriter }
	unwrapWriter struct{ http.ResponseWriter }
	hijackWriter struct{ http.ResponseWriter }
	flushWriter  struct{ http.ResponseWriter }
)

func (w unwrapWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.ResponseWriter.(http.Hijacker).Hijack()
}

func (w flushWriter) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

func wrapping[W http.ResponseWriter](wrap func(http.ResponseWriter) W) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrap(w), r) })
	}
}

func timeout(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "") }

func withGin(next http.Handler) http.Handler {
	r := gin.New()
	r.Use(gin.LoggerWithWriter(io.Discard), gin.Recovery())
	r.Any("/*path", gin.WrapH(next))
	return r
}

func withEcho(middlewares ...echo.MiddlewareFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		e := echo.New()
		e.Logger = slog.New(slog.DiscardHandler)
		e.Use(middlewares...)
		e.Any("/*", echo.WrapHandler(next))
		return e
	}
}

// The cells of the table in README.md.
const (
	works    = "yes"
	deflated = "yes, as gzip"
	refused  = "500"
)

// middlewares are the rows of that table.
var middlewares = []struct {
	name                        string
	wrap                        func(http.Handler) http.Handler
	webSocket, stream1, stream2 string
	culprit                     string // the name in the log
}{
	{"none", func(next http.Handler) http.Handler { return next }, works, works, works, ""},
	{
		"a wrapper with `Unwrap`", wrapping(func(w http.ResponseWriter) unwrapWriter { return unwrapWriter{w} }),
		works, works, works, "",
	},
	{
		"a wrapper with `Hijack` alone", wrapping(func(w http.ResponseWriter) hijackWriter { return hijackWriter{w} }),
		works, works, refused, "main.hijackWriter hides ",
	},
	{
		"a wrapper with `Flush` alone", wrapping(func(w http.ResponseWriter) flushWriter { return flushWriter{w} }),
		refused, works, works, "main.flushWriter hides ",
	},
	{
		"a wrapper with neither", wrapping(func(w http.ResponseWriter) plainWriter { return plainWriter{w} }),
		refused, refused, refused, "main.plainWriter hides ",
	},
	{"`http.TimeoutHandler`", timeout, refused, refused, refused, "*http.timeoutWriter hides "},
	{
		"`http.TimeoutHandler` around gin", func(next http.Handler) http.Handler { return timeout(withGin(next)) },
		refused, refused, refused, "*http.timeoutWriter hides ",
	},
	{"chi `Logger`, `Recoverer`", func(next http.Handler) http.Handler {
		return chimiddleware.RequestLogger(silent{})(chimiddleware.Recoverer(next))
	}, works, works, works, ""},
	{"chi `Compress(5)`", chimiddleware.Compress(5), works, works, works, ""},
	{"chi `Compress(5, \"text/*\")`", chimiddleware.Compress(5, "text/*"), works, works, deflated, ""},
	{"gin `Logger`, `Recovery`", withGin, works, works, works, ""},
	{"echo `RequestLogger`, `Recover`", withEcho(echomiddleware.RequestLogger(), echomiddleware.Recover()), works, works, works, ""},
	{"echo `Gzip`", withEcho(echomiddleware.Gzip()), works, works, deflated, ""},
	{"gorilla `LoggingHandler`, `RecoveryHandler`", func(next http.Handler) http.Handler {
		return handlers.LoggingHandler(io.Discard, handlers.RecoveryHandler()(next))
	}, works, works, works, ""},
	{"gorilla `CompressHandler`", handlers.CompressHandler, works, works, deflated, ""},
	{"klauspost `gzhttp.GzipHandler`", func(next http.Handler) http.Handler { return gzhttp.GzipHandler(next) }, works, works, deflated, ""},
	{"rs/cors", cors.AllowAll().Handler, works, works, works, ""},
}

// silent disables the output of chi's logger.
type silent struct{}

func (silent) NewLogEntry(*http.Request) chimiddleware.LogEntry { return silent{} }

func (silent) Write(int, int, http.Header, time.Duration, any) {}

func (silent) Panic(any, []byte) {}

// journal is a log that tests can read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.text.Reset()
	return j.text.String()
}

// The table in README.md is correct and complete.
func TestMiddlewares(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	cert, err := selfsigned.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, m := range middlewares {
		lines = append(lines, "| "+strings.Join([]string{m.name, m.webSocket, m.stream1, m.stream2}, " | ")+" |")
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			var logged journal
			p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))))
			chat(p)
			addr, stop := hosttest.Serve(t, func(ctx context.Context, l net.Listener) error {
				srv := &http.Server{Handler: m.wrap(p), ErrorLog: log.New(io.Discard, "", 0)}
				return p.Serve(ctx, srv, tls.NewListener(l, &tls.Config{
					Certificates: []tls.Certificate{cert},
					MinVersion:   tls.VersionTLS12,
					NextProtos:   []string{"h2", "http/1.1"},
				}))
			})
			over := func(http2 bool) hosttest.Target {
				return hosttest.Target{
					URL:  "https://" + addr + "/socket",
					HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: selfsigned.Trust(cert), ForceAttemptHTTP2: http2}},
				}
			}
			check := func(tr hosttest.Transport, http2 bool, want string) *hosttest.Session {
				if want != refused {
					return connected(t, tr, over(http2), want)
				}
				if status, body := hosttest.Refused(t, tr, over(http2)); status != http.StatusInternalServerError || body != "internal error" {
					t.Errorf("%s: %d %s", tr, status, body)
				}
				if got := logged.take(); !strings.Contains(got, m.culprit) {
					t.Errorf("%s: %q is not in the log: %s", tr, m.culprit, got)
				}
				return nil
			}
			var ending sync.WaitGroup
			for _, s := range []*hosttest.Session{
				check(hosttest.WebSocket, false, m.webSocket),
				check(hosttest.SSE, false, m.stream1),
				check(hosttest.SSE, true, m.stream2),
			} {
				if s != nil {
					ending.Go(s.Told)
				}
			}
			stop()
			ending.Wait()
			if got := logged.take(); got != "" {
				t.Errorf("unexpected log: %s", got)
			}
		})
	}
	sameTable(t, lines)
}

// connected connects a client. It requests each event only after it received the previous
// one, so that an event that remains in a buffer fails the test.
func connected(t *testing.T, tr hosttest.Transport, to hosttest.Target, want string) *hosttest.Session {
	s := hosttest.Dial(t, tr, to)
	s.Join("/chat/" + want)
	for _, text := range []string{"one", "two", strings.Repeat("long", 1000), "three"} {
		s.Say("/chat/"+want, "message", text)
		if got := s.Hear("message"); got != `{"text":"`+text+`"}` {
			t.Errorf("%s: %s arrives as %s", tr, text, got)
		}
	}
	if got := s.Response.Uncompressed; got != (want == deflated) {
		t.Errorf("%s: compressed: %t", tr, got)
	}
	return s
}

// sameTable compares rows with the first four columns of the table in README.md.
func sameTable(t *testing.T, lines []string) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table []string
	for line := range strings.Lines(string(readme)) {
		if columns := strings.Split(line, " | "); strings.HasPrefix(line, "| ") && len(columns) == 5 {
			table = append(table, strings.Join(columns[:4], " | ")+" |")
		}
	}
	if len(table) == 0 || strings.Join(table[1:], "\n") != strings.Join(lines, "\n") {
		t.Errorf("the table in README.md should be\n%s", strings.Join(lines, "\n"))
	}
}

// Pond checks origins itself. A CORS middleware can neither allow nor reject a page, but it
// causes no problem.
func TestOrigins(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"WithOrigins alone": func(next http.Handler) http.Handler { return next },
		"rs/cors, too":      cors.New(cors.Options{AllowedOrigins: []string{"https://example.com", "https://example.org"}}).Handler,
	} {
		t.Run(name, func(t *testing.T) {
			p := pond.New()
			chat(p)
			addr, _ := hosttest.Serve(t, func(ctx context.Context, l net.Listener) error {
				return p.Serve(ctx, &http.Server{Handler: wrap(p)}, l)
			})
			from := func(origin string) hosttest.Target {
				return hosttest.Target{URL: "http://" + addr + "/socket", Header: http.Header{"Origin": {origin}}}
			}
			hosttest.Chat(t, from("https://example.com"))
			resp := hosttest.Dial(t, hosttest.SSE, from("https://example.com")).Response
			if got := resp.Header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "https://example.com" {
				t.Errorf("Access-Control-Allow-Origin: %q", got)
			}
			for _, tr := range hosttest.Transports {
				if status, body := hosttest.Refused(t, tr, from("https://example.org")); status != http.StatusForbidden {
					t.Errorf("%s: %d %s", tr, status, body)
				}
			}
		})
	}
}

// A middleware that cancels the context of requests, as chi's Timeout does, ends streams
// that were not taken over from net/http.
func TestContextThatEnds(t *testing.T) {
	cert, err := selfsigned.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			go func() {
				select {
				case <-end:
					cancel()
				case <-ctx.Done():
				}
			}()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	p := pond.New()
	chat(p)
	addr, _ := hosttest.Serve(t, func(ctx context.Context, l net.Listener) error {
		return p.Serve(ctx, &http.Server{Handler: wrap(p)}, tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{cert},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"h2", "http/1.1"},
		}))
	})
	dial := func(http2 bool) *hosttest.Session {
		s := hosttest.Dial(t, hosttest.SSE, hosttest.Target{
			URL:  "https://" + addr + "/socket",
			HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: selfsigned.Trust(cert), ForceAttemptHTTP2: http2}},
		})
		s.Join("/chat/1")
		return s
	}
	http1, http2 := dial(false), dial(true)
	close(end)
	http2.Told()
	http1.Say("/chat/1", "message", "hi")
	http1.Hear("message")
	http1.End()
}
