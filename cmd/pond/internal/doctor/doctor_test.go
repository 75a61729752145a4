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
		back, front := pipenet.Listen(0), pipenet.Listen(0)
		chat := pond.New()
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
		servers := []*http.Server{{Handler: p.between(back)}, {Handler: chat}}
		var tasks sync.WaitGroup
		tasks.Go(func() { _ = servers[0].Serve(front) })
		tasks.Go(func() { _ = servers[1].Serve(back) })

		cfg := Config{
			URL:     &url.URL{Scheme: "ws", Host: "localhost", Path: "/socket"},
			Timeout: 5 * time.Second,
			Dial:    func(ctx context.Context, _, _ string) (net.Conn, error) { return front.Dial(ctx) },
		}
		if edit != nil {
			edit(&cfg)
		}
		Examine(t.Context(), cfg, func(f Finding) {
			if f.Check != machine { // whatever it is
				found = append(found, f)
			}
			requireExplanation(t, f)
		})

		if err := chat.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for _, s := range servers {
			s.Close()
		}
		tasks.Wait()
		time.Sleep(time.Second) // net/http lingers half of it after a body that was not read
	})
	return found
}

func TestNothingInTheWay(t *testing.T) {
	var waits []time.Duration
	found := examine(t, proxy{}, func(cfg *Config) {
		cfg.Waiting = func(left time.Duration) { waits = append(waits, left) }
		cfg.Channel, cfg.Idle, cfg.Origin = "/chat/1", 75*time.Second, "https://app.example.com"
	}, pond.WithOrigins("https://app.example.com"))
	var checks []Check
	for _, f := range found {
		checks = append(checks, f.Check)
		if f.Verdict != OK || f.Remedy != "" {
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

// switching begins a WebSocket.
const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"

func TestWhatIsInTheWay(t *testing.T) {
	for name, tt := range map[string]struct {
		proxy   proxy
		edit    func(*Config)
		options []pond.EndpointOption

		check   Check
		verdict Verdict
		text    string // in the finding or its remedy
		only    bool   // all else is fine
	}{
		"drops Upgrade": {
			proxy: proxy{request: func(r *http.Request) { r.Header.Del("Upgrade"); r.Header.Del("Connection") }},
			check: "websocket", verdict: Problem, text: "drops the header Upgrade, Connection or both", only: true,
		},
		"drops Connection of answers": {
			proxy: proxy{handler: hijacking("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")},
			check: "websocket", verdict: Problem, text: "101 without \"Connection: Upgrade\"", only: true,
		},
		"drops Upgrade of answers": {
			proxy: proxy{handler: hijacking("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n")},
			check: "websocket", verdict: Problem, text: "101 without \"Upgrade: websocket\"", only: true,
		},
		"answers the handshake itself": {
			proxy: proxy{handler: hijacking("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")},
			check: "websocket", verdict: Problem, text: "wrong Sec-WebSocket-Accept", only: true,
		},
		"ends WebSockets at once": {
			proxy: proxy{handler: hijacking(switching)},
			check: "websocket", verdict: Problem, text: "upgraded, but no first message", only: true,
		},
		"ends WebSockets after the first message": {
			proxy: proxy{handler: hijacking(switching + "\x81\x2d" + `{"action":"CONNECT","event":"CONNECTION"}    `)},
			check: "websocket messages", verdict: Problem, text: "message 1: ",
		},
		"drops the key": {
			proxy: proxy{request: func(r *http.Request) { r.Header.Del("Sec-WebSocket-Key") }},
			check: "websocket", verdict: Problem, text: "changes the handshake", only: true,
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
			check: "websocket", verdict: Problem, text: "no answer within 5s", only: true,
		},
		"buffers all": {
			proxy: proxy{handler: holding(false)},
			check: "event stream", verdict: Problem, text: "not even a header within 5s", only: true,
		},
		"buffers bodies": {
			proxy: proxy{handler: holding(true)},
			check: "event stream", verdict: Problem, text: "all at once when it ended", only: true,
		},
		"buffers all but the beginning": {
			proxy: proxy{handler: lumping},
			check: "stream POST", verdict: Problem, text: "does not come over the stream within 5s",
		},
		"compresses the stream": {
			proxy: proxy{response: zipping},
			check: "stream encoding", verdict: Problem, text: "compresses the stream (gzip)", only: true,
		},
		"drops the connection ID of requests": {
			proxy: proxy{request: func(r *http.Request) { r.Header.Del("X-Connection-ID") }},
			check: "stream DELETE", verdict: Problem, text: "X-Connection-ID does not arrive",
		},
		"drops the connection ID of POST": {
			proxy: proxy{request: func(r *http.Request) {
				if r.Method == http.MethodPost {
					r.Header.Del("X-Connection-ID")
				}
			}},
			check: "stream POST", verdict: Problem, text: "X-Connection-ID does not arrive",
		},
		"drops the connection ID of answers": {
			proxy: proxy{response: func(r *http.Response) { r.Header.Del("X-Connection-ID") }},
			check: "event stream", verdict: Warning, text: "no X-Connection-ID", only: true,
		},
		"passes POST to another server": {
			proxy: proxy{request: func(r *http.Request) {
				if r.Header.Get("X-Connection-ID") != "" {
					r.Header.Set("X-Connection-ID", "of another server")
				}
			}},
			check: "stream POST", verdict: Problem, text: "sticky sessions",
		},
		"refuses DELETE": {
			proxy: proxy{handler: refusing(http.MethodDelete, 0, http.StatusMethodNotAllowed)},
			check: "stream DELETE", verdict: Problem, text: "a proxy refuses the method", only: true,
		},
		"refuses POST": {
			proxy: proxy{handler: refusing(http.MethodPost, 0, http.StatusForbidden)},
			check: "stream POST", verdict: Problem, text: "a proxy refuses the method",
		},
		"refuses OPTIONS": {
			proxy:   proxy{handler: refusing(http.MethodOptions, 0, http.StatusMethodNotAllowed)},
			edit:    func(cfg *Config) { cfg.Origin = "https://app.example.com" },
			options: []pond.EndpointOption{pond.WithOrigins("https://app.example.com")},
			check:   "preflight", verdict: Problem, text: "OPTIONS is refused", only: true,
		},
		"adds CORS headers of its own": {
			proxy:   proxy{response: func(r *http.Response) { r.Header.Add("Access-Control-Allow-Origin", "*") }},
			edit:    func(cfg *Config) { cfg.Origin = "https://app.example.com" },
			options: []pond.EndpointOption{pond.WithOrigins("https://app.example.com")},
			check:   "preflight", verdict: Problem, text: "Access-Control-Allow-Origin is", only: true,
		},
		"origin is not allowed": {
			edit:  func(cfg *Config) { cfg.Origin = "https://app.example.com" },
			check: "allowed origin", verdict: Problem, text: `WithOrigins("https://app.example.com")`,
		},
		"limits bodies": {
			proxy: proxy{handler: refusing(http.MethodPost, 100<<10, http.StatusRequestEntityTooLarge)},
			check: "message size", verdict: Warning, text: "POST: 64 KiB: 413", only: true,
		},
		"cuts idle WebSockets": {
			proxy: proxy{cut: 20 * time.Second},
			edit:  func(cfg *Config) { cfg.Idle = 75 * time.Second },
			check: "idle websocket", verdict: Problem, text: "cut after 20 s, 20 s after the server was last heard",
		},
		"cuts idle streams": {
			proxy: proxy{cut: 20 * time.Second},
			edit:  func(cfg *Config) { cfg.Idle = 75 * time.Second },
			check: "idle stream", verdict: Problem, text: "cut after 20 s, 20 s after the server was last heard",
		},
		"idle too short to say": {
			edit:  func(cfg *Config) { cfg.Idle = 10 * time.Second },
			check: "idle stream", verdict: Warning, text: "no heartbeat came",
		},
		"lets all origins in": {
			proxy: proxy{request: func(r *http.Request) { r.Header.Del("Origin") }},
			check: "foreign origin", verdict: Warning, text: "WebSocket, GET, POST: any page can connect", only: true,
		},
		"lets all origins in, with cookies": {
			edit:    func(cfg *Config) { cfg.Header = http.Header{"Cookie": {"session=1"}} },
			options: []pond.EndpointOption{pond.WithInsecureAnyOrigin()},
			check:   "foreign origin", verdict: Problem, text: "with the cookies of who looks at it", only: true,
		},
		"changes Host": {
			proxy: proxy{request: func(r *http.Request) { r.Host = "backend:8000" }},
			check: "same origin", verdict: Problem, text: "keep the header Host", only: true,
		},
		"changes the path": {
			proxy: proxy{request: func(r *http.Request) { r.URL.Path = "/api/socket" }},
			check: "address", verdict: Problem, text: "no endpoint at this path",
		},
		"redirects": {
			proxy: proxy{handler: func(http.Handler) http.Handler {
				return http.RedirectHandler("https://example.com/", http.StatusMovedPermanently)
			}},
			check: "address", verdict: Problem, text: "redirected to https://example.com/", only: true,
		},
		"has no server": {
			proxy: proxy{handler: func(http.Handler) http.Handler { return status(http.StatusBadGateway) }},
			check: "address", verdict: Problem, text: "the server behind it does not: 502", only: true,
		},
		"never answers": {
			proxy: proxy{handler: func(http.Handler) http.Handler {
				return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			}},
			check: "address", verdict: Problem, text: "no answer within 5s", only: true,
		},
		"is a web site": {
			proxy: proxy{handler: func(http.Handler) http.Handler { return status(http.StatusOK) }},
			check: "event stream", verdict: Problem, text: "the answer is no event stream",
		},
		"no token": {
			edit:  func(cfg *Config) { cfg.URL.RawQuery = "token=wrong" },
			check: "websocket", verdict: Problem, text: "refused: 401: who are you?",
		},
		"channel is refused": {
			edit:  func(cfg *Config) { cfg.Channel = "/chat/staff" },
			check: "channel", verdict: Problem, text: "staff only",
		},
		"compression": {
			options: []pond.EndpointOption{pond.WithCompression(1)},
			check:   "compression", verdict: OK, text: "on (permessage-deflate)", only: true,
		},
		"server takes nothing": {
			options: []pond.EndpointOption{pond.WithMaxMessageSize(1 << 10)},
			check:   "message size", verdict: Problem, text: "both transports: less than 4 KiB", only: true,
		},
		"server takes less": {
			options: []pond.EndpointOption{pond.WithMaxMessageSize(100 << 10)},
			check:   "message size", verdict: OK, text: "both transports: 64 KiB", only: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := examine(t, tt.proxy, tt.edit, tt.options...)
			named := func(f Finding) bool {
				return f.Check == tt.check && f.Verdict == tt.verdict && strings.Contains(f.Text+f.Remedy, tt.text)
			}
			if !slices.ContainsFunc(found, named) {
				t.Errorf("%s %s %q is not among the findings", tt.check, tt.verdict, tt.text)
			}
			for _, f := range found {
				if tt.only && (f.Verdict == Problem || f.Verdict == Warning) && !named(f) {
					t.Errorf("found as well: %+v", f)
				}
				if (f.Verdict == Problem || f.Verdict == Warning) != (f.Remedy != "") {
					t.Errorf("remedy: %+v", f)
				}
			}
			if t.Failed() {
				t.Logf("%+v", found)
			}
		})
	}
}
