package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A page of an allowed origin may send the headers that reading a stream with fetch needs,
// and those that the server allows in addition. Other origins receive no permissions.
func TestFault28_Preflight(t *testing.T) {
	always := "Content-Type, X-Connection-ID, Authorization, Last-Event-ID, Cache-Control"
	for name, test := range map[string]struct {
		opts []pond.EndpointOption
		want string
	}{
		"default": {nil, always},
		"more":    {[]pond.EndpointOption{pond.WithAllowedHeaders("X-CSRF-Token"), pond.WithAllowedHeaders("traceparent", "X-B")}, always + ", X-CSRF-Token, traceparent, X-B"},
		"none":    {[]pond.EndpointOption{pond.WithAllowedHeaders()}, always},
	} {
		p, _, _ := kit.NewPond(append(test.opts, pond.WithOrigins("https://good.example"))...)
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			ask := func(origin string) *http.Response {
				return d.Do(kit.Request("OPTIONS", "/socket", "", "Origin: "+origin, "Access-Control-Request-Method: GET",
					"Access-Control-Request-Headers: authorization,last-event-id,cache-control"))
			}
			if resp := ask("https://good.example"); resp.StatusCode != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Headers") != test.want {
				t.Errorf("%s: %s, %v", name, resp.Status, resp.Header)
			}
			resp := ask("https://evil.example")
			for header := range resp.Header {
				if strings.HasPrefix(header, "Access-Control-") {
					t.Errorf("%s: a page of another origin gets %s", name, header)
				}
			}
		})
	}
}

// No cache may store a stream, whose headers have its secret, or a response that
// depends on who asks and when.
func TestFault29_NothingIsStored(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	p.Endpoint("/socket", kit.Accept)
	p.Endpoint("/declined", func(ctx *pond.ConnectionContext) error { return ctx.Decline(http.StatusForbidden, "no") })
	p.Endpoint("/moved", func(ctx *pond.ConnectionContext) error { return ctx.Decline(http.StatusMovedPermanently, "no") })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/socket")
		if got := s.Response().Header.Get("Cache-Control"); got != "no-cache, no-transform, no-store" {
			t.Errorf("a stream has Cache-Control %q", got)
		}
		stream := "Accept: text/event-stream"
		id := "X-Connection-ID: " + s.ConnectionID()
		for _, test := range []struct {
			method, path, header string
			status               int
		}{
			{"GET", "/nowhere", stream, 404},
			{"POST", "/nowhere", id, 404},
			{"GET", "/socket", "", 404},
			{"PUT", "/socket", "", 405},
			{"HEAD", "/socket", "", 405},
			{"OPTIONS", "/socket", "", 405},
			{"GET", "/declined", stream, 403},
			{"GET", "/moved", stream, 301},
			{"GET", "/socket", "Origin: https://evil.example", 403},
			{"GET", "/socket", "Sec-WebSocket-Key: x", 426},
			{"POST", "/socket", "", 400},
			{"POST", "/socket", "X-Connection-ID: nope", 404},
			{"POST", "/socket", id, 204},
			{"DELETE", "/socket", id, 204},
		} {
			resp := d.Do(kit.Request(test.method, test.path, "", test.header))
			if resp.StatusCode != test.status || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %s, Cache-Control %q", test.method, test.path, resp.Status, resp.Header.Get("Cache-Control"))
			}
		}
	})
}
