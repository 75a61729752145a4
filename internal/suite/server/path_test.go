package server_test

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// Paths that RFC 3986 section 6.2.2 calls equivalent lead to the same endpoint with
// the same parameters. A path with an encoded slash, or with dot segments, is
// another path.
func TestFault24_EquivalentPaths(t *testing.T) {
	const none = "404"
	rows := map[string]string{ // what the handler saw of a path
		"/socket": "/socket", "/s%6Fcket": "/socket", "/%73%6f%63%6B%65%74": "/socket",
		"/Socket": none, "/s%256Fcket": none, "/socket/": none, "/./socket": none, "/x/../socket": none, "/%2e/socket": none,
		"/gr%C3%B6%C3%9Fe": "/größe", "/gr%c3%b6%c3%9f%65": "/größe", "/gr%F6%DFe": none,
		"/%D1%87%D0%B0%D1%82": "/чат",
		"/a|b":                "/a|b", "/a%7cb": "/a|b",
		"/groesse/7": "/groesse/:id 7", "/gr%6Fesse/7": "/groesse/:id 7", "/groesse/%37": "/groesse/:id 7", "/groesse/": none,
		"/groesse%2F7": none, "/groesse/a%2Fb": "/groesse/:id a/b", "/groesse/a/b": none,
		"/files/%61/b%2Fc/%7e": "/files/* /a/b%2Fc/~",
	}
	p := pond.New(pond.WithLogger(kit.Silent))
	for _, path := range []string{"/socket", "/größe", "/чат", "/a|b", "/groesse/:id", "/files/*"} {
		p.Endpoint(path, func(ctx *pond.ConnectionContext) error {
			at := map[string]string{"path": strings.TrimSpace(path + " " + ctx.Param("id") + ctx.Param("*"))}
			return errors.Join(ctx.Accept(), ctx.Reply("at", at))
		})
	}
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for _, tr := range pondtest.Transports {
			for path, want := range rows {
				if want == none {
					if resp := d.Declined(tr, path); resp.StatusCode != http.StatusNotFound {
						t.Errorf("%s %s: status %d", tr, path, resp.StatusCode)
					}
					continue
				}
				s := d.Connect(tr, path)
				var at struct{ Path string }
				if m := s.Receive(); m.Event != "at" {
					t.Errorf("%s %s: got %v", tr, path, m)
				} else if m.Bind(t, &at); at.Path != want {
					t.Errorf("%s %s: %q, want %q", tr, path, at.Path, want)
				}
				s.Close()
			}
		}
	})
}

// Two equivalent spellings of a path are the same path.
func TestFault24_EquivalentEndpointsAreTaken(t *testing.T) {
	p := pond.New()
	p.Endpoint("/größe/:id", kit.Accept)
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "exists already") {
			t.Errorf("panic %q", text)
		}
	}()
	p.Endpoint("/gr%c3%b6%c3%9Fe/:id", kit.Accept)
}

// Names of channels are not parts of URLs: they match exactly.
func TestFault24_ChannelNamesAreExact(t *testing.T) {
	build := func() *pond.Pond {
		p := pond.New(pond.WithLogger(kit.Silent))
		e := p.Endpoint("/socket", kit.Accept)
		e.Lobby("/größe", kit.Admit)
		e.Lobby("/s%6Fcket/:id", kit.Admit)
		return p
	}
	kit.OnBoth(t, build, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		for name, ok := range map[string]bool{
			"/größe": true, "/gr%C3%B6%C3%9Fe": false, "/gro\u0308ße": false,
			"/s%6Fcket/1": true, "/s%6fcket/1": false, "/socket/1": false,
		} {
			if m := s.Join(name, nil); (m.Event == "ACKNOWLEDGE") != ok {
				t.Errorf("%q: got %v", name, m)
			}
		}
	})
}

// In an endpoint with parameters, no handler sees an empty parameter, whatever path the router
// sends to it. So a request cannot remove the tenant from its path.
func TestFault24_NoParameterCanBeBlanked(t *testing.T) {
	paths := []string{
		"/", "//", "/x", "/x/", "//x", "/x/socket", "/x/socket/", "/x/socket/y", "//socket/y", "/%2F/socket/y", "/%2f%2e/s%6Fcket/%00",
		"/socket/y", "/x//socket/y", "/x/socket//y", "/x%2Fsocket/y", "/x/socket%2Fy", "/x/SOCKET/y", "/x/socket/y/z", "/./socket/y", "/../socket/y",
		"/%FF/socket/%FF", "/%20/socket/%20", "/x|/socket/y", "/|/socket/%2F", "/x/s|ocket/y", "/é/socket/ü", "/%25/socket/%2525",
		"/groesse/7", "/gr%6Fesse/7", "/groesse/", "/groesse//", "/groesse/%2F", "/groesse/7/x", "/groesse/7/", "/gr%6fesse/a%2Fb|c/x",
		"/x-", "/x-7", "/x%2D7", "/x%2d", "/x:", "/xy", "/x%3A", "/%78-%37", "/%78/",
	}
	for _, pattern := range []string{"/:tenant/socket/:id", "/:tenant/socket/*", "/groesse/:id", "/:tenant", "*", "/x-:id", "/x:*", "/groesse/:id/:tenant"} {
		var seen []map[string]string
		p := pond.New(pond.WithLogger(kit.Silent))
		e := p.Endpoint(pattern, func(ctx *pond.ConnectionContext) error {
			params := map[string]string{}
			for _, name := range []string{"tenant", "id", "*"} {
				if strings.Contains(pattern, ":"+name) || name == "*" && strings.Contains(pattern, "*") {
					params[name] = ctx.Param(name)
				}
			}
			seen = append(seen, params)
			return ctx.Decline(http.StatusForbidden, "")
		})
		mux := http.NewServeMux()
		mux.Handle("/groesse/{id...}", e) // decodes before it matches
		mux.Handle("/raw/", http.StripPrefix("/raw", e))
		calls := 0
		for _, path := range paths {
			for name, h := range map[string]http.Handler{"directly": e, "by a router": mux, "by another router": mux, "by the Pond": p} {
				for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
					target := path
					if name == "by another router" {
						target = "/raw" + path
					}
					req := httptest.NewRequestWithContext(t.Context(), method, target, nil)
					req.Header.Set("Accept", "text/event-stream")
					req.Header.Set("X-Connection-ID", "none")
					resp := httptest.NewRecorder()
					seen = nil
					h.ServeHTTP(resp, req)
					calls += len(seen)
					for _, params := range seen {
						if slices.Contains(slices.Collect(maps.Values(params)), "") {
							t.Errorf("%s on %s, called %s: %q", pattern, target, name, params)
						}
					}
					if method != "GET" && len(seen) > 0 {
						t.Errorf("%s called a handler", method)
					}
				}
			}
		}
		if calls < 3 {
			t.Errorf("%s: %d calls", pattern, calls)
		}
	}
}

// An endpoint without parameters serves all paths that its router sends to it.
func TestFault24_RoutersDecide(t *testing.T) {
	p := pond.New()
	e := p.Endpoint("/socket", kit.Accept)
	mux := http.NewServeMux()
	mux.Handle("/elsewhere/", e)
	pondtest.Run(t, mux, func(t *testing.T, d *pondtest.Driver) {
		for _, tr := range pondtest.Transports {
			d.Connect(tr, "/elsewhere/x").Close()
		}
		_ = p.Shutdown(t.Context())
	})
}
