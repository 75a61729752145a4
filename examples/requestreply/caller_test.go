package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/client"
)

// wide opens a shop with the given number of items. Item n costs n cents.
func wide(items int) func(ctx context.Context, srv *http.Server) error {
	s := newShop()
	for n := range items {
		item := strconv.Itoa(n)
		s.goods[item] = &Price{Item: item, Cents: n, Left: 1}
	}
	return func(ctx context.Context, srv *http.Server) error {
		p := pond.New()
		srv.Handler = handler(p, s)
		return p.ListenAndServe(ctx, srv)
	}
}

func dial(t *testing.T, server *client.Server, heard func(event string, payload json.RawMessage)) *Caller {
	t.Helper()
	c, err := Dial(t.Context(), server.URL+"/socket", heard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Join(t.Context(), "/shop", nil); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConcurrentRequests(t *testing.T) {
	const questions = 50
	server := client.Serve(t, wide(questions))
	var told sync.WaitGroup // messages about orders
	told.Add(questions)
	ann := dial(t, server, func(event string, _ json.RawMessage) {
		if event != "stock" {
			t.Errorf("unexpected message %s", event)
		}
		told.Done()
	})
	bob := dial(t, server, func(event string, _ json.RawMessage) { t.Errorf("unexpected message %s", event) })
	var all sync.WaitGroup
	for n := range questions {
		all.Go(func() {
			var got Price
			if err := ann.Ask(t.Context(), "/shop", "price", Query{strconv.Itoa(n)}, &got); err != nil || got.Cents != n {
				t.Errorf("item %d costs %v, %v", n, got, err)
			}
		})
		all.Go(func() {
			var got Receipt
			if err := bob.Ask(t.Context(), "/shop", "order", Order{strconv.Itoa(n), 1}, &got); err != nil || got.Cents != n {
				t.Errorf("order of item %d: %v, %v", n, got, err)
			}
		})
	}
	all.Wait()
	told.Wait()
}

func TestCallerErrors(t *testing.T) {
	server := client.Serve(t, run)
	c := dial(t, server, func(event string, _ json.RawMessage) { t.Errorf("unexpected message %s", event) })

	var refused *Refusal
	err := c.Ask(t.Context(), "/shop", "order", Order{"coffee", 4}, nil)
	if !errors.As(err, &refused) || refused.Status != 409 || string(refused.Details) != `{"item":"coffee","left":3}` {
		t.Errorf("too many: %v", err)
	}
	if err := c.Join(t.Context(), "/elsewhere", nil); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("no such channel: %v", err)
	}
	if err := c.Ask(t.Context(), "/shop", "order", func() {}, nil); err == nil {
		t.Error("no error for a payload that is a function")
	}

	asking := make(chan error)
	go func() { asking <- c.Ask(t.Context(), "/shop", "delivery", Query{"coffee"}, nil) }()
	server.Stop()
	if err := <-asking; err == nil {
		t.Error("no error after Close")
	}
	if err := c.Ask(t.Context(), "/shop", "price", Query{"tea"}, nil); err == nil {
		t.Error("no error without a server")
	}
}

// If a call is canceled, other calls still receive their answers, and heard is called
// with the late answer.
func TestCallThatIsGivenUp(t *testing.T) {
	shop := newShop()
	asked, answers := make(chan struct{}), make(chan int)
	shop.supplier = func(context.Context, string) (int, error) {
		asked <- struct{}{}
		return <-answers, nil
	}
	server := client.Serve(t, func(ctx context.Context, srv *http.Server) error {
		p := pond.New()
		srv.Handler = handler(p, shop)
		return p.ListenAndServe(ctx, srv)
	})
	heard := make(chan string, 1)
	c := dial(t, server, func(event string, payload json.RawMessage) { heard <- event + " " + string(payload) })
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() { gaveUp <- c.Ask(ctx, "/shop", "delivery", Query{"tea"}, nil) }()
	<-asked
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	go func() { answers <- 7 }()
	var got Price
	if err := c.Ask(t.Context(), "/shop", "price", Query{"tea"}, &got); err != nil || got.Item != "tea" {
		t.Fatalf("the next call: %v, %v", got, err)
	}
	if got := <-heard; got != `delivery {"days":7}` {
		t.Errorf("heard %s", got)
	}
}

// The client program.
func TestAsk(t *testing.T) {
	server := client.Serve(t, run)
	answer, err := ask(t.Context(), server.URL+"/socket", "order", `{"item":"tea","count":2}`)
	if err != nil || string(answer) != `{"number":1,"cents":900}` {
		t.Errorf("%s, %v", answer, err)
	}
	_, err = ask(t.Context(), server.URL+"/socket", "price", `{"item":"gold"}`)
	if err == nil || err.Error() != `404: item "gold" not found` {
		t.Error(err)
	}
}

func TestOnLoopback(t *testing.T) {
	for _, tr := range client.Transports {
		t.Run(string(tr), func(t *testing.T) {
			server := client.Serve(t, run)
			ann := client.Dial(t, tr, server.URL+"/socket", nil)
			ann.Join("/shop", nil)
			if got := string(ann.Request("/shop", "price", Query{"tea"}).Payload); got != `{"item":"tea","cents":450,"left":10}` {
				t.Error(got)
			}
			if answer := ann.Request("/shop", "price", Query{"gold"}); answer.Action != "ERROR" {
				t.Error(answer)
			}
			server.Stop()
			if code := ann.Closed(); tr == client.WebSocket && code != 1001 {
				t.Error("closed with", code)
			}
		})
	}
}
