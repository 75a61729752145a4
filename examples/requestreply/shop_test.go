package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// visit runs a test with each transport, each with a new shop.
func visit(t *testing.T, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, logged *bytes.Buffer)) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			var logged bytes.Buffer
			p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))))
			pondtest.Run(t, handler(p, newShop()), func(t *testing.T, d *pondtest.Driver) {
				defer p.Shutdown(t.Context())
				test(t, d, tr, &logged)
			})
		})
	}
}

func enter(d *pondtest.Driver, tr pondtest.Transport) *pondtest.Session {
	s := d.Connect(tr, "/socket")
	s.Join("/shop", nil)
	return s
}

func TestAnswers(t *testing.T) {
	visit(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, logged *bytes.Buffer) {
		ann := enter(d, tr)
		for _, tt := range []struct {
			event    string
			question any
			answer   string
		}{
			{"price", Query{"tea"}, `price {"item":"tea","cents":450,"left":10}`},
			{"order", Order{"tea", 2}, `receipt {"number":1,"cents":900}`},
			{"price", Query{"tea"}, `price {"item":"tea","cents":450,"left":8}`},
			{"delivery", Query{"tea"}, `delivery {"days":2}`},
		} {
			answer := ann.Request("/shop", tt.event, tt.question)
			if got := answer.Event + " " + string(answer.Payload); got != tt.answer {
				t.Errorf("%s %v: %s, want %s", tt.event, tt.question, got, tt.answer)
			}
		}
		ann.Quiet() // one answer per request
		if logged.Len() != 0 {
			t.Error(logged)
		}
	})
}

// An error is an answer. It contains only what the handler intended for the client.
func TestErrors(t *testing.T) {
	visit(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, logged *bytes.Buffer) {
		ann := enter(d, tr)
		for _, tt := range []struct {
			event    string
			question any
			status   int
			message  string
			details  string
		}{
			{"price", Query{"gold"}, 404, `item "gold" not found`, ""},
			{"order", Order{"tea", 0}, 422, "the count must be positive", ""},
			{"order", Order{"coffee", 4}, 409, "not enough in stock", `{"item":"coffee","left":3}`},
			{"order", map[string]any{"count": "two"}, 400, "the payload does not have the expected form", ""},
			{"discount", nil, 500, "A handler did not respond to the event", ""},
			{"delivery", Query{"gold"}, 500, "internal error", ""},
		} {
			answer := ann.Request("/shop", tt.event, tt.question)
			var r *Refusal
			if !errors.As(refusal(answer.Payload), &r) {
				t.Fatal(answer)
			}
			if answer.Action != "ERROR" || r.Status != tt.status || r.Message != tt.message || string(r.Details) != tt.details {
				t.Errorf("%s %v: %v", tt.event, tt.question, answer)
			}
			if bytes.Contains(answer.Raw, []byte("Smith")) {
				t.Errorf("a secret in %v", answer)
			}
		}
		if !strings.Contains(logged.String(), "no contract with Smith") {
			t.Errorf("unexpected log %q", logged)
		}
	})
}

func TestSlowSupplierTimesOut(t *testing.T) {
	visit(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, _ *bytes.Buffer) {
		ann := enter(d, tr)
		began := time.Now()
		answer := ann.Request("/shop", "delivery", Query{"coffee"})
		if took := time.Since(began); took != patience { // of virtual time
			t.Errorf("it took %v", took)
		}
		if answer.Action != "ERROR" || !strings.Contains(string(answer.Payload), `"status":504`) {
			t.Error(answer)
		}
	})
}

// The handler's context is canceled at once when the server disconnects the client. If
// the client disconnects, its earlier messages have a few seconds.
func TestContextEndsWithTheClient(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p, s := pond.New(), newShop()
			var why error
			var ended chan struct{}
			s.supplier = func(ctx context.Context, _ string) (int, error) {
				defer close(ended)
				<-ctx.Done()
				why = ctx.Err()
				return 0, why
			}
			pondtest.Run(t, handler(p, s), func(t *testing.T, d *pondtest.Driver) {
				defer p.Shutdown(t.Context())
				ended = make(chan struct{}) // in the bubble, so that time passes while the test waits
				ann := enter(d, tr)
				ann.Send("/shop", "delivery", Query{"tea"})
				ann.Quiet()
				for e := range p.Endpoints() {
					if err := e.Disconnect(ann.ID(), 0, "closing time"); err != nil {
						t.Error(err)
					}
				}
				<-ended
				if !errors.Is(why, context.Canceled) {
					t.Error(why)
				}
			})
		})
	}
}

func TestOthersAreNotifiedInOrder(t *testing.T) {
	visit(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, _ *bytes.Buffer) {
		ann, bob, cid := enter(d, tr), enter(d, tr), enter(d, tr)
		ann.Send("/shop", "order", Order{"tea", 1})
		bob.Send("/shop", "order", Order{"tea", 1})
		for _, want := range []string{`{"item":"tea","left":9}`, `{"item":"tea","left":8}`} {
			if got := string(cid.Expect("stock")); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		for _, s := range []*pondtest.Session{ann, bob} { // each buyer receives the other's order
			s.ReceiveEvent("receipt")
			s.ReceiveEvent("stock")
			s.Quiet()
		}
	})
}
