package main

import (
	"context"
	"net/http"
	"testing"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/client"
)

// The same test on real sockets, with a shutdown that the clients detect.
func TestServer(t *testing.T) {
	for _, tr := range client.Transports {
		t.Run(string(tr), func(t *testing.T) {
			server := client.Serve(t, func(ctx context.Context, srv *http.Server) error {
				p := pond.New()
				srv.Handler = handler(p)
				return p.ListenAndServe(ctx, srv)
			})
			tab := client.Dial(t, tr, server.URL+"/socket", nil)
			tab.Join("/chat/lounge", nil)
			if answer := tab.Request("/chat/lounge", "said", Message{"hi"}); string(answer.Payload) != `{"text":"hi"}` {
				t.Error(answer)
			}
			server.Stop()
			if code := tab.Closed(); tr == client.WebSocket && code != 1001 {
				t.Error("closed with", code)
			}
		})
	}
}
