package main

import (
	"testing"

	"github.com/pondsocket/pond/examples/internal/client"
)

// One test on real sockets checks the whole program. All rules are tested in memory, in
// auction_test.go.
func TestOnLoopback(t *testing.T) {
	for _, tr := range client.Transports {
		t.Run(string(tr), func(t *testing.T) {
			server := client.Serve(t, run)
			ann := client.Dial(t, tr, server.URL+"/socket?name=Ann", nil)
			bob := client.Dial(t, tr, server.URL+"/socket?name=Bob", nil)
			ann.Join("/auctions/lamp", nil)
			bob.Join("/auctions/lamp", nil)
			if answer := ann.Request("/auctions/lamp", "bid", Bid{100}); answer.Event != "accepted" {
				t.Error(answer)
			}
			bob.Expect("outbid")
			server.Stop()
			if code := bob.Closed(); tr == client.WebSocket && code != 1001 {
				t.Error("closed with", code)
			}
		})
	}
}
