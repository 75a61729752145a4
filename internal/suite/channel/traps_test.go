package channel_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// Reply in a connection handler does not accept the client.
func TestReplyDoesNotAccept(t *testing.T) {
	var early error
	server := func() *pond.Pond {
		p := pond.New()
		p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
			early = ctx.Reply("early", nil)
			if ctx.Query().Has("accept") {
				return errors.Join(ctx.Accept(), ctx.Reply("late", nil))
			}
			return nil
		})
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		d.Declined(tr, "/socket")
		if !errors.Is(early, pond.ErrNotAccepted) {
			t.Errorf("got %v", early)
		}
		s := d.Connect(tr, "/socket?accept")
		s.Expect("late")
		s.Quiet()
	})
}

// Sending to the zero Audience returns an error and does not panic.
func TestZeroAudience(t *testing.T) {
	var a pond.Audience
	if err := a.Broadcast("x", nil); err == nil || !strings.HasPrefix(err.Error(), "pond: ") {
		t.Errorf("got %v", err)
	}
}

// The transports have the same names here and in tests.
func TestTransportNames(t *testing.T) {
	if string(pond.WebSocket) != string(pondtest.WebSocket) || string(pond.SSE) != string(pondtest.SSE) {
		t.Errorf("%q, %q, %q, %q", pond.WebSocket, pondtest.WebSocket, pond.SSE, pondtest.SSE)
	}
}

// Param returns parameters of the channel's name in every handler of a channel. Parameters
// of the event's name with the same name come first.
func TestParams(t *testing.T) {
	var seen []string
	server := func() *pond.Pond {
		seen = nil
		note := func(kind string, param func(string) string) {
			seen = append(seen, fmt.Sprint(kind, " ", param("room"), " ", param("id"), " ", param("none")))
		}
		p := pond.New()
		l := p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room/:id", func(ctx *pond.JoinContext) error {
			note("join", ctx.Param)
			return ctx.Accept()
		})
		l.OnMessage("say/:id", func(ctx *pond.EventContext) error {
			note("event", ctx.Param)
			return ctx.Reply("said/out", nil)
		})
		l.OnOutgoing("said/:id", func(ctx *pond.OutgoingContext) error { note("outgoing", ctx.Param); return nil })
		l.OnLeave(func(ctx *pond.LeaveContext) error { note("leave", ctx.Param); return nil })
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join("/chat/ann%40x/7", nil)
		s.Request("/chat/ann%40x/7", "say/in", nil)
		s.Leave("/chat/ann%40x/7")
		s.Quiet()
		want := "[join ann@x 7  event ann@x in  outgoing ann@x out  leave ann@x 7 ]"
		if got := fmt.Sprint(seen); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// PresenceAs keeps the order in which members were tracked.
func TestPresenceAsKeepsTheOrder(t *testing.T) {
	const n = 20
	p, e, _ := kit.NewPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		var ids []string
		for i := range n {
			s := d.Connect(pondtest.WebSocket, "/socket")
			s.Join("/chat/1", nil)
			s.Send("/chat/1", "track", map[string]int{"n": i})
			s.Expect("JOIN")
			ids = append(ids, s.ID())
		}
		ch, _ := e.Channel("/chat/1")
		tracked, err := pond.PresenceAs[struct {
			N int `json:"n"`
		}](ch)
		if err != nil || len(tracked) != n {
			t.Fatalf("%v, %v", tracked, err)
		}
		for i, p := range tracked {
			if p.UserID != ids[i] || p.Presence.N != i {
				t.Errorf("%d is %v", i, p)
			}
		}
		if _, err := pond.PresenceAs[struct {
			N string `json:"n"`
		}](ch); err == nil {
			t.Error("a number became a string")
		}
	})
}
