// Airesponse streams the long answers of a language model to web pages. A page shows
// the whole answer even if it is reloaded, opened in a second tab, or disconnected for
// a while. It needs no client library: an EventSource is sufficient.
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

func handler(p *pond.Pond, model Model) (*Runs, http.Handler) {
	runs := newRuns(p, model)
	mux := http.NewServeMux()
	mux.Handle("/socket", p) // checks origins itself
	mux.Handle("POST /ask", protected(runs.Ask))
	mux.Handle("POST /cut", protected(runs.Cut))
	mux.Handle("/", page.Handler(files))
	return runs, mux
}

func protected(h http.HandlerFunc) http.Handler {
	return http.NewCrossOriginProtection().Handler(h)
}

// run owns the answers in progress. Before it returns, it ends them and waits for them.
func run(ctx context.Context, srv *http.Server, model Model) error {
	p := pond.New()
	runs, mux := handler(p, model)
	srv.Handler = mux
	defer runs.Stop()
	return p.ListenAndServe(ctx, srv)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Print("open http://127.0.0.1:8000, ask something, and reload the page in the middle of the answer")
	if err := run(ctx, &http.Server{Addr: "127.0.0.1:8000"}, slowModel); err != nil {
		log.Fatal(err)
	}
}
