// Hello is the smallest chat server.
package main

import (
	"log"
	"net/http"

	"github.com/pondsocket/pond"
)

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error { return ctx.Accept() }

func onMessage(ctx *pond.EventContext) error {
	return ctx.Broadcast(ctx.Event(), ctx.Payload())
}

func chat() *pond.Pond {
	p := pond.New()
	endpoint := p.Endpoint("/socket", auth)
	lobby := endpoint.Lobby("/chat/:room_id", onJoin)
	lobby.OnMessage("message", onMessage)
	return p
}

func main() { log.Fatal(http.ListenAndServe("127.0.0.1:8000", chat())) }
