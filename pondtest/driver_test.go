package pondtest_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/pondtest"
)

func TestDeclined(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, _ *server, tr pondtest.Transport) {
		resp := d.Declined(tr, "/socket?uid=nobody")
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusForbidden || string(body) != "who are you?\n" || err != nil {
			t.Errorf("declined with %s: %q, %v", resp.Status, body, err)
		}
	})
}

func TestDeclinedHandshake(t *testing.T) {
	pondtest.Run(t, &server{}, func(t *testing.T, d *pondtest.Driver) {
		resp := d.Declined(pondtest.WebSocket, "/socket", pondtest.Header("Sec-WebSocket-Version", "12"))
		if resp.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("declined with %s", resp.Status)
		}
	})
}

func TestOptionsApplyToAllRequests(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann",
			pondtest.Query("token", "a b&c"), pondtest.Header("Origin", "http://example.com"),
			pondtest.Header("Host", "pond.example"), pondtest.Cookie("session", "s1"))
		ann.Request("/chat", "echo", nil)
		ann.Expect("noise")
		methods := []string{"GET"}
		if tr == pondtest.SSE {
			d.Disconnect(ann)
			methods = []string{"GET", "POST", "DELETE"}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		var got []string
		for _, r := range s.requests {
			got = append(got, r.Method)
			cookie, err := r.Cookie("session")
			if err != nil || cookie.Value != "s1" {
				t.Errorf("%s: cookie %v, %v", r.Method, cookie, err)
			}
			if target := r.URL.RequestURI(); target != "/socket?uid=ann&token=a+b%26c" {
				t.Errorf("%s: target %s", r.Method, target)
			}
			if r.Host != "pond.example" || r.Header.Get("Origin") != "http://example.com" {
				t.Errorf("%s: Host %s, Origin %s", r.Method, r.Host, r.Header.Get("Origin"))
			}
			if r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("POST: Content-Type %s", r.Header.Get("Content-Type"))
			}
		}
		if !slices.Equal(got, methods) {
			t.Errorf("requests %q, want %q", got, methods)
		}
	})
}

func TestQueryOfATargetWithoutOne(t *testing.T) {
	s := &server{}
	pondtest.Run(t, s, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/socket", pondtest.Query("uid", "ann"))
	})
	if r := s.requests[0]; r.URL.RawQuery != "uid=ann" || r.Host != "example.com" || r.Header["Origin"] != nil {
		t.Errorf("request %s %s, Origin %q", r.Host, r.URL, r.Header["Origin"])
	}
}

func TestPushAndDisconnect(t *testing.T) {
	pondtest.Run(t, &server{}, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.SSE, "/socket?uid=ann")
		if status := d.Push(ann, []byte("{oops")); status != http.StatusNoContent {
			t.Errorf("Push: %d", status)
		}
		ann.Expect("INVALID_MESSAGE")
		if status := d.Disconnect(ann); status != http.StatusNoContent {
			t.Errorf("Disconnect: %d", status)
		}
		if code, reason := ann.Closed(); code != 0 || reason != "" {
			t.Errorf("ended with %d %q", code, reason)
		}
		if status := d.Push(ann, nil); status != http.StatusNotFound {
			t.Errorf("Push to a connection that ended: %d", status)
		}
		if status := d.Disconnect(ann); status != http.StatusNotFound {
			t.Errorf("second Disconnect: %d", status)
		}
	})
}

func TestDo(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" { // without reading
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if !r.Close {
			t.Error("the client did not send Connection: close")
		}
		body, _ := io.ReadAll(r.Body)
		io.WriteString(w, r.Method+" "+r.Host+r.URL.Path+" "+string(body))
	})
	pondtest.Run(t, h, func(t *testing.T, d *pondtest.Driver) {
		for _, test := range []struct{ url, body, want string }{
			{"/plain", "", "PUT example.com/plain "},
			{"/large", big, "PUT example.com/large " + big},
			{"http://other.example/x", "b", "PUT other.example/x b"},
			{"/refuse", big, "too large\n"},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, test.url, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			resp := d.Do(req)
			body, err := io.ReadAll(resp.Body)
			if string(body) != test.want || err != nil {
				t.Errorf("%s: answer %s: %.50q, %v", test.url, resp.Status, body, err)
			}
		}
	})
}

func TestResponse(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, _ *server, tr pondtest.Transport) {
		resp := d.Connect(tr, "/socket?uid=ann").Response()
		want := map[pondtest.Transport]int{pondtest.WebSocket: 101, pondtest.SSE: 200}[tr]
		if resp.StatusCode != want {
			t.Errorf("response is %s", resp.Status)
		}
		if body, err := io.ReadAll(resp.Body); len(body) > 0 || err != nil {
			t.Errorf("body is %q, %v", body, err)
		}
	})
}

func TestCompression(t *testing.T) {
	pondtest.Run(t, &server{}, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket?uid=ann",
			pondtest.Header("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover; client_no_context_takeover"))
		if got := ann.Response().Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
			t.Fatalf("extensions are %q", got)
		}
		ann.Request("/chat", "echo", note{Text: strings.Repeat("x", 1000)})
		ann.Expect("noise")
	})
}

// closer counts the calls of Shutdown, and records which clients left before.
type closer struct {
	server
	calls int
	left  []string
}

func (c *closer) Shutdown(ctx context.Context) error {
	c.calls++
	c.mu.Lock()
	c.left = slices.Clone(c.server.left)
	c.mu.Unlock()
	return c.server.Shutdown(ctx)
}

func TestRunEndsEverything(t *testing.T) {
	c := &closer{}
	pondtest.Run(t, c, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/socket?uid=ann")
		d.Connect(pondtest.WebSocket, "/socket?uid=bob").Stall()
	})
	slices.Sort(c.left)
	if want := []string{"ann EOF", "bob EOF"}; c.calls != 1 || !slices.Equal(c.left, want) {
		t.Errorf("%d calls of Shutdown, before which %q had left, want 1 and %q", c.calls, c.left, want)
	}
}

func TestShutdownByTheTest(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		s.Shutdown(t.Context())
		want := map[pondtest.Transport]int{pondtest.WebSocket: 1001, pondtest.SSE: 0}[tr]
		if code, _ := ann.Closed(); code != want {
			t.Errorf("ended with %d, want %d", code, want)
		}
	})
}

// A handler may run for some time after its client disconnected.
func TestRunWaitsForHandlers(t *testing.T) {
	ended := false
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: "+hello+"\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		time.Sleep(10 * time.Second)
		ended = true
	})
	pondtest.Run(t, h, func(_ *testing.T, d *pondtest.Driver) { d.Connect(pondtest.SSE, "/") })
	if !ended {
		t.Error("a handler still ran when Run returned")
	}
}

// hello is the first message of every connection.
const hello = `{"action":"CONNECT","event":"CONNECTION","channelName":"ENDPOINT","requestId":"1","payload":{}}`
