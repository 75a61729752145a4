package pondtest_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond/pondtest"
)

func TestEventsAndBytes(t *testing.T) {
	const said = `{"action":"BROADCAST","event":"said","channelName":"/a","requestId":"2","payload":{}}`
	for name, test := range map[string]struct {
		stream string // after the first event
		want   []pondtest.Event
	}{
		"unnamed":              {"data: " + said + "\n\n", []pondtest.Event{{Data: said}}},
		"named":                {"event: said\ndata: " + said + "\n\n", []pondtest.Event{{Name: "said", Data: said}}},
		"last name wins":       {"event: said\nevent: message\ndata: " + said + "\n\n", []pondtest.Event{{Name: "message", Data: said}}},
		"no space":             {"event:said\ndata:" + said + "\n\n", []pondtest.Event{{Name: "said", Data: said}}},
		"one space of two":     {"event:  said\ndata:" + said + "\n\n", []pondtest.Event{{Name: " said", Data: said}}},
		"field without colon":  {"event\ndata: " + said + "\n\n", []pondtest.Event{{Data: said}}},
		"other fields":         {"id: 7\nretry: 1000\nwhatever\ndata: " + said + "\n\n", []pondtest.Event{{ID: "7", Data: said}}},
		"no data":              {"event: said\n\ndata: " + said + "\n\n", []pondtest.Event{{Data: said}}},
		"carriage returns":     {"event: said\rdata: " + said + "\r\r", []pondtest.Event{{Name: "said", Data: said}}},
		"both":                 {"event: said\r\ndata: " + said + "\r\n\r\n", []pondtest.Event{{Name: "said", Data: said}}},
		"end inside an event":  {"data: " + said + "\n", nil},
		"comment":              {":\n: keepalive\n", []pondtest.Event{{Comment: ":"}, {Comment: ": keepalive"}}},
		"comment in the event": {"event: said\n:x\ndata: " + said + "\n\n", []pondtest.Event{{Comment: ":x"}, {Name: "said", Data: said}}},
		"two":                  {"event: said\ndata: " + said + "\n\ndata: " + said + "\n\n", []pondtest.Event{{Name: "said", Data: said}, {Data: said}}},
	} {
		t.Run(name, func(t *testing.T) {
			stream := "\ufeffdata: " + hello + "\n\n" + test.stream
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("X-Connection-ID", "from the header")
				for i := range len(stream) {
					io.WriteString(w, stream[i:i+1])
					http.NewResponseController(w).Flush()
				}
			})
			pondtest.Run(t, h, func(t *testing.T, d *pondtest.Driver) {
				s := d.Connect(pondtest.SSE, "/")
				if id := s.ConnectionID(); id != "from the header" {
					t.Errorf("connection ID is %q", id)
				}
				if code, _ := s.Closed(); code != 0 {
					t.Errorf("ended with %d", code)
				}
				want := append([]pondtest.Event{{Data: hello}}, test.want...)
				if got := s.Events(); !slices.Equal(got, want) {
					t.Errorf("events %q, want %q", got, want)
				}
				if got := string(s.Bytes()); got != stream {
					t.Errorf("bytes %q, want %q", got, stream)
				}
			})
		})
	}
}

// A handler may hijack the connection, so that the stream ends with it.
func TestStreamWithoutChunks(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, streaming+"data: "+hello+"\n\n")
	})
	pondtest.Run(t, h, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/")
		if code, _ := s.Closed(); code != 0 {
			t.Errorf("ended with %d", code)
		}
	})
}

// The client closes the connection after the server ended the stream.
func TestClientClosesAfterTheStream(t *testing.T) {
	closed := false
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		body := "data: " + hello + "\n\n"
		fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", strings.TrimSuffix(streaming, "\r\n"), len(body), body)
		io.Copy(io.Discard, buf)
		closed = true
	})
	pondtest.Run(t, h, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/")
		s.Closed()
		s.Quiet()
		if !closed {
			t.Error("the client did not close the connection")
		}
	})
}
