package server_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func TestRefusedConnections(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	p.Endpoint("/socket", kit.Accept)
	p.Endpoint("/declined", func(ctx *pond.ConnectionContext) error { return ctx.Decline(403, "not\r\nyou") })
	p.Endpoint("/default", func(ctx *pond.ConnectionContext) error { return ctx.Decline(0, "") })
	p.Endpoint("/undecided", func(*pond.ConnectionContext) error { return nil })
	p.Endpoint("/typed", func(*pond.ConnectionContext) error { return pond.Errorf(402, "pay") })
	p.Endpoint("/plain", func(*pond.ConnectionContext) error { return errors.New("hunter2") })
	p.Endpoint("/regret", func(ctx *pond.ConnectionContext) error { return errors.Join(ctx.Accept(), pond.Errorf(409, "no")) })
	p.Endpoint("/stop", func(ctx *pond.ConnectionContext) error { return ctx.Decline(204, "") })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for _, tr := range pondtest.Transports {
			for _, test := range []struct {
				path   string
				status int
				body   string
			}{
				{"/declined", 403, "not\r\nyou"},
				{"/default", 401, "Unauthorized"},
				{"/undecided", 401, "the connection was not accepted"},
				{"/typed", 402, "pay"},
				{"/plain", 500, "internal error"},
				{"/regret", 409, "no"},
				{"/stop", 204, ""},
				{"/nowhere", 404, "no endpoint at this path"},
				{"/socket/", 404, "no endpoint at this path"},
			} {
				resp := d.Declined(tr, test.path)
				body := kit.ReadAll(t, resp)
				if resp.StatusCode != test.status || body != test.body {
					t.Errorf("%s %s: %d %q, want %d %q", tr, test.path, resp.StatusCode, body, test.status, test.body)
				}
				if resp.Header.Get("X-Connection-ID") != "" {
					t.Errorf("%s %s: a refused client got a connection ID", tr, test.path)
				}
			}
		}
	})
}

func TestRequestsThatAreNoConnections(t *testing.T) {
	p, _, _ := kit.NewPond()
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for name, test := range map[string]struct {
			req    *http.Request
			status int
			header string
		}{
			"plain GET":      {kit.Request("GET", "/socket", ""), 404, ""},
			"GET anything":   {kit.Request("GET", "/socket", "", "Accept: */*"), 404, ""},
			"no Upgrade":     {kit.Request("GET", "/socket", "", slices.Delete(slices.Clone(upgrade), 1, 2)...), 426, "Upgrade: websocket"},
			"no Connection":  {kit.Request("GET", "/socket", "", upgrade[1:]...), 426, "Upgrade: websocket"},
			"old WebSocket":  {kit.Request("GET", "/socket", "", append(upgrade, "Sec-WebSocket-Version: 8")...), 426, "Sec-Websocket-Version: 13"},
			"WebSocket POST": {kit.Request("POST", "/socket", "", append(upgrade, "Sec-WebSocket-Version: 13")...), 400, ""},
			"no key":         {kit.Request("GET", "/socket", "", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), 400, ""},
			"PUT":            {kit.Request("PUT", "/socket", ""), 405, "Allow: GET, POST, DELETE"},
			"HEAD":           {kit.Request("HEAD", "/socket", ""), 405, "Allow: GET, POST, DELETE"},
			"OPTIONS":        {kit.Request("OPTIONS", "/socket", ""), 405, "Allow: GET, POST, DELETE"},
			"POST":           {kit.Request("POST", "/socket", "{}"), 400, ""},
			"POST unknown":   {kit.Request("POST", "/socket", "{}", "X-Connection-ID: nope"), 404, ""},
			"DELETE":         {kit.Request("DELETE", "/socket", ""), 400, ""},
			"DELETE unknown": {kit.Request("DELETE", "/socket", "", "X-Connection-ID: nope"), 404, ""},
		} {
			resp := d.Do(test.req)
			if resp.StatusCode != test.status {
				t.Errorf("%s: status %d, want %d", name, resp.StatusCode, test.status)
			}
			if h, v, ok := strings.Cut(test.header, ": "); ok && resp.Header.Get(h) != v {
				t.Errorf("%s: headers %v", name, resp.Header)
			}
		}
	})
}

// The rules for event streams in the README of pondsocket-asgi. Only its "Connection:
// keep-alive" would be wrong here, because the connection ends with the stream.
func TestStreamContract(t *testing.T) {
	p, _, _ := kit.NewPond()
	other := p.Endpoint("/other", kit.Accept)
	_ = other
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/socket")
		h := s.Response().Header
		for name, want := range map[string]string{
			"Content-Type":      "text/event-stream; charset=utf-8",
			"Cache-Control":     "no-cache, no-transform, no-store",
			"X-Accel-Buffering": "no",
			"X-Connection-ID":   s.ConnectionID(),
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, h.Get(name), want)
			}
		}
		if !s.Response().Close {
			t.Errorf("the response does not say that the connection ends with the stream: %v", h)
		}
		if first := s.Events()[0]; first.Name != "CONNECTION" || !strings.Contains(first.Data, `"connectionId":"`+s.ConnectionID()+`"`) {
			t.Errorf("first event %+v", first)
		}
		if status := d.Push(s, []byte(`{"action":"JOIN_CHANNEL","event":"","channelName":"/chat/1","requestId":"r","payload":null}`)); status != 204 {
			t.Errorf("POST: %d", status)
		}
		kit.Is(t, s.Receive(), "SYSTEM", "ACKNOWLEDGE", "{}")
		if e := s.Events()[1]; e.Name != "ACKNOWLEDGE" {
			t.Errorf("event %+v", e)
		}
		if status := d.Push(s, []byte(`nonsense`)); status != 204 {
			t.Errorf("invalid POST: %d", status)
		}
		if m := s.Receive(); m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != 400 {
			t.Errorf("got %v", m)
		}
		if status := d.Push(s, make([]byte, 1<<20+1)); status != 413 {
			t.Errorf("large POST: %d", status)
		}
		if m := s.Receive(); m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != 413 {
			t.Errorf("got %v", m)
		}
		// The connection ID is valid for its own endpoint and for event streams only.
		for name, id := range map[string]string{"other endpoint": s.ConnectionID(), "user ID": s.ID()} {
			path := map[bool]string{true: "/other", false: "/socket"}[name == "other endpoint"]
			for _, method := range []string{"POST", "DELETE"} {
				if resp := d.Do(kit.Request(method, path, "{}", "X-Connection-ID: "+id)); resp.StatusCode != http.StatusNotFound {
					t.Errorf("%s %s: %d", method, name, resp.StatusCode)
				}
			}
		}
		if status := d.Disconnect(s); status != 204 {
			t.Errorf("DELETE: %d", status)
		}
		if code, _ := s.Closed(); code != 0 {
			t.Errorf("closed with %d", code)
		}
		if status := d.Disconnect(s); status != 404 {
			t.Errorf("DELETE again: %d", status)
		}
	})
}

func TestStreamFraming(t *testing.T) {
	for _, test := range []struct {
		framing pond.SSEFraming
		target  string
		header  string
		named   bool
	}{
		{pond.SSEAuto, "/socket", "X: y", true},
		{pond.SSEAuto, "/socket", "Cache-Control: no-cache", false},
		{pond.SSEAuto, "/socket", "Sec-Fetch-Mode: cors", false},
		{pond.SSEAuto, "/socket?sse=unnamed", "X: y", false},
		{pond.SSEAuto, "/socket?sse=named", "Sec-Fetch-Mode: cors", true},
		{pond.SSENamed, "/socket", "Sec-Fetch-Mode: cors", true},
		{pond.SSEUnnamed, "/socket", "X: y", false},
		{pond.SSEUnnamed, "/socket?sse=named", "X: y", true},
	} {
		p, _, _ := kit.NewPond(pond.WithSSEFraming(test.framing))
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			name, value, _ := strings.Cut(test.header, ": ")
			s := d.Connect(pondtest.SSE, test.target, pondtest.Header(name, value))
			want := "event: CONNECTION\ndata: {"
			if !test.named {
				want = "data: {"
			}
			if got := string(s.Bytes()); !strings.HasPrefix(got, want) {
				t.Errorf("%q %s %s: %q", test.framing, test.target, test.header, got)
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	type row struct {
		origin string
		ok     bool
	}
	for name, test := range map[string]struct {
		opts []pond.EndpointOption
		rows []row
	}{
		"default": {nil, []row{
			{"", true},
			{"http://example.com", true}, // the host of pondtest's requests
			{"HTTP://EXAMPLE.COM", true},
			{"http://example.com:80", true},
			{"http://example.com:8080", false},
			{"http://example.com.", false},
			{"http://www.example.com", false},
			{"http://evil.example", false},
			{"http://example.com.evil.example", false},
			{"null", false},
			{"example.com", false},
			{"http://example.com/", false},
			{"http://example.com@evil.example", false},
			{"http://evil.example http://example.com", false},
		}},
		"listed": {[]pond.EndpointOption{pond.WithOrigins("https://good.example", "https://*.wild.example", "http://port.example:8080")}, []row{
			{"http://example.com", true},
			{"https://good.example", true},
			{"https://good.example:443", true},
			{"http://good.example", false},
			{"https://good.example:444", false},
			{"https://good.example.evil.example", false},
			{"https://evilgood.example", false},
			{"https://a.wild.example", true},
			{"https://a.b.wild.example", true},
			{"https://wild.example", false},
			{"https://evilwild.example", false},
			{"http://port.example:8080", true},
			{"http://port.example", false},
		}},
		"any": {[]pond.EndpointOption{pond.WithInsecureAnyOrigin()}, []row{{"https://evil.example", true}, {"null", true}}},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, _ := kit.NewPond(test.opts...)
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				victim := d.Connect(pondtest.SSE, "/socket")
				for _, r := range test.rows {
					opt := func(req *http.Request) {
						if r.origin != "" {
							req.Header.Set("Origin", r.origin)
						}
					}
					for _, tr := range pondtest.Transports {
						if !r.ok {
							if resp := d.Declined(tr, "/socket", opt); resp.StatusCode != http.StatusForbidden {
								t.Errorf("%s %q: %d", tr, r.origin, resp.StatusCode)
							}
							continue
						}
						s := d.Connect(tr, "/socket", opt)
						if name != "default" && r.origin != "" && s.Response().Header.Get("Access-Control-Allow-Origin") != r.origin {
							t.Errorf("%s %q: not allowed to read: %v", tr, r.origin, s.Response().Header)
						}
						s.Close()
					}
					for _, method := range []string{"POST", "DELETE", "OPTIONS"} {
						req := kit.Request(method, "/socket", "x", "X-Connection-ID: "+victim.ConnectionID())
						opt(req)
						if method == "DELETE" {
							req.Header.Set("X-Connection-ID", "none")
						}
						if status := d.Do(req).StatusCode; (status != 403) != r.ok {
							t.Errorf("%s %q: %d", method, r.origin, status)
						}
					}
				}
			})
		})
	}
}

func TestPreflight(t *testing.T) {
	p, _, _ := kit.NewPond(pond.WithOrigins("https://good.example"))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		resp := d.Do(kit.Request("OPTIONS", "/socket", "", "Origin: https://good.example",
			"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type,x-connection-id"))
		if resp.StatusCode != http.StatusNoContent {
			t.Errorf("status %d", resp.StatusCode)
		}
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin":      "https://good.example",
			"Access-Control-Allow-Credentials": "true",
			"Access-Control-Allow-Methods":     "GET, POST, DELETE",
			"Access-Control-Allow-Headers":     "Content-Type, X-Connection-ID, Authorization, Last-Event-ID, Cache-Control",
			"Vary":                             "Origin",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}
