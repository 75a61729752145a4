package load_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pondsocket/pond"
)

// A faulty is a server with mistakes.
type faulty struct {
	pond     *pond.Pond
	endpoint *pond.Endpoint

	mu    sync.Mutex
	turn  int             // of the message that comes next, from 0
	held  json.RawMessage // comes late
	conns []net.Conn
}

// An answer is what a faulty server does with its message n.
type answer func(f *faulty, n int, ctx *pond.EventContext) error

// serveFaulty serves a lobby in which everybody is welcome, and returns its address.
func serveFaulty(t *testing.T, handle answer) string {
	t.Helper()
	f := &faulty{pond: pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))}
	f.endpoint = f.pond.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	l := f.endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	l.OnMessage("*", func(ctx *pond.EventContext) error {
		f.mu.Lock()
		defer f.mu.Unlock() // the order of turns is that of answers
		f.turn++
		return handle(f, f.turn-1, ctx)
	})
	srv := httptest.NewUnstartedServer(f.pond)
	srv.Listener = &listener{srv.Listener, f}
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		if err := f.pond.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		srv.Close()
	})
	return strings.TrimPrefix(srv.URL, "http://")
}

// A listener lets the server get at its connections.
type listener struct {
	net.Listener

	faulty *faulty
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.faulty.mu.Lock()
		l.faulty.conns = append(l.faulty.conns, c)
		l.faulty.mu.Unlock()
	}
	return c, err
}

// cut closes the connection of the third client. On loopback, each of them has an
// address of its own.
func (f *faulty) cut() error {
	for _, c := range f.conns {
		if strings.HasPrefix(c.RemoteAddr().String(), "127.0.0.4:") {
			return c.Close()
		}
	}
	return errors.New("there is no third client")
}

func broadcast(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) }

func reply(ctx *pond.EventContext) error { return ctx.Reply(ctx.Event(), ctx.Payload()) }

// forge broadcasts message 10 once more, with a stamp that begins otherwise.
func forge(stamp string) answer {
	return func(_ *faulty, n int, ctx *pond.EventContext) error {
		if n != 10 {
			return broadcast(ctx)
		}
		forged := bytes.Clone(ctx.Payload())
		copy(forged[bytes.Index(forged, []byte("~~"))+2:], stamp)
		return errors.Join(broadcast(ctx), ctx.Broadcast(ctx.Event(), json.RawMessage(forged)))
	}
}
