package main

import (
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// TestTwoTabs uses the chat as two browser tabs do.
func TestTwoTabs(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p := pond.New()
			pondtest.Run(t, handler(p), func(t *testing.T, d *pondtest.Driver) {
				defer p.Shutdown(t.Context())
				one, two := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
				one.Join("/chat/lounge", nil)
				two.Join("/chat/lounge", nil)
				one.Send("/chat/lounge", "said", Message{"hi"})
				for _, tab := range []*pondtest.Session{one, two} {
					if payload := tab.Expect("said"); string(payload) != `{"text":"hi"}` {
						t.Errorf("got %s", payload)
					}
				}
				if answer := one.Request("/chat/lounge", "said", Message{}); answer.Action != "ERROR" {
					t.Errorf("got %v", answer)
				}
				two.Quiet()
			})
		})
	}
}
