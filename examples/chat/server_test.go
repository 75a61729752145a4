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
			if status, body := client.Declined(t, tr, server.URL+"/api/socket?token=guess", nil); status != 401 || body != "invalid token" {
				t.Error(status, body)
			}
			ann := client.Dial(t, tr, server.URL+"/api/socket?token=secret&name=Ann", nil)
			bob := client.Dial(t, tr, server.URL+"/api/socket?token=secret&name=Bob", nil)
			ann.Join("/chat/1", nil)
			bob.Join("/chat/1", nil)
			if answer := ann.Request("/chat/1", "message", Message{"hi"}); answer.Event != "sent" {
				t.Error(answer)
			}
			bob.Expect("message")
			server.Stop()
			if code := bob.Closed(); tr == client.WebSocket && code != 1001 {
				t.Error("closed with", code)
			}
		})
	}
}
