package main

import (
	"testing"

	"github.com/pondsocket/pond/pondtest"
)

func TestMessageIsBroadcast(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			pondtest.Run(t, chat(), func(t *testing.T, d *pondtest.Driver) {
				ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
				ann.Join("/chat/1", nil)
				bob.Join("/chat/1", nil)
				ann.Send("/chat/1", "message", map[string]string{"text": "hi"})
				ann.Expect("message")
				bob.Expect("message")
			})
		})
	}
}
