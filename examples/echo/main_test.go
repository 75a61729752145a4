package main

import (
	"context"
	"net"
	"testing"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/hosttest"
)

func TestHost(t *testing.T) {
	hosttest.Run(t, "/api/socket", func(ctx context.Context, l net.Listener) error {
		p := pond.New()
		chat(p)
		return serve(ctx, p, l)
	})
}
