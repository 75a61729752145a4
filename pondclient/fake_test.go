package pondclient_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondclient"
)

// patience limits the time for which a test waits for an event, in the time of the
// bubble.
const patience = 5 * time.Minute

// A fake is a scripted server in a bubble.
type fake struct {
	t        *testing.T
	listener *pipenet.Listener

	sockets chan *socket // accepted connections, in order

	mu      sync.Mutex // guards the following fields
	refuse  func(r *http.Request) *refusal
	post    func(r *http.Request, body string) int
	retry   string // Retry-After of refused POSTs
	gateway bool   // the server is one of another family
	dials   []time.Time
	opened  []time.Time // requests to connect
	streams map[string]*socket
	all     []*socket
	posts   []string
	methods map[string]int
	closed  bool
	live    int // connections that are open
	most    int // live at a time
}

// A refusal is the response to a request to connect. With status 0, there is no
// response: the request hangs.
type refusal struct {
	status int
	header http.Header
	text   string
	hang   bool // the response does not end
}

// run runs a test with a fake server in a bubble.
func run(t *testing.T, test func(t *testing.T, f *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		test(t, f)
	})
}

func newFake(t *testing.T) *fake {
	f := &fake{
		t: t, listener: pipenet.Listen(0), sockets: make(chan *socket, 5000),
		streams: map[string]*socket{}, methods: map[string]int{},
	}
	server := &http.Server{
		Handler:           f,
		ReadHeaderTimeout: time.Hour,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				f.mu.Lock()
				f.dials = append(f.dials, time.Now())
				f.mu.Unlock()
			}
		},
	}
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = server.Serve(f.listener) })
	t.Cleanup(func() {
		f.mu.Lock()
		f.closed = true
		f.mu.Unlock()
		_ = server.Close()
		_ = f.listener.Close()
		f.mu.Lock()
		for _, s := range f.all {
			s.conn.Close() // unplugged connections do not end automatically
		}
		f.mu.Unlock()
		tasks.Wait()
	})
	return f
}

type connKey struct{}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.methods[r.Method]++
	f.mu.Unlock()
	if r.Method == http.MethodPost {
		f.servePost(w, r)
		return
	}
	f.mu.Lock()
	f.opened = append(f.opened, time.Now())
	refuse := f.refuse
	f.mu.Unlock()
	if refuse != nil {
		if no := refuse(r); no != nil {
			no.write(w, r)
			return
		}
	}
	s := &socket{f: f, t: f.t, request: r, conn: r.Context().Value(connKey{}).(net.Conn), ended: make(chan struct{})}
	s.more = make(chan struct{}, 1)
	f.mu.Lock()
	f.all = append(f.all, s)
	f.mu.Unlock()
	if ws.IsUpgrade(r) {
		s.serveWebSocket(w, r)
	} else {
		s.serveStream(w)
	}
}

func (no *refusal) write(w http.ResponseWriter, r *http.Request) {
	if no.status == 0 {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	maps.Copy(w.Header(), no.header)
	w.WriteHeader(no.status)
	_, _ = io.WriteString(w, no.text)
	if no.hang {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// refuseWith sets the answer to requests to connect from now on.
func (f *fake) refuseWith(refuse func(r *http.Request) *refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

// connects returns the number of requests to connect.
func (f *fake) connects() int {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.opened)
}

func (f *fake) open(delta int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live += delta
	f.most = max(f.most, f.live)
}

// dialer returns the option that connects a client to the server.
func (f *fake) dialer() pondclient.Option {
	return pondclient.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := f.listener.Dial(ctx)
		if err != nil {
			return nil, err
		}
		return c, nil
	})
}

var quiet = slog.New(slog.DiscardHandler)

// client returns a client of the server, which the test closes at its end.
func (f *fake) client(opts ...pondclient.Option) *pondclient.Client {
	f.t.Helper()
	c, err := pondclient.New("ws://example.com/socket?a=b", f.options(opts)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { closeNow(f.t, c) })
	return c
}

func (f *fake) options(opts []pondclient.Option) []pondclient.Option {
	return append([]pondclient.Option{
		f.dialer(), pondclient.WithLogger(quiet), pondclient.WithProxy(nil), pondclient.WithTransport(pondclient.WebSocket),
	}, opts...)
}

// closeNow closes a client without waiting for unsent messages.
func closeNow(t *testing.T, c *pondclient.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.Close(ctx) // unsent messages do not matter
}

// accept waits for the next connection and sends nothing.
func (f *fake) accept() *socket {
	f.t.Helper()
	select {
	case s := <-f.sockets:
		return s
	case <-time.After(patience):
		f.t.Fatal("no client connected")
		return nil
	}
}

// welcome waits for the next connection and accepts it.
func (f *fake) welcome(features ...string) *socket {
	f.t.Helper()
	s := f.accept()
	s.welcome(features...)
	synctest.Wait() // it has arrived
	return s
}

// connected returns a client and its connection.
func (f *fake) connected(opts ...pondclient.Option) (*pondclient.Client, *socket) {
	f.t.Helper()
	c := f.client(opts...)
	return c, f.welcome()
}

func (f *fake) servePost(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	f.posts = append(f.posts, string(body))
	s, answer, retry := f.streams[r.Header.Get("X-Connection-ID")], f.post, f.retry
	f.mu.Unlock()
	if s == nil {
		http.Error(w, "connection not found", http.StatusNotFound)
		return
	}
	if answer != nil {
		if status := answer(r, string(body)); status != 0 {
			switch {
			case status >= 300 && status < 400:
				w.Header().Set("Location", "/login")
			case retry != "":
				w.Header().Set("Retry-After", retry)
			case status == http.StatusServiceUnavailable:
				w.Header().Set("Retry-After", "1")
			}
			http.Error(w, "no", status)
			return
		}
	}
	if strings.Contains(string(body), `"/pondclient/probe"`) {
		var m received
		_ = json.Unmarshal(body, &m)
		s.reply(m, "EXIT_ACKNOWLEDGE", `{}`)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if strings.HasPrefix(string(body), "[") {
		var list []json.RawMessage
		_ = json.Unmarshal(body, &list)
		for _, m := range list {
			s.take(string(m))
		}
	} else {
		s.take(string(body))
	}
	w.WriteHeader(http.StatusNoContent)
}

// postWith sets the response to POSTs from now on. 0 accepts them.
func (f *fake) postWith(answer func(r *http.Request, body string) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.post = answer
}
