package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/pondsocket/pond"
)

var demoCommand = command{
	name:    "demo",
	summary: "serve a chat page that shows the features of pond",
	help: "Demo serves a chat page with rooms, presence, typing indicators, and a switch between WebSocket and\n" +
		"Server-Sent Events. Messages are kept in memory only, and are lost when the demo ends.\n\n" +
		"Other clients can connect to /socket, and join /chat/ROOM with {\"name\": ...} as the payload:\n\n" +
		"  pond doctor -channel /chat/lounge -join '{\"name\": \"Doctor\"}' http://127.0.0.1:8080/socket",
	setup: func(flags *flag.FlagSet) action {
		addr := flags.String("addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 selects a free port")
		browse := flags.Bool("open", false, "open the page in a browser")
		return func(ctx context.Context, stdout, stderr io.Writer) error {
			return demo(ctx, *addr, *browse, stdout, stderr)
		}
	},
}

func demo(ctx context.Context, addr string, browse bool, stdout, stderr io.Writer) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w (try -addr 127.0.0.1:0)", err)
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return fmt.Errorf("%w (want host:port, as in 127.0.0.1:8080)", err)
	}
	if err != nil {
		return err
	}
	url := "http://" + visitable(ln.Addr())
	if _, err := fmt.Fprintf(stdout, "pond demo: %s (Ctrl+C stops)\n", url); err != nil {
		return errors.Join(err, ln.Close())
	}
	if browse {
		go openBrowser(ctx, url)
	}

	p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(stderr, nil))))
	return p.Serve(ctx, &http.Server{Handler: demoHandler(p), ReadHeaderTimeout: 5 * time.Second}, ln)
}

// demoHandler serves the page, and the endpoint of the chat at /socket.
func demoHandler(p *pond.Pond) http.Handler {
	openChat(p.Endpoint("/socket", accept))

	mux := http.NewServeMux()
	mux.Handle("/", page())
	mux.Handle("/socket", p)
	return mux
}

// visitable returns an address that a browser on this machine can open, even if the
// server listens on all addresses.
func visitable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return addr.String()
}

// openBrowser tries to open url in a browser. It ignores errors, because the URL is also
// printed.
func openBrowser(ctx context.Context, url string) {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	}
	_ = exec.CommandContext(ctx, name, args...).Run() //nolint:gosec // fixed commands, and the URL of this server
}
