package main

import (
	"errors"
	"net/http"

	"github.com/pondsocket/pond"
)

// A presence is what the members of a channel know about each other.
type presence struct {
	Name   string `json:"name"`
	Status string `json:"status"`
}

type (
	tick struct {
		I int `json:"i"`
	}
	said struct {
		Text string `json:"text"`
	}
	moved struct {
		Piece string `json:"piece"`
		To    string `json:"to"`
	}
	welcome struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Room string `json:"room"`
	}
	farewell struct {
		Name   string           `json:"name"`
		Reason pond.LeaveReason `json:"reason"`
	}
)

func addChat(e *pond.Endpoint) {
	l := e.Lobby("/chat/:room", join)
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
	pond.On(l, "say-some", func(ctx *pond.EventContext, m struct {
		To []string `json:"to"`
		said
	}) error {
		return ctx.Channel().To(m.To...).Broadcast(ctx.Event(), m.said)
	})
	pond.On(l, "count", func(ctx *pond.EventContext, m struct {
		To int `json:"to"`
	}) error {
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
	pond.On(l, "kick", func(ctx *pond.EventContext, m struct{ ID, Reason string }) error {
		return ctx.Channel().Evict(m.ID, m.Reason)
	})
}

func join(ctx *pond.JoinContext) error {
	var params struct {
		Name                   string
		Decline, Silent, Track bool
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
	return ctx.Broadcast("left", farewell{name, ctx.Reason()})
}
