// Command pond is the quick start of pond, with a reply for echoes, presence on request, and rooms
// with a history.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"log/slog"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/bench/internal/serve"
)

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error {
	var asked struct {
		Track json.RawMessage `json:"track"` // the presence of the member
	}
	if err := ctx.Bind(&asked); err != nil {
		return err
	}
	if err := ctx.Accept(); err != nil || asked.Track == nil {
		return err
	}
	return ctx.Track(asked.Track)
}

func onMessage(ctx *pond.EventContext) error {
	return ctx.Broadcast(ctx.Event(), ctx.Payload())
}

func onEcho(ctx *pond.EventContext) error {
	return ctx.Reply(ctx.Event(), ctx.Payload())
}

func main() {
	flag.Parse()
	var options []pond.EndpointOption
	if *serve.Compress {
		options = append(options, pond.WithCompression(128))
	}
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	endpoint := p.Endpoint("/socket", auth, options...)
	endpoint.Lobby("/log/:room_id", onJoin, pond.WithHistory(pond.History{})).OnMessage("message", onMessage)
	lobby := endpoint.Lobby("/chat/:room_id", onJoin)
	lobby.OnMessage("message", onMessage)
	lobby.OnMessage("echo", onEcho)
	if err := serve.HTTP(p); err != nil {
		log.Fatal(err)
	}
}
