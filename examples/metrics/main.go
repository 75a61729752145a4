// Metrics exports the metrics of a chat to Prometheus.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/pondsocket/pond"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func chat(opts ...pond.Option) *pond.Pond {
	p := pond.New(opts...)
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	lobby := endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	lobby.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })
	return p
}

// handler serves the metrics next to the Pond. In production, do not make them public.
func handler(p *pond.Pond, reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	return mux
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reg := prometheus.NewRegistry()
	p := chat(pond.WithObserver(observer(reg)))
	if err := p.ListenAndServe(ctx, &http.Server{Addr: "127.0.0.1:8000", Handler: handler(p, reg)}); err != nil {
		log.Fatal(err)
	}
}
