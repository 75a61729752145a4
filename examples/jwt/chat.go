package main

import (
	"net/http"
	"time"

	"github.com/pondsocket/pond"
)

// A Message is sent by a member.
type Message struct {
	Text string `json:"text"`
}

// A Said is broadcast to all members.
type Said struct {
	From string `json:"from"`
	Text string `json:"text"`
}

const (
	said  pond.Event[Message] = "say"
	heard pond.Event[Said]    = "said"
)

const expired = "the token is expired"

func auth(ctx *pond.ConnectionContext) error {
	token := tokenOf(ctx.Request())
	if token == "" {
		return ctx.Decline(http.StatusUnauthorized, "missing token")
	}
	claims, err := verify(token)
	if err != nil {
		return ctx.Decline(http.StatusUnauthorized, reason(err))
	}
	ctx.Assign("claims", claims)
	return ctx.Accept()
}

func onJoin(ctx *pond.JoinContext) error {
	claims, _ := ctx.Get("claims").(*Claims)
	left := time.Until(claims.ExpiresAt.Time)
	if left <= 0 { // it expired after the client connected
		return ctx.Decline(http.StatusUnauthorized, expired)
	}
	if room := ctx.Channel().Param("room"); !claims.MayEnter(room) {
		return ctx.Decline(http.StatusForbidden, claims.Subject+" may not join "+room)
	}
	if err := ctx.Accept(); err != nil {
		return err
	}
	// The permission ends when the token expires. The client can connect with a new token.
	room, id := ctx.Channel(), ctx.User().ID
	ctx.Assign("eviction", time.AfterFunc(left, func() {
		_ = room.Evict(id, expired) // fails if the member just left
	}))
	return nil
}

func onLeave(ctx *pond.LeaveContext) error {
	if eviction, ok := ctx.Get("eviction").(*time.Timer); ok {
		eviction.Stop()
	}
	return nil
}

func onMessage(ctx *pond.EventContext, m Message) error {
	if m.Text == "" {
		return pond.Errorf(http.StatusBadRequest, "the message is empty")
	}
	claims, _ := ctx.Get("claims").(*Claims)
	return ctx.Broadcast(heard.With(Said{claims.Subject, m.Text}))
}
