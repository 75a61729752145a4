// Http2 is a chat over HTTP/1.1 and HTTP/2 without TLS, for a proxy that uses either.
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

func onMessage(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) }

func chat(p *pond.Pond) {
	lobby := p.Endpoint("/socket", auth).Lobby("/chat/:room", onJoin)
	lobby.OnMessage("message", onMessage)
}

// newServer returns a server that accepts HTTP/2 without TLS (h2c) and, for WebSockets,
// HTTP/1.1.
func newServer(p *pond.Pond) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("/api/", http.StripPrefix("/api", p))
	srv := &http.Server{Addr: "127.0.0.1:8000", Handler: mux, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true) // over TLS
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := pond.New()
	chat(p)
	if err := p.ListenAndServe(ctx, newServer(p)); err != nil {
		log.Fatal(err)
	}
}
