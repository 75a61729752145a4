// Command pond is the quick start of pond, with a reply for echoes, presence on request, and rooms
// with a history. It can be a node of a cluster; then /stats has the messages that it gave up.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/redisbroker"

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
	var lost, missed atomic.Int64
	logger := slog.New(slog.DiscardHandler)
	settings := []pond.Option{pond.WithLogger(logger), pond.WithObserver(&pond.Observer{
		Lost:   func(_ *pond.Pond, messages int, _ error) { lost.Add(int64(messages)) },
		Missed: func(_ *pond.Pond, messages int) { missed.Add(int64(messages)) },
	})}
	if *serve.Redis != "" {
		broker, err := redisbroker.New("redis://"+*serve.Redis, redisbroker.WithLogger(logger))
		if err != nil {
			log.Fatal(err)
		}
		settings = append(settings, pond.WithBroker(broker))
	}
	p := pond.New(settings...)
	endpoint := p.Endpoint("/socket", auth, options...)
	endpoint.Lobby("/log/:room_id", onJoin, pond.WithHistory(pond.History{})).OnMessage("message", onMessage)
	lobby := endpoint.Lobby("/chat/:room_id", onJoin)
	lobby.OnMessage("message", onMessage)
	lobby.OnMessage("echo", onEcho)
	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := p.Degraded(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]int64{"lost": lost.Load(), "missed": missed.Load()})
	})
	if err := serve.HTTP(mux); err != nil {
		log.Fatal(err)
	}
}
