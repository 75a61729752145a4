// Gin is a chat behind gin-gonic/gin.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/gin-gonic/gin"
	"github.com/pondsocket/pond"
)

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error { return ctx.Accept() }

func onMessage(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) }

func chat(p *pond.Pond) {
	lobby := p.Endpoint("/socket", auth).Lobby("/chat/:room", onJoin)
	lobby.OnMessage("message", onMessage)
}

func handler(p *pond.Pond) http.Handler {
	r := gin.New()
	r.Use(gin.Logger(), gin.Recovery())
	r.Any("/api/*path", gin.WrapH(http.StripPrefix("/api", p)))
	return r
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := pond.New()
	chat(p)
	srv := &http.Server{Addr: "127.0.0.1:8000", Handler: handler(p)}
	if err := p.ListenAndServe(ctx, srv); err != nil {
		log.Fatal(err)
	}
}
