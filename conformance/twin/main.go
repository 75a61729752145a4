// Command twin serves chat.go, a chat that was migrated from pondsocket-asgi (chat.py) to
// pond. A test compares the two.
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

// main serves on a free port, which it prints, until a signal arrives or its standard input
// ends.
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

// session declines with the value of the cookie as the reason.
func session(ctx *pond.ConnectionContext) error {
	value, ok := ctx.Cookies()["session"]
	if !ok {
		value = "no cookie"
	}
	return ctx.Decline(http.StatusUnauthorized, value)
}
