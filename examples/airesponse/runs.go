package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

// A Token is a piece of an answer.
type Token struct {
	Text string `json:"text"`
}

// A Done is the end of an answer. The error is empty if the answer is complete.
type Done struct {
	Error string `json:"error,omitempty"`
}

const (
	token pond.Event[Token] = "token"
	done  pond.Event[Done]  = "done"
)

// Runs are the answers in progress. Each answer has its own channel, which exists as
// long as its history, even before the first page connects and while no page is
// connected.
type Runs struct {
	model    Model
	endpoint *pond.Endpoint

	ctx    context.Context //nolint:containedctx // of all answers: they outlive the requests
	cancel context.CancelFunc
	active sync.WaitGroup
}

// history limits the time for which an answer can be shown, and its size.
var history = pond.History{Messages: 10_000, Age: time.Hour, Newcomers: 10_000}

func newRuns(p *pond.Pond, model Model) *Runs {
	r := &Runs{model: model}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.endpoint = p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() }, pond.WithJoinByURL())
	// The random name of a run is the permission to read it.
	r.endpoint.Lobby("/run/:id", func(ctx *pond.JoinContext) error { return ctx.Accept() }, pond.WithHistory(history))
	return r
}

// Ask starts an answer and returns the name of its channel. The answer does not
// depend on the request, or on any page.
func (r *Runs) Ask(w http.ResponseWriter, req *http.Request) {
	question, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 4<<10))
	if err != nil || strings.TrimSpace(string(question)) == "" {
		http.Error(w, "ask something", http.StatusBadRequest)
		return
	}
	channel := "/run/" + rand.Text()
	r.active.Go(func() { r.answer(channel, string(question)) })
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"channel": channel})
}

// answer publishes the answer of the model, piece by piece.
func (r *Runs) answer(channel, question string) {
	end := Done{}
	for text, err := range r.model(r.ctx, question) {
		if err == nil {
			err = r.publish(channel)(token.With(Token{text}))
		}
		if err != nil {
			log.Printf("%s: %v", channel, err)
			end.Error = "the answer ended early"
			break
		}
	}
	if err := r.publish(channel)(done.With(end)); err != nil {
		log.Printf("%s: %v", channel, err)
	}
}

func (r *Runs) publish(channel string) func(event string, payload any) error {
	return func(event string, payload any) error {
		return r.endpoint.Publish(context.WithoutCancel(r.ctx), channel, event, payload)
	}
}

// Cut closes the connection of a page, to show that nothing is lost. The page sends its
// user ID, which is public.
func (r *Runs) Cut(w http.ResponseWriter, req *http.Request) {
	id, _ := io.ReadAll(http.MaxBytesReader(w, req.Body, 100))
	if err := r.endpoint.Disconnect(string(id), 0, "cut"); err != nil {
		http.Error(w, "no such connection", http.StatusNotFound)
	}
}

// Stop ends all answers and waits for them.
func (r *Runs) Stop() {
	r.cancel()
	r.active.Wait()
}
