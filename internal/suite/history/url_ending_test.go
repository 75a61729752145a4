package history_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// A urlServer is a server on loopback whose join handler the test controls.
type urlServer struct {
	pond    *pond.Pond
	server  *httptest.Server
	entered chan *pond.JoinContext // when the join handler has begun
}

// onHTTP runs test over HTTP/1.1, HTTP/1.1 with TLS, and HTTP/2.
func onHTTP(t *testing.T, join func(ctx *pond.JoinContext) error, test func(t *testing.T, s *urlServer)) {
	t.Helper()
	for _, name := range []string{"http1", "tls", "http2"} {
		t.Run(name, func(t *testing.T) {
			s := &urlServer{pond: pond.New(pond.WithLogger(kit.Silent)), entered: make(chan *pond.JoinContext, 1)}
			e := s.pond.Endpoint("/socket", kit.Accept, pond.WithJoinByURL())
			e.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
				s.entered <- ctx
				return join(ctx)
			}, pond.WithHistory(pond.History{}))
			s.server = httptest.NewUnstartedServer(s.pond)
			s.server.EnableHTTP2 = name == "http2"
			if name == "http1" {
				s.server.Start()
			} else {
				s.server.StartTLS()
			}
			defer func() {
				if !t.Failed() { // it would wait for the remaining goroutines
					s.server.Close()
				}
			}()
			test(t, s)
			s.end(t)
		})
	}
}

// end checks that nothing of a client is left.
func (s *urlServer) end(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), kit.Patience)
	defer cancel()
	if err := s.pond.Shutdown(ctx); err != nil {
		t.Error("remaining goroutines:", err)
	}
}

// open opens the event stream of a URL that joins, and sends the body of the response,
// after its status, or the error.
func (s *urlServer) open(ctx context.Context) <-chan string {
	result := make(chan string, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL+urlRoom, http.NoBody)
		if err != nil {
			result <- err.Error()
			return
		}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := s.server.Client().Do(req)
		if err != nil {
			result <- "error: " + err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		text := resp.Status + "\n" + string(body)
		if err != nil {
			text += "error: " + err.Error()
		}
		result <- text
	}()
	return result
}

// The context of the join handler of a client that vanished is canceled, like that of every
// other handler.
func TestX14ClientVanishesDuringTheJoin(t *testing.T) {
	cancelled := make(chan struct{}, 1)
	onHTTP(t, func(ctx *pond.JoinContext) error {
		<-ctx.Done()
		cancelled <- struct{}{}
		return ctx.Accept()
	}, func(t *testing.T, s *urlServer) {
		ctx, cancel := context.WithCancel(t.Context())
		response := s.open(ctx)
		<-s.entered
		cancel()
		<-response
		wait(t, cancelled)
	})
}

// A stream that the end of Shutdown aborts while its join handler runs is not opened.
func TestX14AbortedDuringTheJoin(t *testing.T) {
	release := make(chan struct{})
	onHTTP(t, func(ctx *pond.JoinContext) error {
		err := ctx.Accept()
		<-release
		return err
	}, func(t *testing.T, s *urlServer) {
		response := s.open(t.Context())
		<-s.entered
		expired, cancel := context.WithCancel(t.Context())
		cancel()
		_ = s.pond.Shutdown(expired)
		release <- struct{}{}
		if got := wait(t, response); !strings.HasPrefix(got, "error") && !strings.HasPrefix(got, "200 OK\nretry: ") {
			t.Errorf("the response is %q", got)
		}
	})
}

// a join that fails because the server or the channel ends is a temporary
// rejection.
func TestX17EndDuringTheJoin(t *testing.T) {
	t.Run("shutdown", func(t *testing.T) {
		onHTTP(t, func(ctx *pond.JoinContext) error {
			<-ctx.Done()
			return ctx.Err()
		}, func(t *testing.T, s *urlServer) {
			response := s.open(t.Context())
			<-s.entered
			expired, cancel := context.WithCancel(t.Context())
			cancel()
			_ = s.pond.Shutdown(expired)
			if got := wait(t, response); !strings.HasPrefix(got, "200 OK\nretry: ") {
				t.Errorf("the response is %q", got)
			}
		})
	})
	t.Run("channel", func(t *testing.T) {
		onHTTP(t, func(ctx *pond.JoinContext) error {
			ctx.Channel().Close("")
			return ctx.Accept()
		}, func(t *testing.T, s *urlServer) {
			response := s.open(t.Context())
			<-s.entered
			if got := wait(t, response); !strings.HasPrefix(got, "200 OK\nretry: ") {
				t.Errorf("the response is %q", got)
			}
		})
	})
}

// wait receives from a channel.
func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kit.Patience)
	defer cancel()
	select {
	case v = <-c:
	case <-ctx.Done():
		t.Fatal("nothing arrived")
	}
	return v
}
