// Command twin is chat.go, a chat as it is after its way from pondsocket-asgi to
// pond. What it was before is chat.py, and one test compares the two.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pondsocket/pond"
)

// main serves on a free port, which it prints, until it is told to end by a
// signal or the end of its standard input.
func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	if err := serve(ctx); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	p := pond.New()
	p.Endpoint("/session", session)
	return p.Serve(ctx, &http.Server{Handler: application(p), ReadHeaderTimeout: 10 * time.Second}, l)
}

// session declines with the cookie that a handler sees.
func session(ctx *pond.ConnectionContext) error {
	value, ok := ctx.Cookies()["session"]
	if !ok {
		value = "no cookie"
	}
	return ctx.Decline(http.StatusUnauthorized, value)
}
