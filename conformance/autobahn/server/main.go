// Command server is the echo server for the Autobahn test suite: at /codec with internal/ws
// alone, at /transport with internal/transport, which sends only text, and at /general with
// internal/transport in its mode for networks other than TCP.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// maxMessage is the size of the largest message of the suite.
const maxMessage = 16 << 20

// lifetime is the maximum lifetime of the server.
const lifetime = 3 * time.Hour

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// run serves until a signal arrives or stdin ends. It prints its address in the first line.
func run(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:0", "address to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, lifetime)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, stdin)
	}()

	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	hub := newHub()
	mux := http.NewServeMux()
	mux.Handle("/codec", upgrade(echoCodec))
	mux.Handle("/transport", upgrade(hub.echo))
	mux.Handle("/general", upgrade(hub.echoGeneral))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()

	if _, err := fmt.Fprintln(stdout, l.Addr()); err != nil {
		return err
	}
	if err := srv.Serve(l); ctx.Err() == nil {
		return err
	}
	return hub.wait()
}

// upgrade checks the handshake; accept sends the response.
func upgrade(accept func(http.ResponseWriter, ws.Handshake) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hs, refused := ws.ParseHandshake(r, true)
		if refused != nil {
			http.Error(w, refused.Message, refused.Status)
			return
		}
		if err := accept(w, hs); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
		}
	})
}
