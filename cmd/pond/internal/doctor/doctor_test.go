package doctor

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pipenet"
)

// examine examines a Pond behind a proxy, in a bubble.
func examine(t *testing.T, p proxy, edit func(*Config), options ...pond.EndpointOption) (found []Finding) {
	synctest.Test(t, func(t *testing.T) {
		front := pipenet.Listen(0)
		var tasks sync.WaitGroup
		var ponds []*pond.Pond
		var backs []*pipenet.Listener
		var servers []*http.Server
		serve := func(l net.Listener, h http.Handler) {
			s := &http.Server{Handler: h}
			servers = append(servers, s)
			tasks.Go(func() { _ = s.Serve(l) })
		}
		for range max(1, p.servers) {
			chat, back := pond.New(), pipenet.Listen(0)
			chat.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
				if ctx.Query().Get("token") == "wrong" {
					return ctx.Decline(http.StatusUnauthorized, "who are you?")
				}
				return ctx.Accept()
			}, options...).Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
				if ctx.Channel().Param("room") == "staff" {
					return ctx.Decline(http.StatusForbidden, "staff only")
				}
				return ctx.Accept()
			})
			ponds, backs = append(ponds, chat), append(backs, back)
			serve(back, chat)
		}
		serve(front, p.between(backs))

		cfg := Config{
			URL:     &url.URL{Scheme: "ws", Host: "localhost", Path: "/socket"},
			Timeout: 5 * time.Second,
			Dial:    func(ctx context.Context, _, _ string) (net.Conn, error) { return front.Dial(ctx) },
		}
		if edit != nil {
			edit(&cfg)
		}
		Examine(t.Context(), cfg, func(f Finding) {
			if f.Check != machine { // its findings depend on the machine
				found = append(found, f)
			}
			requireExplanation(t, f)
		})

		for _, chat := range ponds {
			if err := chat.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for _, s := range servers {
			s.Close()
		}
		tasks.Wait()
		time.Sleep(time.Second) // net/http waits half of it after a body that was not read
	})
	return found
}

func TestNoProblem(t *testing.T) {
	var waits []time.Duration
	found := examine(t, proxy{}, func(cfg *Config) {
		cfg.Waiting = func(left time.Duration) { waits = append(waits, left) }
		cfg.Channel, cfg.Idle, cfg.Origin = "/chat/1", 75*time.Second, "https://app.example.com"
	}, pond.WithOrigins("https://app.example.com"))
	var checks []Check
	for _, f := range found {
		checks = append(checks, f.Check)
		if f.Severity != OK || f.Fix != "" {
			t.Errorf("%+v", f)
		}
	}
	want := []Check{
		"address", "tls",
		"websocket", "websocket messages", "compression", "close code",
		"event stream", "stream POST", "stream DELETE",
		"same origin", "allowed origin", "preflight", "foreign origin",
		"message size", "channel", "channel", "idle websocket", "idle stream",
	}
	if !slices.Equal(checks, want) {
		t.Errorf("checks: %q, want %q", checks, want)
	}
	if n := len(waits); n != 76 || waits[0] != 75*time.Second || waits[74] != time.Second || waits[75] != 0 {
		t.Errorf("counted down: %v", waits)
	}
}

// switching is the response that opens a WebSocket.
const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"

func TestProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		proxy   proxy
		edit    func(*Config)
		options []pond.EndpointOption

		check    Check
		severity Severity
		text     string // in the finding or its fix
		only     bool   // it is the only problem or warning
	}{
		"drops Upgrade": {
			proxy: proxy{request: func(r *http.Request) { r.Header.Del("Upgrade"); r.Header.Del("Connection") }},
			check: "websocket", severity: Problem, text: "drops the header Upgrade, Connection or both", only: true,
		},
		"drops Connection of responses": {
			proxy: proxy{handler: hijacking("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")},
			check: "websocket", severity: Problem, text: "101 without \"Connection: Upgrade\"", only: true,
		},
		"drops Upgrade of responses": {
			proxy: proxy{handler: hijacking("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n")},
			check: "websocket", severity: Problem, text: "101 without \"Upgrade: websocket\"", only: true,
		},
		"responds to the handshake itself": {
			proxy: proxy{handler: hijacking("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")},
			check: "websocket", severity: Problem, text: "wrong Sec-WebSocket-Accept", only: true,
		},
		"ends WebSockets at once": {
			proxy: proxy{handler: hijacking(switching)},
			check: "websocket", severity: Problem, text: "upgraded, but no first message", only: true,
		},
		"ends WebSockets after the first message": {
			proxy: proxy{handler: hijacking(switching + "\x81\x2d" + `{"action":"CONNECT","event":"CONNECTION"}    `)},
			check: "websocket messages", severity: Problem, text: "message 1: ",
		},
		"drops the key": {
			proxy: proxy{request: func(r *http.Request) { r.Header.Del("Sec-WebSocket-Key") }},
			check: "websocket", severity: Problem, text: "changes the handshake", only: true,
		},
		"never answers WebSockets": {
			proxy: proxy{handler: func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Upgrade") != "" {
						<-r.Context().Done()
						return
					}
					h.ServeHTTP(w, r)
				})
			}},
			check: "websocket", severity: Problem, text: "no answer within 5s", only: true,
		},
		"buffers all": {
			proxy: proxy{handler: buffering(false)},
			check: "event stream", severity: Problem, text: "no headers within 5s", only: true,
		},
		"buffers bodies": {
			proxy: proxy{handler: buffering(true)},
			check: "event stream", severity: Problem, text: "all messages arrived when the stream ended", only: true,
		},
		"buffers all but the beginning": {
			proxy: proxy{handler: bufferingRest},
			check: "stream POST", severity: Problem, text: "no answer arrived on the stream within 5s",
		},
		"compresses the stream": {
			proxy: proxy{response: zipping},
			check: "stream encoding", severity: Problem, text: "compresses the stream (gzip)", only: true,
		},
		"drops the connection ID of requests": {
			proxy: proxy{request: func(r *http.Request) { r.Header.Del("X-Connection-ID") }},
			check: "stream POST", severity: Problem, text: "X-Connection-ID does not arrive", only: true,
		},
		"drops the connection ID of POST": {
			proxy: proxy{request: func(r *http.Request) {
				if r.Method == http.MethodPost {
					r.Header.Del("X-Connection-ID")
				}
			}},
			check: "stream POST", severity: Problem, text: "X-Connection-ID does not arrive", only: true,
		},
		"drops the connection ID of responses": {
			proxy: proxy{response: func(r *http.Response) { r.Header.Del("X-Connection-ID") }},
			check: "event stream", severity: Warning, text: "no X-Connection-ID", only: true,
		},
		"passes POST to another server": {
			proxy: proxy{request: func(r *http.Request) {
				if r.Header.Get("X-Connection-ID") != "" {
					r.Header.Set("X-Connection-ID", "of another server")
				}
			}},
			check: "stream POST", severity: Problem, text: "sticky sessions", only: true,
		},
		"distributes requests over two servers": {
			proxy:   proxy{servers: 2},
			edit:    func(cfg *Config) { cfg.Channel, cfg.Origin = "/chat/1", "https://app.example.com" },
			options: []pond.EndpointOption{pond.WithOrigins("https://app.example.com")},
			check:   "stream POST", severity: Problem, text: "some requests reach another server", only: true,
		},
		"distributes requests over five servers": {
			proxy: proxy{servers: 5},
			check: "stream POST", severity: Problem, text: "some requests reach another server", only: true,
		},
		"rejects DELETE": {
			proxy: proxy{handler: rejecting(http.MethodDelete, 0, http.StatusMethodNotAllowed)},
			check: "stream DELETE", severity: Problem, text: "a proxy rejects the method", only: true,
		},
		"rejects POST": {
			proxy: proxy{handler: rejecting(http.MethodPost, 0, http.StatusForbidden)},
			check: "stream POST", severity: Problem, text: "a proxy rejects the method", only: true,
		},
		"rejects OPTIONS": {
			proxy:   proxy{handler: rejecting(http.MethodOptions, 0, http.StatusMethodNotAllowed)},
			edit:    func(cfg *Config) { cfg.Origin = "https://app.example.com" },
			options: []pond.EndpointOption{pond.WithOrigins("https://app.example.com")},
			check:   "preflight", severity: Problem, text: "OPTIONS is rejected", only: true,
		},
		"adds CORS headers of its own": {
			proxy:   proxy{response: func(r *http.Response) { r.Header.Add("Access-Control-Allow-Origin", "*") }},
			edit:    func(cfg *Config) { cfg.Origin = "https://app.example.com" },
			options: []pond.EndpointOption{pond.WithOrigins("https://app.example.com")},
			check:   "preflight", severity: Problem, text: "Access-Control-Allow-Origin is", only: true,
		},
		"origin is not allowed": {
			edit:  func(cfg *Config) { cfg.Origin = "https://app.example.com" },
			check: "allowed origin", severity: Problem, text: `WithOrigins("https://app.example.com")`,
		},
		"limits bodies": {
			proxy: proxy{handler: rejecting(http.MethodPost, 100<<10, http.StatusRequestEntityTooLarge)},
			check: "message size", severity: Warning, text: "POST: 64 KiB: 413", only: true,
		},
		"closes idle WebSockets": {
			proxy: proxy{timeout: 20 * time.Second},
			edit:  func(cfg *Config) { cfg.Idle = 75 * time.Second },
			check: "idle websocket", severity: Problem, text: "closed after 20 s, 20 s after the last data from the server",
		},
		"closes idle streams": {
			proxy: proxy{timeout: 20 * time.Second},
			edit:  func(cfg *Config) { cfg.Idle = 75 * time.Second },
			check: "idle stream", severity: Problem, text: "closed after 20 s, 20 s after the last data from the server",
		},
		"idle time is too short": {
			edit:  func(cfg *Config) { cfg.Idle = 10 * time.Second },
			check: "idle stream", severity: Warning, text: "no heartbeat arrived",
		},
		"accepts all origins": {
			proxy: proxy{request: func(r *http.Request) { r.Header.Del("Origin") }},
			check: "foreign origin", severity: Warning, text: "WebSocket, GET, POST: any page can connect", only: true,
		},
		"accepts all origins, with cookies": {
			edit:    func(cfg *Config) { cfg.Header = http.Header{"Cookie": {"session=1"}} },
			options: []pond.EndpointOption{pond.WithInsecureAnyOrigin()},
			check:   "foreign origin", severity: Problem, text: "with the cookies of its visitor", only: true,
		},
		"changes Host": {
			proxy: proxy{request: func(r *http.Request) { r.Host = "backend:8000" }},
			check: "same origin", severity: Problem, text: "keep the header Host", only: true,
		},
		"changes the path": {
			proxy: proxy{request: func(r *http.Request) { r.URL.Path = "/api/socket" }},
			check: "address", severity: Problem, text: "no endpoint at this path",
		},
		"redirects": {
			proxy: proxy{handler: func(http.Handler) http.Handler {
				return http.RedirectHandler("https://example.com/", http.StatusMovedPermanently)
			}},
			check: "address", severity: Problem, text: "redirected to https://example.com/", only: true,
		},
		"has no server": {
			proxy: proxy{handler: func(http.Handler) http.Handler { return status(http.StatusBadGateway) }},
			check: "address", severity: Problem, text: "but the server behind it does not: 502", only: true,
		},
		"never answers": {
			proxy: proxy{handler: func(http.Handler) http.Handler {
				return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			}},
			check: "address", severity: Problem, text: "no answer within 5s", only: true,
		},
		"is a web site": {
			proxy: proxy{handler: func(http.Handler) http.Handler { return status(http.StatusOK) }},
			check: "event stream", severity: Problem, text: "the response is not an event stream",
		},
		"no token": {
			edit:  func(cfg *Config) { cfg.URL.RawQuery = "token=wrong" },
			check: "websocket", severity: Problem, text: "rejected: 401: who are you?",
		},
		"join is rejected": {
			edit:  func(cfg *Config) { cfg.Channel = "/chat/staff" },
			check: "channel", severity: Problem, text: "staff only",
		},
		"compression": {
			options: []pond.EndpointOption{pond.WithCompression(1)},
			check:   "compression", severity: OK, text: "on (permessage-deflate)", only: true,
		},
		"server accepts no message": {
			options: []pond.EndpointOption{pond.WithMaxMessageSize(1 << 10)},
			check:   "message size", severity: Problem, text: "both transports: less than 4 KiB", only: true,
		},
		"server accepts small messages": {
			options: []pond.EndpointOption{pond.WithMaxMessageSize(100 << 10)},
			check:   "message size", severity: OK, text: "both transports: 64 KiB", only: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := examine(t, tt.proxy, tt.edit, tt.options...)
			named := func(f Finding) bool {
				return f.Check == tt.check && f.Severity == tt.severity && strings.Contains(f.Text+f.Fix, tt.text)
			}
			if !slices.ContainsFunc(found, named) {
				t.Errorf("%s %s %q is not among the findings", tt.check, tt.severity, tt.text)
			}
			for _, f := range found {
				if tt.only && (f.Severity == Problem || f.Severity == Warning) && !named(f) {
					t.Errorf("also found: %+v", f)
				}
				if (f.Severity == Problem || f.Severity == Warning) != (f.Fix != "") {
					t.Errorf("fix: %+v", f)
				}
			}
			if t.Failed() {
				t.Logf("%+v", found)
			}
		})
	}
}
