package channel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func TestLeaveReasons(t *testing.T) {
	for name, end := range map[string]func(e *pond.Endpoint, d *pondtest.Driver, s *pondtest.Session){
		"explicit_leave":         func(_ *pond.Endpoint, _ *pondtest.Driver, s *pondtest.Session) { s.Leave("/chat/1") },
		"connection_closed":      func(_ *pond.Endpoint, _ *pondtest.Driver, s *pondtest.Session) { s.Close() },
		"connection_closed cut":  func(_ *pond.Endpoint, _ *pondtest.Driver, s *pondtest.Session) { s.Reset() },
		"connection_closed kick": func(e *pond.Endpoint, _ *pondtest.Driver, s *pondtest.Session) { _ = e.Disconnect(s.ID(), 403, "") },
		"evicted": func(e *pond.Endpoint, _ *pondtest.Driver, s *pondtest.Session) {
			ch, _ := e.Channel("/chat/1")
			_ = ch.Evict(s.ID(), "spam")
		},
		"channel_closed": func(e *pond.Endpoint, _ *pondtest.Driver, _ *pondtest.Session) {
			ch, _ := e.Channel("/chat/1")
			ch.Close("")
			ch.Close("")
		},
	} {
		t.Run(name, func(t *testing.T) {
			want, _, _ := strings.Cut(name, " ")
			for _, tr := range pondtest.Transports {
				p := pond.New()
				e := p.Endpoint("/socket", kit.Accept)
				l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
					ctx.Assign("role", "admin")
					return errors.Join(ctx.Accept(), ctx.Track(map[string]int{"n": 1}))
				})
				var left []string
				l.OnLeave(func(ctx *pond.LeaveContext) error {
					if ctx.Err() != nil {
						t.Error("the context of a leave handler is cancelled")
					}
					left = append(left, fmt.Sprint(ctx.Reason(), ctx.User().ID, ctx.Get("role"), string(ctx.User().Presence())))
					return ctx.Broadcast("left", nil)
				})
				pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
					s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
					s.Join("/chat/1", nil)
					s.Expect("JOIN")
					id := s.ID()
					end(e, d, s)
					synctest.Wait()
					s.Close()
					synctest.Wait()
					if got, w := strings.Join(left, ";"), want+id+`admin{"n":1}`; got != w {
						t.Errorf("%s: left %q, want %q", tr, got, w)
					}
					if _, ok := e.Channel("/chat/1"); ok {
						t.Error("the channel still exists")
					}
					other.Join("/chat/1", nil)
				})
			}
		})
	}
}

func TestContextEndsWithConnection(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error)
	p, _, l := kit.NewPond()
	l.OnMessage("wait", func(ctx *pond.EventContext) error {
		close(started)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		started, ended = make(chan struct{}), make(chan error)
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		s.Send("/chat/1", "wait", nil)
		<-started
		s.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// A member that is evicted while its connection ends leaves exactly once.
func TestLeaveOnceWhateverEndsIt(t *testing.T) {
	var left []string
	p, e, l := kit.NewPond()
	l.OnLeave(func(ctx *pond.LeaveContext) error {
		left = append(left, ctx.Channel().Name())
		for _, name := range []string{"/chat/1", "/chat/2"} {
			if ch, ok := e.Channel(name); ok {
				_ = ch.Evict(ctx.User().ID, "") // from the channel that it has not left yet
			}
		}
		return nil
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		s.Join("/chat/2", nil)
		s.Reset()
		synctest.Wait()
		if len(left) != 2 || left[0] == left[1] {
			t.Errorf("left %v", left)
		}
	})
}
