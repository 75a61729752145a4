// Chat is a chat server with typed messages, a token, presence and graceful shutdown.
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/pondsocket/pond"
)

// A Message is sent by a member. A Go client can use the same type.
type Message struct {
	Text string `json:"text"`
}

// A Person is the presence of a member.
type Person struct {
	Name string `json:"name"`
}

const said pond.Event[Message] = "message"

func auth(ctx *pond.ConnectionContext) error {
	query := ctx.Query()
	if query.Get("token") != "secret" {
		return ctx.Decline(http.StatusUnauthorized, "invalid token")
	}
	ctx.Assign("name", query.Get("name"))
	return ctx.Accept()
}

func onJoin(ctx *pond.JoinContext) error {
	if err := ctx.Accept(); err != nil {
		return err
	}
	name, _ := ctx.Get("name").(string)
	return ctx.Track(Person{name})
}

func onMessage(ctx *pond.EventContext, m Message) error {
	if m.Text == "" {
		return pond.Errorf(http.StatusBadRequest, "the message is empty")
	}
	return errors.Join(ctx.Others().Broadcast(said.With(m)), ctx.Reply("sent", nil))
}

func onLeave(ctx *pond.LeaveContext) error {
	log.Printf("%s left %s: %s", ctx.Get("name"), ctx.Channel().Name(), ctx.Reason())
	return nil
}

func handler(p *pond.Pond) http.Handler {
	lobby := p.Endpoint("/socket", auth).Lobby("/chat/:room_id", onJoin)
	pond.On(lobby, said, onMessage)
	lobby.OnLeave(onLeave)

	mux := http.NewServeMux()
	mux.Handle("/api/", http.StripPrefix("/api", p))
	mux.Handle("/", http.NotFoundHandler()) // your site
	return mux
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := pond.New()
	srv := &http.Server{Addr: "127.0.0.1:8000", Handler: handler(p)}
	if err := p.ListenAndServe(ctx, srv); err != nil {
		log.Fatal(err)
	}
}
