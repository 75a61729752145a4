// Command server is the server for tests of clients, and for checks from outside. Package
// testchat has its endpoint, /socket.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/testchat"
)

// defaultLifetime is when a server ends that was forgotten.
const defaultLifetime = 10 * time.Minute

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// run serves until a signal arrives, stdin ends, or the lifetime is over. The first
// line that it prints is its address.
func run(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:0", "address to listen on")
	lifetime := flags.Duration("lifetime", defaultLifetime, "`time` after which the server ends; with 0 it ignores the end of its input, too")
	verbose := flags.Bool("v", false, "log the errors that clients provoke")
	if err := flags.Parse(args); err != nil {
		return err
	}

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	if *lifetime > 0 {
		ctx, cancel = context.WithTimeout(ctx, *lifetime)
		defer cancel()
		go func() {
			defer cancel()
			_, _ = io.Copy(io.Discard, stdin)
		}()
	}

	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(map[string]string{"addr": l.Addr().String()}); err != nil {
		return err
	}
	p, handler := newServer(*verbose)
	return p.Serve(ctx, &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}, l)
}

// newServer returns the Pond, and a handler that also has an empty page for
// browsers to start from.
func newServer(verbose bool) (*pond.Pond, http.Handler) {
	logger := slog.New(slog.DiscardHandler)
	if verbose {
		logger = slog.Default()
	}
	p := pond.New(pond.WithLogger(logger))
	testchat.Add(p)

	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>conformance</title>")
	})
	return p, mux
}
