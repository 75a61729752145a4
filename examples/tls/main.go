// Tls is a chat over HTTPS and WSS.
package main

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/selfsigned"
)

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error { return ctx.Accept() }

func onMessage(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) }

func chat(p *pond.Pond) {
	lobby := p.Endpoint("/socket", auth).Lobby("/chat/:room", onJoin)
	lobby.OnMessage("message", onMessage)
}

func handler(p *pond.Pond) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", http.StripPrefix("/api", p))
	return mux
}

// secure returns a TLS listener that offers HTTP/2, for event streams, and HTTP/1.1, for
// WebSockets.
func secure(l net.Listener, cert tls.Certificate) net.Listener {
	return tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cert, err := selfsigned.Certificate() // in production: tls.LoadX509KeyPair
	if err != nil {
		log.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:8443")
	if err != nil {
		log.Fatal(err)
	}
	p := pond.New()
	chat(p)
	if err := p.Serve(ctx, &http.Server{Handler: handler(p)}, secure(l, cert)); err != nil {
		log.Fatal(err)
	}
}
