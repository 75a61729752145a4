// Hello is the smallest chat server.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := chat().ListenAndServe(ctx, &http.Server{Addr: "127.0.0.1:8000"}); err != nil {
		log.Fatal(err)
	}
}
