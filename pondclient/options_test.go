package pondclient_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/pondclient"
)

func TestRequirement45CloseDrains(t *testing.T) {
	for _, transport := range []pondclient.Transport{pondclient.WebSocket, pondclient.SSE} {
		t.Run(string(transport), func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) { // including messages that wait for a connection
				c, s := f.connected(pondclient.WithTransport(transport))
				ch := enter(t, c, s, room, `{}`)
				s.cut()
				synctest.Wait()
				for i := range 100 {
					if err := ch.Send("say", map[string]int{"n": i}); err != nil {
						t.Fatal(err)
					}
				}
				closed := background(func() error { return c.Close(within(t, time.Minute)) })
				s = f.welcome()
				isError(t, ch.Send("late", nil), pondclient.ErrClosed)
				s.join(`{}`)
				for i := range 100 {
					if m := s.expect("BROADCAST"); string(m.Payload) != fmt.Sprintf(`{"n":%d}`, i) {
						t.Errorf("message %d is %s", i, m.Payload)
					}
				}
				if err := <-closed; err != nil {
					t.Error(err)
				}
				s.gone()
			})
			run(t, func(t *testing.T, f *fake) { // or returns the messages that it could not send
				c, s := f.connected(pondclient.WithTransport(transport))
				ch, other := enter(t, c, s, room, `{}`), enter(t, c, s, "/chat/2", `{}`)
				f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 503} })
				s.cut()
				synctest.Wait()
				if err := errors.Join(ch.Send("a", map[string]int{"n": 1}), other.Send("b", nil), ch.Send("c", nil)); err != nil {
					t.Fatal(err)
				}
				err := other.Leave(within(t, time.Second))
				unsent, ok := errors.AsType[*pondclient.UnsentError](err)
				if !ok || len(unsent.Messages) != 1 || unsent.Messages[0].Event != "b" || unsent.Messages[0].Channel != "/chat/2" {
					t.Errorf("error %v", err)
				}
				err = c.Close(within(t, time.Minute))
				isError(t, err, context.DeadlineExceeded)
				unsent, ok = errors.AsType[*pondclient.UnsentError](err)
				if !ok || len(unsent.Messages) != 2 || string(unsent.Messages[0].Payload) != `{"n":1}` || unsent.Messages[1].Event != "c" {
					t.Errorf("error %v", err)
				}
			})
		})
	}
	run(t, func(t *testing.T, f *fake) { // a stopped client does not wait
		c, ch, _ := offline(t, f)
		if err := ch.Send("a", nil); err != nil {
			t.Fatal(err)
		}
		f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 404} })
		err := c.Close(t.Context())
		isError(t, err, pondclient.ErrStopped)
		if unsent, ok := errors.AsType[*pondclient.UnsentError](err); !ok || len(unsent.Messages) != 1 {
			t.Errorf("error %v", err)
		}
	})
	run(t, func(t *testing.T, f *fake) { // the server does not close its side
		c, s := f.connected()
		s.conn.(*pipenet.Conn).Hold()
		before := time.Now()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(before); d > time.Second {
			t.Errorf("Close took %v", d)
		}
	})
}

// echoServer is a Pond that replies to "ask" and broadcasts "say".
func echoServer(t *testing.T) *pond.Pond {
	t.Helper()
	p := pond.New(pond.WithLogger(quiet))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() }, pond.WithCompression(100))
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	l.OnMessage("ask", func(ctx *pond.EventContext) error { return ctx.Reply("answer", ctx.Payload()) })
	l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return p
}

// exchange sends a question over a real network, large enough to be compressed.
func exchange(t *testing.T, endpoint string, opts ...pondclient.Option) {
	t.Helper()
	c, err := pondclient.Dial(within(t, 20*time.Second), endpoint, append(opts, pondclient.WithLogger(quiet))...)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, c)
	ch, err := c.Join(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	question := map[string]string{"text": strings.Repeat("question ", 1000)}
	m, err := ch.Request(within(t, 20*time.Second), "ask", question)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]string
	if err := m.Bind(&answer); err != nil || answer["text"] != question["text"] {
		t.Errorf("got %d bytes, error %v", len(m.Payload), err)
	}
	if err := c.Close(within(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
}

func TestRequirement45Options(t *testing.T) {
	server := httptest.NewUnstartedServer(echoServer(t))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of certificates that a client refused
	server.StartTLS()
	defer server.Close()
	plain := httptest.NewServer(echoServer(t))
	defer plain.Close()
	trust := server.Client().Transport.(*http.Transport).TLSClientConfig
	for _, transport := range []pondclient.Transport{pondclient.WebSocket, pondclient.SSE} {
		over := pondclient.WithTransport(transport)
		run := func(name string, test func(t *testing.T)) { t.Run(fmt.Sprint(transport, " ", name), test) }
		run("TLS", func(t *testing.T) {
			exchange(t, "wss"+strings.TrimPrefix(server.URL, "https")+"/socket", over, pondclient.WithTLSConfig(trust))
		})
		run("without compression", func(t *testing.T) {
			exchange(t, plain.URL+"/socket", over, pondclient.WithoutCompression())
		})
		run("unknown certificate", func(t *testing.T) {
			reasons := make(chan *pondclient.ConnectionError, 100)
			c, err := pondclient.New(server.URL+"/socket", over, pondclient.WithLogger(quiet), pondclient.WithObserver(&pondclient.Observer{
				Disconnected: func(reason *pondclient.ConnectionError, _ pondclient.Action, _ time.Duration) { reasons <- reason },
			}))
			if err != nil {
				t.Fatal(err)
			}
			defer closeNow(t, c)
			if _, ok := errors.AsType[*tls.CertificateVerificationError](<-reasons); !ok {
				t.Errorf("error %v", err)
			}
		})
		run("dialer", func(t *testing.T) {
			var dialed []string
			var mu sync.Mutex
			exchange(t, "ws://pond.invalid/socket", over, pondclient.WithProxy(nil), pondclient.WithDialContext(
				func(ctx context.Context, network, addr string) (net.Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					dialed = append(dialed, addr)
					return new(net.Dialer).DialContext(ctx, network, plain.Listener.Addr().String())
				}))
			if !slices.Contains(dialed, "pond.invalid:80") {
				t.Errorf("dialed %v", dialed)
			}
		})
		for scheme, backend := range map[string]*httptest.Server{"ws": plain, "wss": server} {
			run("proxy "+scheme, func(t *testing.T) {
				var tunnels, requests int
				var mu sync.Mutex
				proxy := httptest.NewServer(forward(backend.Listener.Addr().String(), func(tunnel bool) {
					mu.Lock()
					defer mu.Unlock()
					if tunnel {
						tunnels++
					} else {
						requests++
					}
				}))
				defer proxy.Close()
				u, err := url.Parse(proxy.URL)
				if err != nil {
					t.Fatal(err)
				}
				trust := trust.Clone()
				trust.ServerName = "example.com"
				exchange(t, scheme+"://pond.invalid/socket", over, pondclient.WithProxy(http.ProxyURL(u)), pondclient.WithTLSConfig(trust))
				mu.Lock()
				defer mu.Unlock()
				if scheme == "wss" && tunnels == 0 || scheme == "ws" && requests == 0 {
					t.Errorf("%d tunnels and %d requests", tunnels, requests)
				}
			})
		}
		run("HTTP client with cookies and redirects", func(t *testing.T) {
			var cookies []string
			var mu sync.Mutex
			inner := echoServer(t)
			var site *httptest.Server
			site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/old" {
					http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
					http.Redirect(w, r, "ws"+strings.TrimPrefix(site.URL, "http")+"/socket", http.StatusTemporaryRedirect)
					return
				}
				mu.Lock()
				cookies = append(cookies, r.Header.Get("Cookie"))
				mu.Unlock()
				inner.ServeHTTP(w, r)
			}))
			defer site.Close()
			jar, _ := cookiejar.New(nil)
			client := &http.Client{Jar: jar, Transport: &http.Transport{}, Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			exchange(t, site.URL+"/old", over, pondclient.WithHTTPClient(client))
			mu.Lock()
			defer mu.Unlock()
			for _, c := range cookies {
				if c != "session=1" {
					t.Errorf("cookies %q", cookies)
				}
			}
		})
	}
	for name, opts := range map[string][]pondclient.Option{
		"transport": {pondclient.WithTransport("pigeon")},
		"both":      {pondclient.WithHTTPClient(http.DefaultClient), pondclient.WithTLSConfig(trust)},
		"tokens":    {pondclient.WithToken("x"), pondclient.WithTokenSource(func(context.Context) (t pondclient.Token, err error) { return })},
		"timeout":   {pondclient.WithConnectTimeout(0)},
		"backoff":   {pondclient.WithBackoff(pondclient.Backoff{First: time.Second, Max: time.Millisecond})},
		"queue":     {pondclient.WithQueue(pondclient.Queue{Bytes: -1})},
		"size":      {pondclient.WithMaxMessageSize(0)},
	} {
		if _, err := pondclient.New("ws://example.com/socket", opts...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, endpoint := range []string{"", "example.com", "ftp://example.com", "ws://", "ws://example.com:x/?token=secret", "\x00"} {
		if _, err := pondclient.New(endpoint); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v", endpoint, err)
		}
	}
}

// forward is a proxy to one backend.
func forward(backend string, seen func(tunnel bool)) http.Handler {
	plain := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: backend})
		r.Out.URL.Path = r.In.URL.Path
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen(r.Method == http.MethodConnect)
		if r.Method != http.MethodConnect {
			plain.ServeHTTP(w, r)
			return
		}
		out, err := new(net.Dialer).DialContext(r.Context(), "tcp", backend)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		in, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(out, in)
			out.Close()
		}()
		_, _ = io.Copy(in, out)
		in.Close()
	})
}
