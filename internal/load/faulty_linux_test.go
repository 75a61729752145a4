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

// A faulty is a server with faults.
type faulty struct {
	pond     *pond.Pond
	endpoint *pond.Endpoint

	mu    sync.Mutex
	turn  int             // number of the next message, from 0
	held  json.RawMessage // a payload that is sent later
	conns []net.Conn
}

// An answer handles message n of a faulty server.
type answer func(f *faulty, n int, ctx *pond.EventContext) error

// serveFaulty serves a lobby that accepts all clients, and returns its address.
func serveFaulty(t *testing.T, handle answer) string {
	t.Helper()
	f := &faulty{pond: pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))}
	f.endpoint = f.pond.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	l := f.endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	l.OnMessage("*", func(ctx *pond.EventContext) error {
		f.mu.Lock()
		defer f.mu.Unlock() // so that answers are in the order of turns
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

// A listener records the connections of the server.
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

// cut closes the connection of the third client. On loopback, each client has its own
// address.
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

// forge broadcasts message 10 again, with a stamp that starts with the given text.
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
