package channel_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func TestChannelClose(t *testing.T) {
	p, e, _ := kit.NewPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		ann, bob := d.Connect(pondtest.WebSocket, "/socket"), d.Connect(pondtest.SSE, "/socket")
		for _, s := range []*pondtest.Session{ann, bob} {
			s.Join("/chat/1", nil)
			s.Send("/chat/1", "track", nil)
			s.Expect("JOIN")
		}
		ann.Expect("JOIN")
		ch, _ := e.Channel("/chat/1")
		ch.Close("maintenance")
		for _, s := range []*pondtest.Session{ann, bob} {
			kit.Is(t, s.Receive(), "ERROR", "destroyed", `{"message":"maintenance"}`)
			s.Quiet()
		}
		if err := ch.Broadcast("x", nil); !errors.Is(err, pond.ErrClosed) {
			t.Errorf("Broadcast: %v", err)
		}
		ann.Join("/chat/1", nil)
		if again, ok := e.Channel("/chat/1"); !ok || again == ch {
			t.Error("the channel is not new")
		}
	})
}

func TestChannelFromOutside(t *testing.T) {
	p, e, _ := kit.NewPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		if _, ok := e.Channel("/chat/1"); ok {
			t.Error("a channel without members")
		}
		ann, bob := d.Connect(pondtest.WebSocket, "/socket"), d.Connect(pondtest.SSE, "/socket")
		ann.Join("/chat/1?x=1", nil)
		ann.Join("/chat/1", nil)
		bob.Join("/chat/1", nil)
		ch, _ := e.Channel("/chat/1")
		n := 0
		for other := range e.Channels() {
			n += other.Len()
		}
		if ch.Lobby().Pattern() != "/chat/:room" {
			t.Errorf("lobby %s", ch.Lobby().Pattern())
		}
		if n != 3 || ch.Name() != "/chat/1" || ch.Param("room") != "1" || ch.Len() != 2 {
			t.Errorf("%d memberships; %s %s %d", n, ch.Name(), ch.Param("room"), ch.Len())
		}
		_ = ch.Broadcast("all", nil)
		_ = ch.To(ann.ID(), "nobody", ann.ID()).Broadcast("to", nil)
		_ = ch.Except(ann.ID(), "nobody").Broadcast("except", nil)
		ann.Expect("all")
		ann.Expect("to")
		bob.Expect("all")
		bob.Expect("except")

		if err := ch.Assign(ann.ID(), "k", 1); err != nil {
			t.Error(err)
		}
		u, _ := ch.User(ann.ID())
		copied := u.Assigns()
		copied["k"] = 2
		if u.Get("k") != 1 || u.Presence() != nil {
			t.Errorf("assigns %v, presence %s", u.Assigns(), u.Presence())
		}
		if err := ch.Upsert(ann.ID(), map[string]int{"v": 1}); err != nil {
			t.Error(err)
		}
		ann.Expect("JOIN")
		if err := ch.Upsert(ann.ID(), map[string]int{"v": 2}); err != nil {
			t.Error(err)
		}
		ann.Expect("UPDATE")
		type value struct {
			V int `json:"v"`
		}
		typed, err := pond.PresenceAs[value](ch)
		if err != nil || len(typed) != 1 || typed[0].UserID != ann.ID() || typed[0].Presence.V != 2 {
			t.Errorf("presence %v, %v", typed, err)
		}
		for id, want := range map[string]error{"nobody": pond.ErrNotMember, bob.ID(): pond.ErrNotTracked} {
			if err := ch.Untrack(id); !errors.Is(err, want) {
				t.Errorf("Untrack: %v", err)
			}
			if err := ch.Update(id, nil); !errors.Is(err, want) {
				t.Errorf("Update: %v", err)
			}
		}
		if err := ch.Track(ann.ID(), nil); !errors.Is(err, pond.ErrTracked) {
			t.Errorf("Track: %v", err)
		}
		if err := ch.Track(bob.ID(), 5); err == nil {
			t.Error("a number as presence")
		}
		if err := ch.Track(bob.ID(), map[string]string{"x": strings.Repeat("x", 20<<10)}); err == nil {
			t.Error("a presence of 20 KiB")
		}
		ids := []string{}
		for u := range ch.Users() {
			ids = append(ids, u.ID)
		}
		if len(ids) != 2 || ids[0] > ids[1] {
			t.Errorf("users %v", ids)
		}
		ann.Quiet()
		bob.Quiet()
	})
}

func TestAssigns(t *testing.T) {
	p := pond.New()
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		ctx.Assign("name", ctx.Query().Get("name"))
		return ctx.Accept()
	})
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		if ctx.Get("name") != "ann" {
			return ctx.Decline(403, "")
		}
		ctx.Assign("room", ctx.Channel().Param("room"))
		return ctx.Accept()
	})
	l.OnMessage("set", func(ctx *pond.EventContext) error { return ctx.Assign("extra", "x") })
	l.OnMessage("get", func(ctx *pond.EventContext) error { return ctx.Reply("got", ctx.User().Assigns()) })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket?name=ann")
		s.Join("/chat/1", nil)
		s.Join("/chat/2", nil)
		s.Send("/chat/1", "set", nil)
		kit.Is(t, s.Request("/chat/1", "get", nil), "SYSTEM", "got", `{"extra":"x","name":"ann","room":"1"}`)
		kit.Is(t, s.Request("/chat/2", "get", nil), "SYSTEM", "got", `{"name":"ann","room":"2"}`)
	})
}
