// Cursors shows the cursors of all users to all users: with events and with presence, for
// comparison.
package main

import (
	"context"
	"embed"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/page"
)

//go:embed page
var files embed.FS

func handler(p *pond.Pond) http.Handler {
	// Pages send 30 moves per second. A page that sends more than the limit receives
	// errors, and is disconnected if it continues.
	endpoint := p.Endpoint("/socket", auth, pond.WithRateLimit(40, 80))
	pond.On(endpoint.Lobby("/events/:board", onJoin, pond.WithPresenceDiffs()), move, moveByEvent)
	pond.On(endpoint.Lobby("/presence/:board", onJoin, pond.WithPresenceDiffs()), move, moveByPresence)

	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.Handle("/", page.Handler(files))
	return mux
}

func run(ctx context.Context, srv *http.Server) error {
	p := pond.New()
	srv.Handler = handler(p)
	return p.ListenAndServe(ctx, srv)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Print("open http://127.0.0.1:8000 in two tabs, side by side")
	if err := run(ctx, &http.Server{Addr: "127.0.0.1:8000"}); err != nil {
		log.Fatal(err)
	}
}
