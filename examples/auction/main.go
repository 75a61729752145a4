// Auction sells items to the highest bidder. It shows how to test an application with a
// clock, secrets and rules with pondtest.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pondsocket/pond"
)

func handler(p *pond.Pond) (*House, http.Handler) {
	house := newHouse(p)
	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	return house, mux
}

func run(ctx context.Context, srv *http.Server) error {
	p := pond.New()
	house, mux := handler(p)
	defer house.Close()
	house.Open("lamp", 5*time.Minute)
	house.Open("chair", time.Hour)
	srv.Handler = mux
	return p.ListenAndServe(ctx, srv)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &http.Server{Addr: "127.0.0.1:8000"}); err != nil {
		log.Fatal(err)
	}
}
