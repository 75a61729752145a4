package main

import (
	"errors"
	"io"
	"net/http"

	"github.com/pondsocket/pond"
)

type person struct{ name, role string }

var people = map[string]person{
	"token-of-ann": {"Ann", "moderator"},
	"token-of-bob": {"Bob", "member"},
	"token-of-gus": {"Gus", "guest"},
}

func connect(ctx *pond.ConnectionContext) error {
	p, ok := people[ctx.Query().Get("token")]
	if !ok {
		return ctx.Decline(http.StatusUnauthorized, "unknown token")
	}
	ctx.Assign("name", p.name)
	ctx.Assign("role", p.role)
	return ctx.Accept()
}

type presence struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

func join(ctx *pond.JoinContext) error {
	var params struct {
		Key string `json:"key"`
	}
	if err := ctx.Bind(&params); err != nil {
		return err
	}
	room := ctx.Channel().Param("room")
	if room == "board" && ctx.Get("role") != "moderator" {
		return ctx.Decline(http.StatusForbidden, "moderators only")
	}
	if params.Key == "host" {
		ctx.Assign("role", "moderator")
	}
	if err := ctx.Accept(); err != nil {
		return err
	}
	name := nameOf(ctx)
	return errors.Join(
		ctx.Track(presence{ctx.User().ID, name, "online"}),
		ctx.Reply("welcome", map[string]string{"room": room, "name": name}),
	)
}

// nameOf returns the name that connect assigned, in every context.
func nameOf(ctx interface{ Get(key string) any }) string {
	name, _ := ctx.Get("name").(string)
	return name
}

type message struct {
	Name string   `json:"name"`
	Text string   `json:"text,omitempty"`
	To   []string `json:"to,omitempty"`
}

func say(ctx *pond.EventContext, m message) error {
	if m.Text == "" {
		return pond.Errorf(http.StatusBadRequest, "say something")
	}
	return ctx.Broadcast("said", message{Name: nameOf(ctx), Text: m.Text})
}

func typing(ctx *pond.EventContext) error {
	return ctx.Others().Broadcast("typing", message{Name: nameOf(ctx)})
}

func whisper(ctx *pond.EventContext, m message) error {
	return ctx.Channel().To(m.To...).Broadcast("whispered", message{Name: nameOf(ctx), Text: m.Text})
}

func count(ctx *pond.EventContext) error {
	said, _ := ctx.Get("said").(int)
	said++
	return errors.Join(
		ctx.Assign("said", said),
		ctx.Reply("counted", map[string]int{"said": said, "members": ctx.Channel().Len()}),
	)
}

func status(ctx *pond.EventContext, p presence) error {
	return ctx.Update(presence{ctx.User().ID, nameOf(ctx), p.Status})
}

func hide(ctx *pond.EventContext) error { return ctx.Untrack() }

type reported struct {
	By   string `json:"by,omitempty"`
	Text string `json:"text"`
}

func report(ctx *pond.EventContext, r reported) error {
	return ctx.Broadcast("reported", reported{nameOf(ctx), r.Text})
}

func moderatorsOnly(next pond.Handler[*pond.EventContext]) pond.Handler[*pond.EventContext] {
	return func(ctx *pond.EventContext) error {
		if ctx.Get("role") != "moderator" {
			return ctx.Reply("refused", map[string]string{"message": "moderators only"})
		}
		return next(ctx)
	}
}

type target struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

func mute(ctx *pond.EventContext) error {
	var who target
	if err := ctx.Bind(&who); err != nil {
		return err
	}
	return errors.Join(ctx.Channel().Assign(who.ID, "role", "guest"), ctx.Reply("muted", nil))
}

func kick(ctx *pond.EventContext) error {
	var who target
	if err := ctx.Bind(&who); err != nil {
		return err
	}
	return ctx.Channel().Evict(who.ID, who.Reason)
}

func filterReport(ctx *pond.OutgoingContext) error {
	switch ctx.Get("role") {
	case "guest":
		ctx.Block()
	case "moderator":
	default:
		var r reported
		if err := ctx.Bind(&r); err != nil {
			return err
		}
		return ctx.Transform(reported{Text: r.Text})
	}
	return nil
}

func leave(ctx *pond.LeaveContext) error {
	return ctx.Broadcast("left", map[string]any{"name": nameOf(ctx), "reason": ctx.Reason()})
}

func application(p *pond.Pond) http.Handler {
	endpoint := p.Endpoint("/socket", connect)
	team := endpoint.Lobby("/team/:room", join)
	pond.On(team, "say", say)
	team.OnMessage("typing", typing)
	pond.On(team, "whisper", whisper)
	team.OnMessage("count", count)
	pond.On(team, "status", status)
	team.OnMessage("hide", hide)
	pond.On(team, "report", report)
	team.OnMessage("mute", pond.Chain(mute, moderatorsOnly))
	team.OnMessage("kick", pond.Chain(kick, moderatorsOnly))
	team.OnOutgoing("reported", filterReport)
	team.OnLeave(leave)

	mux := http.NewServeMux()
	mux.HandleFunc("POST /announce/{room}", func(w http.ResponseWriter, r *http.Request) {
		announce(endpoint, w, r)
	})
	mux.Handle("/api/", http.StripPrefix("/api", p))
	return mux
}

func announce(endpoint *pond.Endpoint, w http.ResponseWriter, r *http.Request) {
	channel, ok := endpoint.Channel("/team/" + r.PathValue("room"))
	if !ok {
		http.Error(w, "nobody is there", http.StatusNotFound)
		return
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := channel.Broadcast("announced", map[string]string{"text": string(text)}); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
