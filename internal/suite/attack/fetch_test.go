package attack_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A page of another origin cannot connect with the cookies of its visitor by a request
// without an Origin header. Only pages of the endpoint's own origin, which can read the
// response, can do so. The connection handler does not run for a rejected request.
func TestFault17_RequestsOfPagesWithoutAnOrigin(t *testing.T) {
	for name, test := range map[string]struct {
		headers string
		any, ok bool // with WithInsecureAnyOrigin; allowed
	}{
		"a program":                     {"", false, true},
		"EventSource of the own origin": {"Sec-Fetch-Site: same-origin, Sec-Fetch-Mode: cors", false, true},
		"typed into the address bar":    {"Sec-Fetch-Site: none, Sec-Fetch-Mode: navigate", false, true},
		"fetch of Node":                 {"Sec-Fetch-Mode: cors", false, true},
		"same site, no-cors":            {"Sec-Fetch-Site: same-site, Sec-Fetch-Mode: no-cors, Sec-Fetch-Dest: empty", false, false},
		"another site, no-cors":         {"Sec-Fetch-Site: cross-site, Sec-Fetch-Mode: no-cors", false, false},
		"own origin, no-cors":           {"Sec-Fetch-Site: same-origin, Sec-Fetch-Mode: no-cors", false, false},
		"no-cors of unknown site":       {"Sec-Fetch-Mode: no-cors", false, false},
		"same site":                     {"Sec-Fetch-Site: same-site, Sec-Fetch-Mode: cors", false, false},
		"another site":                  {"Sec-Fetch-Site: cross-site, Sec-Fetch-Mode: cors", false, false},
		"a link on the same site":       {"Sec-Fetch-Site: same-site, Sec-Fetch-Mode: navigate", false, false},
		"an unknown value":              {"Sec-Fetch-Site: same-party", false, false},
		"any origin is allowed":         {"Sec-Fetch-Site: same-site, Sec-Fetch-Mode: no-cors", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			ran := 0
			opts := []pond.EndpointOption{pond.WithOrigins("https://good.example")}
			if test.any {
				opts = append(opts, pond.WithInsecureAnyOrigin())
			}
			p := pond.New()
			p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { ran++; return ctx.Accept() }, opts...)
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				victim := d.Connect(pondtest.SSE, "/socket")
				ran = 0
				with := func(r *http.Request) {
					for header := range strings.SplitSeq(test.headers, ", ") {
						if name, value, ok := strings.Cut(header, ": "); ok {
							r.Header.Set(name, value)
						}
					}
				}
				for _, tr := range pondtest.Transports {
					if test.ok {
						d.Connect(tr, "/socket", with)
					} else if resp := d.Declined(tr, "/socket", with); resp.StatusCode != http.StatusForbidden {
						t.Errorf("%s: %s", tr, resp.Status)
					}
				}
				if want := map[bool]int{true: 2}[test.ok]; ran != want {
					t.Errorf("the connection handler ran %d times, want %d", ran, want)
				}
				for _, method := range []string{"POST", "DELETE", "HEAD", "OPTIONS"} {
					req := kit.Request(method, "/socket", "{}", "X-Connection-ID: "+victim.ConnectionID())
					with(req)
					if status := d.Do(req).StatusCode; (status != http.StatusForbidden) != test.ok {
						t.Errorf("%s: %d", method, status)
					}
				}
			})
		})
	}
}

// In DNS rebinding, the domain of an attacker resolves to the address of the server. The
// domain is then the origin of the page and the host of its requests.
func TestFault17_Hosts(t *testing.T) {
	p, _, _ := kit.NewPond(pond.WithHosts("pond.example", "*.Wild.example", "localhost:8080", "[::1]", "[2001:DB8:0::2]:81"))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for host, ok := range map[string]bool{
			"pond.example":            true,
			"POND.example":            true,
			"pond.example:443":        true,
			"pond.example.":           false,
			"evil.example":            false,
			"pond.example.evil":       false,
			"a.pond.example":          false,
			"a.wild.example":          true,
			"a.b.wild.example:80":     true,
			"wild.example":            false,
			"evilwild.example":        false,
			"localhost:8080":          true,
			"localhost":               false,
			"localhost:80":            false,
			"[::1]":                   true,
			"[0:0::1]:99":             true,
			"[::2]":                   false,
			"[2001:db8::2]:81":        true,
			"[2001:db8::2]:82":        false,
			"127.0.0.1":               false,
			"pond.example@evil":       false,
			"pond.example,evil":       false,
			"pond.example:x":          false,
			strings.Repeat("a", 5000): false,
		} {
			of := []pondtest.Option{pondtest.Header("Host", host), pondtest.Header("Origin", "http://"+host)}
			if ok {
				for _, tr := range pondtest.Transports {
					d.Connect(tr, "/socket", of...)
				}
				continue
			}
			for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
				req := kit.Request(method, "/socket", "", "Accept: text/event-stream")
				for _, opt := range of {
					opt(req)
				}
				resp := d.Do(req)
				body := kit.ReadAll(t, resp)
				// net/http itself rejects some of them.
				if resp.StatusCode != http.StatusBadRequest && (resp.StatusCode != http.StatusMisdirectedRequest || body != "this host is not served here") {
					t.Errorf("%s %.50q: %s %q", method, host, resp.Status, body)
				}
			}
		}
	})
}

// A host that could never match is a mistake in the configuration.
func TestFault17_MalformedHosts(t *testing.T) {
	for _, host := range []string{"", "*", "*.", "https://pond.example", "pond.example/", "a.*.example", "pond.example:port", "::1", "[::1", "münchen.example", "a b"} {
		func() {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "pond: invalid host ") {
					t.Errorf("%q: panic %q", host, text)
				}
			}()
			pond.WithHosts(host)
		}()
	}
	for _, name := range []string{"", "*", "X Y", "X:", "X,Y", "Ü"} {
		func() {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "pond: WithAllowedHeaders: ") {
					t.Errorf("%q: panic %q", name, text)
				}
			}()
			pond.WithAllowedHeaders(name)
		}()
	}
}
