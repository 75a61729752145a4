// Metrics exports the metrics of a chat to Prometheus.
package main

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/metrics"
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

// monitored returns the chat, whose metrics are in reg. It logs handlers that take longer
// than slow.
func monitored(reg prometheus.Registerer, logger *slog.Logger, slow time.Duration, opts ...pond.Option) *pond.Pond {
	collector := metrics.New()
	reg.MustRegister(collector)
	return chat(append(opts,
		pond.WithObserver(collector.Observer()),
		pond.WithObserver(&pond.Observer{Handled: func(ch *pond.Channel, event string, d time.Duration, _ error) {
			if d > slow {
				logger.Warn("slow handler", "channel", ch.Name(), "event", event, "duration", d)
			}
		}}))...)
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
	p := monitored(reg, slog.Default(), time.Second)
	if err := p.ListenAndServe(ctx, &http.Server{Addr: "127.0.0.1:8000", Handler: handler(p, reg)}); err != nil {
		log.Fatal(err)
	}
}
