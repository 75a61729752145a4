// Quickstart is the chat of the quick start: a server and the page that it serves.
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
	"github.com/pondsocket/pond/js"
)

// A Message is sent by a page and broadcast to all pages.
type Message struct {
	Text string `json:"text"`
}

const said pond.Event[Message] = "said"

func connect(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func join(ctx *pond.JoinContext) error { return ctx.Accept() }

func say(ctx *pond.EventContext, m Message) error {
	if m.Text == "" {
		return pond.Errorf(http.StatusBadRequest, "the message is empty")
	}
	return ctx.Broadcast(said.With(m))
}

//go:embed index.html
var page embed.FS

func handler(p *pond.Pond) http.Handler {
	lobby := p.Endpoint("/socket", connect).Lobby("/chat/:room", join)
	pond.On(lobby, said, say)

	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.Handle("GET /pond.js", js.Handler())
	mux.Handle("/", http.FileServerFS(page))
	return mux
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Println("open http://127.0.0.1:8000 in two browser tabs")
	p := pond.New()
	srv := &http.Server{Addr: "127.0.0.1:8000", Handler: handler(p)}
	if err := p.ListenAndServe(ctx, srv); err != nil {
		log.Fatal(err)
	}
}
