package main

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/pondsocket/pond/examples/internal/hosttest"
)

// The same test on real sockets, with a shutdown that the clients detect.
func TestServer(t *testing.T) {
	addr, stop := hosttest.Serve(t, func(ctx context.Context, l net.Listener) error {
		return chat().Serve(ctx, &http.Server{}, l)
	})
	to := hosttest.Target{URL: "http://" + addr + "/socket"}
	hosttest.Chat(t, to)
	hosttest.Goodbye(t, to, stop)
}
