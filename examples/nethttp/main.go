// Nethttp is a chat behind the ServeMux of net/http.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/pondsocket/pond"
)

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error { return ctx.Accept() }

func onMessage(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) }

func chat(p *pond.Pond) {
	lobby := p.Endpoint("/socket", auth).Lobby("/chat/:room", onJoin)
	lobby.OnMessage("message", onMessage)
}

// handler mounts p under a prefix. The paths of endpoints do not contain the prefix.
func handler(p *pond.Pond) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", http.StripPrefix("/api", p))
	return mux
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8000", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on %s", l.Addr())
	p := pond.New()
	chat(p)
	if err := p.Serve(ctx, &http.Server{Handler: handler(p)}, l); err != nil {
		log.Fatal(err)
	}
}
