// Package testchat has the endpoint of the servers for checks of clients and clusters:
// conformance/server and examples/cluster.
package testchat

import (
	"errors"
	"net/http"
	"time"

	"github.com/pondsocket/pond"
)

// The payloads of clients and server. Other payloads are sent back unchanged.
type (
	presence struct {
		Name   string `json:"name"`
		Status string `json:"status"`
	}
	said struct {
		Text string `json:"text"`
	}
	whispered struct {
		said
		To []string `json:"to"`
	}
	count struct {
		To int `json:"to"`
	}
	tick struct {
		I int `json:"i"`
	}
	moved struct {
		Piece string `json:"piece"`
		To    string `json:"to"`
	}
	kick struct {
		ID     string `json:"id"`
		Reason string `json:"reason"`
	}
	welcome struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Room string `json:"room"`
	}
	departure struct {
		Name   string           `json:"name"`
		Reason pond.LeaveReason `json:"reason"`
	}
)

// Add adds the endpoint /socket to p, where clients may join by URL. It has two lobbies
// with the same handlers, /chat/:room and /log/:room; the channels of the latter have a
// history, and offer presence as differences.
func Add(p *pond.Pond) *pond.Endpoint {
	e := p.Endpoint("/socket", connect, pond.WithCompression(512), pond.WithJoinByURL())
	addHandlers(e.Lobby("/chat/:room", join))
	addHandlers(e.Lobby("/log/:room", join, pond.WithHistory(pond.History{Newcomers: 50}), pond.WithPresenceDiffs()))
	return e
}

func connect(ctx *pond.ConnectionContext) error {
	switch ctx.Query().Get("token") {
	case "deny":
		return ctx.Decline(http.StatusForbidden, "Forbidden")
	case "silent":
		return nil
	}
	return ctx.Accept()
}

func addHandlers(l *pond.Lobby) {
	l.OnLeave(leave)
	l.OnMessage("say", func(ctx *pond.EventContext) error {
		return ctx.Broadcast(ctx.Event(), ctx.Payload())
	})
	l.OnMessage("say-others", func(ctx *pond.EventContext) error {
		return ctx.Others().Broadcast(ctx.Event(), ctx.Payload())
	})
	l.OnMessage("echo", func(ctx *pond.EventContext) error {
		return ctx.Reply(ctx.Event(), ctx.Payload())
	})
	l.OnMessage("slow", func(ctx *pond.EventContext) error {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
		return ctx.Reply(ctx.Event(), ctx.Payload())
	})
	l.OnMessage("hide", func(ctx *pond.EventContext) error {
		return ctx.Untrack()
	})
	l.OnMessage("fail", func(*pond.EventContext) error {
		return pond.Errorf(http.StatusConflict, "not now")
	})
	l.OnMessage("crash", func(*pond.EventContext) error {
		return errors.New("a secret of the server")
	})
	l.OnMessage("panic", func(*pond.EventContext) error {
		panic("a secret of the server")
	})
	pond.On(l, "say-some", func(ctx *pond.EventContext, m whispered) error {
		return ctx.Channel().To(m.To...).Broadcast(ctx.Event(), m.said)
	})
	pond.On(l, "count", func(ctx *pond.EventContext, m count) error {
		for i := range m.To {
			if err := ctx.Broadcast("tick", tick{i}); err != nil {
				return err
			}
		}
		return nil
	})
	pond.On(l, "move/:piece", func(ctx *pond.EventContext, m moved) error {
		m.Piece = ctx.Param("piece")
		return ctx.Broadcast("moved", m)
	})
	pond.On(l, "status", func(ctx *pond.EventContext, p presence) error {
		p.Name, _ = ctx.Get("name").(string)
		return ctx.Update(p)
	})
	pond.On(l, "kick", func(ctx *pond.EventContext, m kick) error {
		return ctx.Channel().Evict(m.ID, m.Reason)
	})
}

func join(ctx *pond.JoinContext) error {
	var params struct {
		Name    string `json:"name"`
		Decline bool   `json:"decline"`
		Silent  bool   `json:"silent"`
		Track   bool   `json:"track"`
	}
	if err := ctx.Bind(&params); err != nil {
		return err
	}
	switch {
	case params.Decline:
		return ctx.Decline(http.StatusForbidden, "Nope")
	case params.Silent:
		return nil
	}
	ctx.Assign("name", params.Name)
	if err := ctx.Accept(); err != nil {
		return err
	}
	if params.Track {
		if err := ctx.Track(presence{params.Name, "online"}); err != nil {
			return err
		}
	}
	return ctx.Reply("welcome", welcome{ctx.User().ID, params.Name, ctx.Channel().Param("room")})
}

func leave(ctx *pond.LeaveContext) error {
	name, _ := ctx.Get("name").(string)
	return ctx.Broadcast("left", departure{name, ctx.Reason()})
}
