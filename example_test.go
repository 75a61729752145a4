package pond_test

import (
	"context"
	"errors"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// A Pond is an http.Handler: mount it where you like. Endpoints are named by what
// is left of the path.
func ExamplePond_ServeHTTP() {
	p := pond.New()
	p.Endpoint("/socket", auth).Lobby("/chat/:room_id", onJoin)

	mux := http.NewServeMux()
	mux.Handle("/realtime/", http.StripPrefix("/realtime", p)) // ws://host/realtime/socket
	log.Fatal(http.ListenAndServe("127.0.0.1:8000", mux))
}

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error { return ctx.Accept() }

// A member's presence is public: all tracked members get the list, and each
// change of it.
func ExampleJoinContext_Track() {
	lobby := pond.New().Endpoint("/socket", auth).Lobby("/chat/:room_id", func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil {
			return err
		}
		return ctx.Track(map[string]string{"name": "Ann", "status": "online"})
	})
	lobby.OnMessage("away", func(ctx *pond.EventContext) error {
		return ctx.Update(map[string]string{"name": "Ann", "status": "away"})
	})
}

// An OnOutgoing handler decides for each recipient what it gets to see.
func ExampleLobby_OnOutgoing() {
	lobby := pond.New().Endpoint("/socket", auth).Lobby("/board/:id", onJoin)
	lobby.OnOutgoing("offer", func(ctx *pond.OutgoingContext) error {
		var offer struct {
			Item  string `json:"item"`
			Price int    `json:"price,omitempty"`
		}
		if err := ctx.Bind(&offer); err != nil {
			return err
		}
		if ctx.Get("role") != "buyer" {
			offer.Price = 0
			return ctx.Transform(offer)
		}
		return nil
	})
}

// Code outside handlers finds a live channel by its name.
func ExampleEndpoint_Channel() {
	endpoint := pond.New().Endpoint("/socket", auth)
	endpoint.Lobby("/users/:id", onJoin)

	notify := func(userID, text string) error {
		inbox, ok := endpoint.Channel("/users/" + userID)
		if !ok {
			return nil // not connected
		}
		return inbox.Broadcast("notification", map[string]string{"text": text})
	}
	_ = notify("42", "Your order has been shipped.")
}

// A middleware is a function around a handler. A generic one serves all moments.
func ExampleChain() {
	lobby := pond.New().Endpoint("/socket", pond.Chain(auth, timed[*pond.ConnectionContext])).
		Lobby("/chat/:room_id", pond.Chain(onJoin, timed[*pond.JoinContext]))
	lobby.OnMessage("message", pond.Chain(onMessage, timed[*pond.EventContext]))
}

func onMessage(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) }

func timed[C context.Context](next pond.Handler[C]) pond.Handler[C] {
	return func(ctx C) error {
		began := time.Now()
		defer func() { log.Printf("%T took %v", ctx, time.Since(began)) }()
		return next(ctx)
	}
}

// A handler answers with an error that the client may see. Any other error is
// logged, and the client learns that there was one.
func ExampleError() {
	lobby := pond.New().Endpoint("/socket", auth).Lobby("/shop", onJoin)
	lobby.OnMessage("buy", func(ctx *pond.EventContext) error {
		err := errors.New("row 7 is locked") // of your database
		return &pond.Error{Code: http.StatusConflict, Message: "somebody was faster", Err: err}
	})
}

func newChat() *pond.Pond {
	p := pond.New()
	lobby := p.Endpoint("/socket", auth).Lobby("/chat/:room_id", onJoin)
	lobby.OnMessage("message", onMessage)
	lobby.OnLeave(func(ctx *pond.LeaveContext) error { return ctx.Broadcast("left", nil) })
	return p
}

func TestChatInMemory(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
				ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
				ann.Join("/chat/1", nil)
				bob.Join("/chat/1", nil)
				bob.Close()
				ann.Expect("left")
				time.Sleep(time.Hour) // of heartbeats, in no time
				ann.Quiet()
			})
		})
	}
}

// The middlewares of a chain run from the first to the last.
func TestChain(t *testing.T) {
	var order []string
	note := func(name string) pond.Middleware[*pond.EventContext] {
		return func(next pond.Handler[*pond.EventContext]) pond.Handler[*pond.EventContext] {
			return func(ctx *pond.EventContext) error {
				order = append(order, name)
				return next(ctx)
			}
		}
	}
	h := pond.Chain(func(*pond.EventContext) error { order = append(order, "handler"); return nil }, note("a"), note("b"))
	if err := h(nil); err != nil || strings.Join(order, " ") != "a b handler" {
		t.Errorf("%v, %v", order, err)
	}
}
