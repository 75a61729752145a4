package main

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/pondsocket/pond/pondtest"
)

func presence(t *testing.T, s *pondtest.Session) int {
	t.Helper()
	var m struct{ Presence []json.RawMessage }
	s.ReceiveEvent("JOIN").Bind(t, &m)
	return len(m.Presence)
}

func TestTwoServers(t *testing.T) {
	pondtest.Run(t, newServers(), func(t *testing.T, d *pondtest.Driver) {
		ann, bob := d.Connect(pondtest.WebSocket, "/one/socket"), d.Connect(pondtest.SSE, "/two/socket")
		ann.Join("/chat/1", nil)
		bob.Join("/chat/1", nil)

		// Members on different servers do not see each other.
		if a, b := presence(t, ann), presence(t, bob); a != 1 || b != 1 {
			t.Errorf("lists of %d and %d members, want 1 and 1", a, b)
		}

		// Messages of the bus reach all members, in the same order.
		for range 10 {
			ann.Send("/chat/1", "say", map[string]string{"text": "hi"})
			bob.Send("/chat/1", "say", map[string]string{"text": "hello"})
		}
		a, b := ann.Drain(), bob.Drain()
		if len(a) != 20 || len(b) != 20 {
			t.Fatalf("%d and %d messages, want 20", len(a), len(b))
		}
		for i := range a {
			if string(a[i].Payload) != string(b[i].Payload) {
				t.Errorf("message %d is %s for Ann and %s for Bob", i, a[i].Payload, b[i].Payload)
			}
		}
	})
}

// A POST that reaches another server than the stream fails: without a broker, load
// balancers need sticky sessions.
func TestPostToTheOtherServer(t *testing.T) {
	pondtest.Run(t, newServers(), func(t *testing.T, d *pondtest.Driver) {
		bob := d.Connect(pondtest.SSE, "/two/socket")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/one/socket", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Connection-ID", bob.ConnectionID())
		if resp := d.Do(req); resp.StatusCode != http.StatusNotFound {
			t.Errorf("status %s", resp.Status)
		}
	})
}
