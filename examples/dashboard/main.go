// Dashboard shows metrics of its own process: a goroutine measures once per second and
// pushes to the channels that have members.
package main

import (
	"context"
	"embed"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/page"
)

//go:embed page
var files embed.FS

func handler(p *pond.Pond) (*Board, http.Handler) {
	board := newBoard(p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() }))
	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.Handle("/", page.Handler(files))
	return board, mux
}

// run owns the ticker's goroutine: it starts and ends it, and waits for it.
func run(ctx context.Context, srv *http.Server) error {
	p := pond.New()
	board, mux := handler(p)
	srv.Handler = mux

	var ticker sync.WaitGroup
	defer ticker.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop() // even if the server fails
	ticker.Go(func() { board.Tick(ctx) })

	return p.ListenAndServe(ctx, srv)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Print("open http://127.0.0.1:8000 in two tabs")
	if err := run(ctx, &http.Server{Addr: "127.0.0.1:8000"}); err != nil {
		log.Fatal(err)
	}
}
