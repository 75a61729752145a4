package main

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/hosttest"
	"github.com/pondsocket/pond/examples/internal/selfsigned"
)

// Like a browser, a client uses HTTP/2 for event streams and HTTP/1.1 for WebSockets, on the
// same port.
func TestHost(t *testing.T) {
	cert, err := selfsigned.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	addr, stop := hosttest.Serve(t, func(ctx context.Context, l net.Listener) error {
		p := pond.New()
		chat(p)
		return p.Serve(ctx, &http.Server{Handler: handler(p)}, secure(l, cert))
	})
	to := hosttest.Target{
		URL:  "https://" + addr + "/api/socket",
		HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: selfsigned.Trust(cert), ForceAttemptHTTP2: true}},
	}
	for tr, major := range map[hosttest.Transport]int{hosttest.WebSocket: 1, hosttest.SSE: 2} {
		s := hosttest.Dial(t, tr, to)
		if s.Response.TLS == nil || s.Response.ProtoMajor != major {
			t.Errorf("%s: %s", tr, s.Response.Proto)
		}
		s.End()
	}
	hosttest.Chat(t, to)
	hosttest.Prefix(t, to)
	hosttest.Goodbye(t, to, stop)
}
