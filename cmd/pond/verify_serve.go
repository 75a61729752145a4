package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/pondsocket/pond"
)

// verifyEndpoint adds the endpoint that verify uses if there is no URL.
func verifyEndpoint(p *pond.Pond) {
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	lobby := endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() },
		pond.WithHistory(pond.History{Messages: 10_000, Bytes: 16 << 20}))
	lobby.OnMessage("message", func(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) })
}

// startVerifyServer starts a server and returns its URL. The server stops when ctx
// is done; the returned function waits for this.
func startVerifyServer(ctx context.Context, addr string, stderr io.Writer) (url string, wait func() error, err error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, err
	}
	p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	verifyEndpoint(p)
	stopped := make(chan error, 1)
	go func() {
		err := p.Serve(ctx, &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second}, ln)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		stopped <- err
	}()
	return "http://" + visitable(ln.Addr()) + "/socket", func() error { return <-stopped }, nil
}

// serveVerify only runs the server.
func serveVerify(ctx context.Context, addr string, stdout, stderr io.Writer) error {
	url, wait, err := startVerifyServer(ctx, addr, stderr)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "pond verify: %s (Ctrl+C stops)\n", url); err != nil {
		return err
	}
	return wait()
}
