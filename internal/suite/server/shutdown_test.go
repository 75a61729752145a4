package server_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// Shutdown notifies all clients, runs leave handlers, releases all resources, and
// rejects new clients (rule S-33).
func TestShutdown(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p, _, l := kit.NewPond()
			var reasons []string
			l.OnLeave(func(ctx *pond.LeaveContext) error {
				reasons = append(reasons, string(ctx.Reason()))
				return nil
			})
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				s := d.Connect(tr, "/socket")
				s.Join("/chat/1", nil)
				s.Send("/chat/1", "ask", nil)
				s.Send("/chat/1", "track", nil)
				synctest.Wait()
				if err := p.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				s.Expect("answer") // messages sent before the shutdown still arrive
				s.Expect("JOIN")
				s.Quiet()
				code, _ := s.Closed()
				if want := map[pondtest.Transport]int{pondtest.WebSocket: 1001, pondtest.SSE: 0}[tr]; code != want {
					t.Errorf("closed with %d, want %d", code, want)
				}
				if got := strings.Join(reasons, " "); got != "server_shutdown" {
					t.Errorf("reasons %q", got)
				}
				if resp := d.Declined(tr, "/socket"); resp.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("status %d", resp.StatusCode)
				}
				if err := p.Shutdown(t.Context()); err != nil {
					t.Error("again:", err)
				}
			})
		})
	}
}

// Handlers that do not return and clients that do not read cannot delay a shutdown
// beyond the end of its context.
func TestShutdownIsBounded(t *testing.T) {
	p, _, l := kit.NewPond()
	l.OnMessage("hang", func(ctx *pond.EventContext) error {
		<-ctx.Done()
		return nil
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s, stalled := d.Connect(pondtest.WebSocket, "/socket"), d.Connect(pondtest.SSE, "/socket")
		s.Join("/chat/1", nil)
		stalled.Join("/chat/1", nil)
		s.Send("/chat/1", "hang", nil)
		stalled.Stall()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// When the context of Shutdown is done, it also aborts connections that got a close
// frame and did not answer it.
func TestShutdownCutsWhoDoesNotAnswer(t *testing.T) {
	p, _, _ := kit.NewPond(pond.WithCloseTimeout(time.Hour))
	server := httptest.NewServer(p)
	defer server.Close()
	conn, err := kit.Joined(server.Listener.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Shutdown(ctx) }()
	if _, err := io.Copy(io.Discard, conn); err != nil { // the close frame
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Fatal("Shutdown did not wait for the client")
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	for err == nil {
		_, err = conn.Write([]byte{0x8a, 0x80, 0, 0, 0, 0})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server still reads from the connection")
	}
}

// Messages that a client sends after it got a close frame reach no handler. So no
// handler runs after Shutdown returns.
func TestNoHandlerAfterTheEnd(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept)
	var after atomic.Bool
	var late atomic.Int32
	e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		if after.Load() {
			late.Add(1)
		}
		return ctx.Accept()
	})
	server := httptest.NewServer(p)
	defer server.Close()
	conn, err := kit.Joined(server.Listener.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ended := make(chan error, 1)
	go func() { ended <- p.Shutdown(t.Context()) }()
	if _, err := io.Copy(io.Discard, bufio.NewReader(conn)); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the client is gone", func() bool { return e.Len() == 0 })
	after.Store(true)
	msg := strings.Replace(kit.JoinMessage(1), "/chat/1", "/chat/2", 1)
	if _, err := io.WriteString(conn, string([]byte{0x81, byte(0x80 | len(msg)), 0, 0, 0, 0})+msg); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := late.Load(); n != 0 {
		t.Errorf("%d joins were handled after the client had left", n)
	}
}
