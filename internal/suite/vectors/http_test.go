package vectors_test

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

func runSSEFrames(t *testing.T, _ string, each eachVector) {
	each(func(v vector) {
		frame := kit.Decode[struct{ Frame string }](t, v.Input).Frame
		want := kit.Decode[struct {
			Accepted *bool
			Message  any
			Standard string `json:"eventsource@3.0.7"`
		}](t, v.Expected)
		messages, err := officialSSEClient(frame)
		switch {
		case want.Accepted == nil: // implementations differ, and pond follows the standard
			if e := kit.ParseEventStream(frame); want.Standard != "message" || len(e) != 1 || e[0].Name != "" {
				t.Errorf("%s: events %q, want one without a name", v.Name, e)
			}
		case *want.Accepted != (err == nil):
			t.Errorf("%s: %v, want accepted %t", v.Name, err, *want.Accepted)
		case want.Message != nil:
			if len(messages) != 1 || !reflect.DeepEqual(kit.Decode[any](t, []byte(messages[0])), want.Message) {
				t.Errorf("%s: messages %q, want %v", v.Name, messages, want.Message)
			}
		}
	})
}

// The official client understands streams without event names. With names, each
// event is named after its message.
func TestEventStreamsAsClientsReadThem(t *testing.T) {
	p, _, _ := kit.NewPond()
	(&kit.TappedPond{Pond: p}).Run(t, func(t *testing.T, d *pondtest.Driver) {
		named, unnamed := d.Connect(pondtest.SSE, "/socket?sse=named"), d.Connect(pondtest.SSE, "/socket?sse=unnamed")
		for _, s := range []*pondtest.Session{named, unnamed} {
			s.Join("/chat/1", nil)
			s.Send("/chat/1", "track", map[string]string{"t": "line1\nline2\r\u2028"})
			s.Send("/chat/1", "say", map[string]string{"t": "data: x\n\n"})
			s.Send("/chat/1", "nobody", nil)
			synctest.Wait() // for the next one joins later
		}
		events := kit.ParseEventStream(string(named.Bytes()))
		for _, e := range events {
			if m := kit.Decode[pondtest.Message](t, []byte(e.Data)); m.Event != e.Name {
				t.Errorf("%s is called %q", e.Data, e.Name)
			}
		}
		messages, err := officialSSEClient(string(unnamed.Bytes()))
		if err != nil {
			t.Errorf("the official client: %v", err)
		}
		if len(events) != 7 || len(messages) != 5 {
			t.Errorf("%d and %d messages", len(events), len(messages))
		}
	})
}

func runSSEHTTP(t *testing.T, _ string, each eachVector) {
	p, _, _ := kit.NewPond(pond.WithOrigins("https://good.example"))
	(&kit.TappedPond{Pond: p}).Run(t, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/socket")
		each(func(v vector) {
			in := kit.Decode[struct {
				Method  string
				Headers map[string]string
			}](t, v.Input)
			req := kit.Request(in.Method, "/socket", `{"action":"ping"}`)
			for name, value := range in.Headers {
				req.Header.Set(name, strings.ReplaceAll(value, "<connection-id>", s.ConnectionID()))
			}
			switch v.Name {
			case "sse-http/get":
				checkStreamHeaders(t, d, v)
				return
			case "sse-http/get-unknown-endpoint":
				req.URL.Path = "/nowhere"
			case "sse-http/post-invalid-json":
				req = kit.Request(in.Method, "/socket", `{"action":`, "X-Connection-ID: "+s.ConnectionID())
			case "sse-http/options":
				req.Header.Set("Origin", "https://good.example")
			}
			resp := d.Do(req)
			want := kit.Decode[struct{ Recommended any }](t, v.Expected).Recommended
			status, ok := want.(float64)
			if !ok { // described in words, and the first word is the status
				status = http.StatusNoContent
				if text := want.(string); !strings.HasPrefix(text, "204 ") {
					t.Fatalf("%s: recommended %s", v.Name, text)
				}
			}
			if resp.StatusCode != int(status) {
				t.Errorf("%s: status %d, want %v", v.Name, resp.StatusCode, want)
			}
			switch v.Name {
			case "sse-http/post-invalid-json":
				if m := s.Receive(); m.Event != "INVALID_MESSAGE" {
					t.Errorf("%s: answer %v", v.Name, m)
				}
			case "sse-http/options":
				if resp.Header.Get("Access-Control-Allow-Origin") != "https://good.example" {
					t.Errorf("%s: headers %v", v.Name, resp.Header)
				}
			}
		})
		s.Quiet()
	})
}

// checkStreamHeaders compares the headers of a stream with the headers of the Python
// server.
func checkStreamHeaders(t *testing.T, d *pondtest.Driver, v vector) {
	t.Helper()
	want := kit.Decode[struct {
		Python struct {
			Status  int
			Headers map[string]string
		}
	}](t, v.Expected).Python
	s := d.Connect(pondtest.SSE, "/socket")
	resp := s.Response()
	if resp.StatusCode != want.Status {
		t.Errorf("%s: status %d, want %d", v.Name, resp.StatusCode, want.Status)
	}
	for name, value := range want.Headers {
		value = strings.ReplaceAll(value, "<connection-id>", s.ConnectionID())
		switch name {
		case "cache-control":
			value += ", no-store"
		case "connection":
			if !resp.Close {
				t.Errorf("%s: the response does not say that the connection ends with the stream", v.Name)
			}
			continue
		}
		if got := resp.Header.Get(name); got != value {
			t.Errorf("%s: %s: %q, want %q", v.Name, name, got, value)
		}
	}
}

// A request with the headers of an EventSource gets events that it listens to.
func runSSERequestHeaders(t *testing.T, _ string, each eachVector) {
	p, _, _ := kit.NewPond()
	(&kit.TappedPond{Pond: p}).Run(t, func(t *testing.T, d *pondtest.Driver) {
		each(func(v vector) {
			headers := kit.Decode[map[string]string](t, v.Expected)
			s := d.Connect(pondtest.SSE, "/socket", func(r *http.Request) {
				for name, value := range headers {
					r.Header.Set(name, value)
				}
			})
			s.Join("/chat/1", nil)
			if messages, err := officialSSEClient(string(s.Bytes())); err != nil || len(messages) != 2 {
				t.Errorf("%s: messages %q, %v", v.Name, messages, err)
			}
		})
		plain := d.Connect(pondtest.SSE, "/socket")
		if _, err := officialSSEClient(string(plain.Bytes())); err == nil {
			t.Error("events have no names, whatever the headers are")
		}
	})
}

func runCookies(t *testing.T, mode string, each eachVector) {
	var cookies map[string]string
	p := pond.New()
	p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		cookies = ctx.Cookies()
		return ctx.Accept()
	})
	(&kit.TappedPond{Pond: p}).Run(t, func(t *testing.T, d *pondtest.Driver) {
		each(func(v vector) {
			in := kit.Decode[struct{ Cookie string }](t, v.Input)
			want := kit.Decode[struct{ JS map[string]string }](t, v.Expected).JS
			d.Connect(kit.TransportOf(mode), "/socket", pondtest.Header("Cookie", in.Cookie))
			if !reflect.DeepEqual(cookies, want) {
				t.Errorf("%s: %q, want %q", v.Name, cookies, want)
			}
		})
	})
}

// Close codes are the same as those of the Python server.
func runCloseCodes(t *testing.T, _ string, each eachVector) {
	p, e, _ := kit.NewPond()
	(&kit.TappedPond{Pond: p}).Run(t, func(t *testing.T, d *pondtest.Driver) {
		each(func(v vector) {
			in := kit.Decode[struct{ Code int }](t, v.Input)
			want := kit.Decode[struct{ Python int }](t, v.Expected).Python
			if got := ws.CloseCode(in.Code); got != want {
				t.Errorf("%s: %d, want %d", v.Name, got, want)
			}
			if deviations[v.Name] != "" {
				want = ws.CloseNormal
			}
			s := d.Connect(pondtest.WebSocket, "/socket")
			err := e.Disconnect(s.ID(), in.Code, "bye")
			code, reason := s.Closed()
			if err != nil || code != want || reason != "bye" {
				t.Errorf("%s: closed with %d %q, want %d; %v", v.Name, code, reason, want, err)
			}
			synctest.Wait()
			if err := e.Disconnect(s.ID(), 0, ""); !errors.Is(err, pond.ErrClosed) {
				t.Errorf("%s: again: %v", v.Name, err)
			}
		})
	})
}
