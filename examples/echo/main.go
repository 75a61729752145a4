// Echo is a chat behind labstack/echo, which runs the server.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/pondsocket/pond"
)

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error { return ctx.Accept() }

func onMessage(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) }

func chat(p *pond.Pond) {
	lobby := p.Endpoint("/socket", auth).Lobby("/chat/:room", onJoin)
	lobby.OnMessage("message", onMessage)
}

func handler(p *pond.Pond) *echo.Echo {
	e := echo.New()
	e.Use(middleware.RequestLogger(), middleware.Recover())
	e.Any("/api/*", echo.WrapHandler(http.StripPrefix("/api", p)))
	return e
}

// serve runs echo's server until ctx is done. The Pond shuts down when that server stops
// listening, so that the server does not wait for event streams.
func serve(ctx context.Context, p *pond.Pond, l net.Listener) error {
	ending := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return p.Shutdown(ctx)
	}
	server := echo.StartConfig{
		Listener:        l,
		GracefulTimeout: 10 * time.Second,
		BeforeServeFunc: func(srv *http.Server) error {
			srv.RegisterOnShutdown(func() { _ = ending() })
			return nil
		},
	}
	err := server.Start(ctx, handler(p))
	return errors.Join(err, ending()) // the server does not wait for WebSockets, so wait for the Pond
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:8000")
	if err != nil {
		log.Fatal(err)
	}
	p := pond.New()
	chat(p)
	if err := serve(ctx, p, l); err != nil {
		log.Fatal(err)
	}
}
