// Middleware is a chat with the usual middlewares, each at the right place.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5/middleware"
	"github.com/klauspost/compress/gzhttp"
	"github.com/pondsocket/pond"
)

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error { return ctx.Accept() }

func onMessage(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) }

func chat(p *pond.Pond) {
	endpoint := p.Endpoint("/socket", auth, pond.WithOrigins("https://example.com")) // includes CORS
	lobby := endpoint.Lobby("/chat/:room", onJoin)
	lobby.OnMessage("message", onMessage)
}

// handler wraps the Pond only in middlewares that do not change responses, and the site in
// all of them.
func handler(p *pond.Pond) http.Handler {
	site := http.NotFoundHandler() // your site
	site = http.TimeoutHandler(site, 10*time.Second, "")
	site = gzhttp.GzipHandler(site)

	mux := http.NewServeMux()
	mux.Handle("/api/", http.StripPrefix("/api", p))
	mux.Handle("/", site)
	return middleware.Logger(middleware.Recoverer(mux))
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
