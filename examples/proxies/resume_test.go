package proxies_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// testResume follows event streams that join by URL. The proxy restarts between the
// messages, and the next request, which has the last event's ID, receives the messages
// that were published in the meantime.
func testResume(t *testing.T, s *site, server *server) {
	for _, http2 := range []bool{false, true} {
		room := map[bool]string{false: "/log/http1", true: "/log/http2"}[http2]
		f := &follower{url: "https://" + s.addr + "/api/socket?join=" + room, http: s.client(t, http2)}
		n := 0
		publish := func() {
			for range 5 {
				n++
				if err := server.endpoint.Publish(t.Context(), room, "said", map[string]int{"n": n}); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.connect(t)
		for range 3 {
			publish()
			f.read(t, n)
			s.restart(t)
			f.ended(t)
			publish()
			f.connect(t)
			f.read(t, n)
		}
		f.body.Close()
	}
}

// A follower behaves like an EventSource.
type follower struct {
	url  string
	http *http.Client
	body interface{ Close() error }
	line *bufio.Scanner
	id   string
	at   int // the number of the last message
}

func (f *follower) connect(t *testing.T) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if f.id != "" {
		req.Header.Set("Last-Event-ID", f.id)
	}
	resp, err := f.http.Do(req) //nolint:bodyclose // closed by the test
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	f.body, f.line = resp.Body, bufio.NewScanner(resp.Body)
}

// read reads up to message number n, and checks that none is missing or duplicated.
func (f *follower) read(t *testing.T, n int) {
	t.Helper()
	for f.at < n && f.line.Scan() {
		line := f.line.Text()
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			f.id = id
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var m struct {
			Event   string
			Payload struct{ N int }
		}
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			t.Fatal(err)
		}
		if m.Event != "said" {
			continue
		}
		if m.Payload.N != f.at+1 {
			t.Fatalf("message %d follows %d", m.Payload.N, f.at)
		}
		f.at = m.Payload.N
	}
	if f.at < n {
		t.Fatalf("the stream ended at %d: %v", f.at, f.line.Err())
	}
}

// ended waits for the end of the stream, which the proxy ends.
func (f *follower) ended(t *testing.T) {
	t.Helper()
	for f.line.Scan() {
	}
	f.body.Close()
}
