// Requestreply is a shop that answers requests, and a client that sends them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pondsocket/pond"
)

const addr = "127.0.0.1:8000"

func newShop() *Shop {
	return &Shop{
		goods: map[string]*Price{
			"tea":    {Item: "tea", Cents: 450, Left: 10},
			"coffee": {Item: "coffee", Cents: 790, Left: 3},
		},
		supplier: func(ctx context.Context, item string) (days int, err error) {
			switch item {
			case "tea":
				return 2, nil
			case "coffee":
				<-ctx.Done() // never answers
				return 0, ctx.Err()
			default:
				return 0, errors.New("no contract with Smith & Sons")
			}
		},
	}
}

func handler(p *pond.Pond, s *Shop) http.Handler {
	s.open(p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() }))
	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	return mux
}

func run(ctx context.Context, srv *http.Server) error {
	p := pond.New()
	srv.Handler = handler(p, newShop())
	return p.ListenAndServe(ctx, srv)
}

// ask is the client program.
func ask(ctx context.Context, url, event, question string) (answer json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := Dial(ctx, url, func(event string, payload json.RawMessage) {
		log.Printf("also received: %s %s", event, payload)
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	if err := c.Join(ctx, "/shop", nil); err != nil {
		return nil, err
	}
	err = c.Ask(ctx, "/shop", event, json.RawMessage(question), &answer)
	return answer, err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 {
		answer, err := ask(ctx, "ws://"+addr+"/socket", os.Args[1], os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", answer)
		return
	}
	if err := run(ctx, &http.Server{Addr: addr}); err != nil {
		log.Fatal(err)
	}
}
