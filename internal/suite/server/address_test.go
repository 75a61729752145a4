package server_test

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// The limit of connections per address: which clients are counted together, over both
// transports, with and without proxies.
func TestFault23_ConnectionsPerAddress(t *testing.T) {
	trusted := pond.WithTrustedProxies(
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48"), netip.MustParsePrefix("::ffff:172.16.0.0/108"))
	type from struct {
		remote    string
		forwarded []string
	}
	direct := func(remote string, forwarded ...string) from { return from{remote, forwarded} }
	proxied := func(forwarded ...string) from { return from{"10.0.0.1:4711", forwarded} }
	for name, test := range map[string]struct {
		opts []pond.EndpointOption
		a, b from
		same bool
	}{
		"one address, two ports":              {nil, direct("203.0.113.7:1"), direct("203.0.113.7:2"), true},
		"two addresses":                       {nil, direct("203.0.113.7:1"), direct("203.0.113.8:1"), false},
		"one IPv6 network":                    {nil, direct("[2001:db8:1:2::1]:1"), direct("[2001:db8:1:2:ffff::9]:1"), true},
		"two IPv6 networks":                   {nil, direct("[2001:db8:1:2::1]:1"), direct("[2001:db8:1:3::1]:1"), false},
		"IPv4 written as IPv6":                {nil, direct("203.0.113.7:1"), direct("[::ffff:203.0.113.7]:1"), true},
		"IPv4 is not one IPv6 network":        {nil, direct("[::ffff:203.0.113.7]:1"), direct("[::ffff:203.0.113.8]:1"), false},
		"a header of a client":                {nil, direct("203.0.113.7:1", "198.51.100.1"), direct("203.0.113.7:1", "198.51.100.2"), true},
		"from an address that is not a proxy": {[]pond.EndpointOption{trusted}, direct("203.0.113.7:1", "198.51.100.1"), direct("203.0.113.7:1", "198.51.100.2"), true},
		"behind a proxy":                      {[]pond.EndpointOption{trusted}, proxied("198.51.100.1"), proxied("198.51.100.2"), false},
		"one behind a proxy":                  {[]pond.EndpointOption{trusted}, proxied("198.51.100.1"), proxied("198.51.100.1"), true},
		"with a forged left part":             {[]pond.EndpointOption{trusted}, proxied("1.1.1.1, 198.51.100.1"), proxied("2.2.2.2,198.51.100.1"), true},
		"forged in another line":              {[]pond.EndpointOption{trusted}, proxied("1.1.1.1", "198.51.100.1"), proxied("2.2.2.2", "198.51.100.1"), true},
		"through two proxies":                 {[]pond.EndpointOption{trusted}, proxied("198.51.100.1, 10.9.9.9"), proxied("198.51.100.2, 10.9.9.9"), false},
		"two proxies, one client":             {[]pond.EndpointOption{trusted}, proxied("198.51.100.1"), proxied("198.51.100.1, 10.9.9.9"), true},
		"proxies of IPv6 and of ::ffff":       {[]pond.EndpointOption{trusted}, direct("[2001:db8:ffff::1]:1", "198.51.100.1, 172.17.0.1"), proxied("198.51.100.1"), true},
		"with ports and brackets":             {[]pond.EndpointOption{trusted}, proxied("198.51.100.1:99"), proxied("[::ffff:198.51.100.1]:98"), true},
		"IPv6 with a zone, in brackets":       {[]pond.EndpointOption{trusted}, proxied("[2001:db8:1:2::1%en0]"), proxied("2001:db8:1:2::2"), true},
		"IPv6 network behind a proxy":         {[]pond.EndpointOption{trusted}, proxied("[2001:db8:1:2::1]"), proxied("2001:db8:1:2::2"), true},
		"no header: the proxy itself":         {[]pond.EndpointOption{trusted}, proxied(), proxied(), true},
		"invalid: the proxy itself":           {[]pond.EndpointOption{trusted}, proxied("198.51.100.1, unknown"), proxied("198.51.100.2, _hidden"), true},
		"invalid to the left":                 {[]pond.EndpointOption{trusted}, proxied("unknown, 198.51.100.1"), proxied("198.51.100.1"), true},
		"only proxies":                        {[]pond.EndpointOption{trusted}, proxied("10.1.1.1, 10.2.2.2"), proxied("10.1.1.1"), true},
	} {
		t.Run(name, func(t *testing.T) {
			var met kit.Limits
			p := pond.New(met.Observer())
			p.Endpoint("/socket", kit.Accept, append(test.opts, pond.WithMaxConnsPerAddress(2))...)
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				as := func(f from) pondtest.Option {
					return func(r *http.Request) {
						r.RemoteAddr = f.remote
						r.Header["X-Forwarded-For"] = slices.Clone(f.forwarded)
					}
				}
				first := d.Connect(pondtest.WebSocket, "/socket", as(test.a))
				d.Connect(pondtest.SSE, "/socket", as(test.a))
				for _, tr := range pondtest.Transports {
					if !test.same {
						d.Connect(tr, "/socket", as(test.b))
						continue
					}
					resp := d.Declined(tr, "/socket", as(test.b))
					if body := kit.ReadAll(t, resp); resp.StatusCode != http.StatusTooManyRequests || body != "too many connections from this address" ||
						resp.Header.Get("Retry-After") == "" {
						t.Errorf("%s: %s %q %v", tr, resp.Status, body, resp.Header)
					}
				}
				if n := met.Of(pond.LimitAddress); test.same != (n == 2) {
					t.Errorf("observed %d", n)
				}
				first.Close() // its slot is free again
				synctest.Wait()
				d.Connect(pondtest.WebSocket, "/socket", as(test.a))
			})
		})
	}
}

// A client that is declined keeps no slot of its address, and neither does one whose
// connection cannot be taken over.
func TestFault23_DeclinedClientsKeepNoSlot(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if ctx.Query().Has("in") {
			return ctx.Accept()
		}
		return ctx.Decline(403, "no")
	}, pond.WithMaxConnsPerAddress(1))
	hidden := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("hide") {
			w = struct{ http.ResponseWriter }{w}
		}
		p.ServeHTTP(w, r)
	})
	pondtest.Run(t, hidden, func(t *testing.T, d *pondtest.Driver) {
		defer p.Shutdown(t.Context())
		from := pondtest.RemoteAddr("203.0.113.7:1")
		for range 3 {
			for _, tr := range pondtest.Transports {
				if resp := d.Declined(tr, "/socket", from); resp.StatusCode != http.StatusForbidden {
					t.Errorf("declined: %s", resp.Status)
				}
				if resp := d.Declined(tr, "/socket?in&hide", from); resp.StatusCode != http.StatusInternalServerError {
					t.Errorf("hidden: %s", resp.Status)
				}
			}
		}
		d.Connect(pondtest.SSE, "/socket?in", from)
	})
}

// Parsing the header takes time in proportion to its bytes.
func TestFault23_LongForwardedFor(t *testing.T) {
	p := pond.New()
	p.Endpoint("/socket", kit.Accept, pond.WithMaxConnsPerAddress(1), pond.WithTrustedProxies(netip.MustParsePrefix("0.0.0.0/0")))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for _, value := range []string{strings.Repeat("10.0.0.1,", 50_000) + "1.2.3.4", strings.Repeat(",", 400_000) + "1.2.3.5"} {
			d.Connect(pondtest.SSE, "/socket", pondtest.Header("X-Forwarded-For", value)).Close()
		}
	})
}
