package main

import (
	"net/http"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

func TestChat(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p := pond.New()
			pondtest.Run(t, handler(p), func(t *testing.T, d *pondtest.Driver) {
				defer p.Shutdown(t.Context()) // the mux hides p from the driver
				if resp := d.Declined(tr, "/api/socket?token=guess"); resp.StatusCode != http.StatusUnauthorized {
					t.Error(resp.Status)
				}
				ann := d.Connect(tr, "/api/socket?token=secret&name=Ann")
				bob := d.Connect(tr, "/api/socket?token=secret&name=Bob")
				ann.Join("/chat/1", nil)
				ann.Expect("JOIN")
				bob.Join("/chat/1", nil)
				bob.Expect("JOIN")
				ann.Expect("JOIN")
				ann.Send("/chat/1", "message", Message{"hi"})
				ann.Expect("sent")
				if got := string(bob.Expect("message")); got != `{"text":"hi"}` {
					t.Error(got)
				}
				bob.Close()
				ann.Expect("LEAVE")
				ann.Quiet()
			})
		})
	}
}
