package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// An origin can be written in several ways, but browsers send only one. An accepted
// configuration matches the form that browsers send. All others are rejected, because they
// could never match.
func TestFault27_OriginsInAnySpelling(t *testing.T) {
	for configured, rows := range map[string]map[string]bool{
		"HTTPS://Good.EXAMPLE:443": {"https://good.example": true, "https://good.example:443": true, "http://good.example": false},
		"http://good.example:80":   {"http://good.example": true, "http://good.example:8080": false},
		"https://good.example.":    {"https://good.example.": true, "https://good.example": false},
		"https://*.Good.example":   {"https://a.good.example": true, "https://A.B.good.example": true, "https://good.example": false},
		"https://*.a.example:8443": {"https://b.a.example:8443": true, "https://b.a.example": false},
		"https://xn--mnchen-3ya.example": {
			"https://xn--mnchen-3ya.example": true, "https://XN--MNCHEN-3YA.example": true, "https://münchen.example": false,
			"https://munchen.example": false,
		},
		"https://*.xn--mnchen-3ya.example":     {"https://www.xn--mnchen-3ya.example": true},
		"https://[2001:DB8:0:0:0:0:0:1]":       {"https://[2001:db8::1]": true, "https://[2001:db8::2]": false},
		"https://[2001:db8::0001]:8443":        {"https://[2001:db8::1]:8443": true, "https://[2001:db8::1]": false},
		"https://[::ffff:1.2.3.4]":             {"https://[::ffff:102:304]": true, "https://1.2.3.4": false},
		"https://[1:0:0:2:0:0:0:3]":            {"https://[1:0:0:2::3]": true},
		"http://127.0.0.1:3000":                {"http://127.0.0.1:3000": true},
		"http://localhost":                     {"http://localhost": true, "http://localhost:80": true, "http://127.0.0.1": false},
		"chrome-extension://abcdefghijklmnop":  {"chrome-extension://abcdefghijklmnop": true, "https://abcdefghijklmnop": false},
		"capacitor://localhost":                {"capacitor://localhost": true},
		"https://a_b.example":                  {"https://a_b.example": true},
		"https://" + strings.Repeat("a", 250):  {"https://" + strings.Repeat("a", 250): true},
		"https://" + strings.Repeat("a.", 120): {"https://" + strings.Repeat("a.", 120): true, "https://" + strings.Repeat("a.", 1<<18): false},
	} {
		p, _, _ := kit.NewPond(pond.WithOrigins(configured))
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			for sent, allowed := range rows {
				for _, tr := range pondtest.Transports {
					opt := pondtest.Header("Origin", sent)
					if allowed {
						d.Connect(tr, "/socket", opt).Close()
					} else if resp := d.Declined(tr, "/socket", opt); resp.StatusCode != http.StatusForbidden {
						t.Errorf("%s: %s %.50q: status %d", configured, tr, sent, resp.StatusCode)
					}
				}
			}
		})
	}
}

// The origin of the endpoint itself is allowed, however an IPv6 address is spelled.
func TestFault27_OwnOriginWithIPv6(t *testing.T) {
	p, _, _ := kit.NewPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for host, ok := range map[string]bool{"[::1]:8080": true, "[0:0:0:0:0:0:0:1]:8080": true, "[::2]:8080": false, "[::1]": false} {
			opt := func(req *http.Request) {
				req.Host = host
				req.Header.Set("Origin", "http://[::1]:8080")
			}
			for _, tr := range pondtest.Transports {
				if ok {
					d.Connect(tr, "/socket", opt).Close()
				} else if resp := d.Declined(tr, "/socket", opt); resp.StatusCode != http.StatusForbidden {
					t.Errorf("host %s: status %d", host, resp.StatusCode)
				}
			}
		}
	})
}

func TestFault27_OriginsThatNoPageHas(t *testing.T) {
	for configured, reason := range map[string]string{
		"":                           "want a scheme",
		"*":                          "want a scheme",
		"null":                       "want a scheme",
		"example.com":                "want a scheme",
		"//example.com":              "want a scheme",
		"https://":                   "want a scheme",
		"https://*":                  "want a scheme",
		"https://*.":                 "want a scheme",
		"https://*.*.example.com":    "want a scheme",
		"https://a.*.example.com":    "want a scheme",
		"https://example.com/":       "want a scheme",
		"https://example.com/chat":   "want a scheme",
		"https://example.com?":       "want a scheme",
		"https://example.com#":       "want a scheme",
		"https://user@example.com":   "want a scheme",
		"https://exa mple.com":       "want a scheme",
		"https://ex%61mple.com":      "want a scheme",
		"https://.example.com":       "want a scheme",
		"https://example..com":       "want a scheme",
		"https://example.com:http":   "want a scheme",
		"https://example.com:65536":  "want a scheme",
		"https://example.com:0443":   "want a scheme",
		"https://[::1":               "want a scheme",
		"https://[fe80::1%25eth0]":   "want a scheme",
		"https://[1:2:3]":            "want a scheme",
		"https://a,https://b":        "want a scheme",
		"ws://example.com":           "pages have https or http",
		"wss://*.example.com":        "pages have https or http",
		"http://127.1":               "four decimal numbers",
		"http://0x7f.0.0.1":          "four decimal numbers",
		"http://010.0.0.1":           "four decimal numbers",
		"http://2130706433":          "four decimal numbers",
		"http://127.0.0.1.":          "four decimal numbers",
		"http://a.0x":                "four decimal numbers",
		"https://*.127.0.0.1":        "no subdomains",
		"https://*.[::1]":            "no subdomains",
		"https://münchen.example":    `new URL("https://münchen.example").origin`,
		"https://*.münchen.example":  `new URL("https://*.münchen.example").origin`,
		"https://МОСКВА.example":     "in ASCII",
		"https://ｅxample.com":        "in ASCII", // which browsers send as example.com
		"https://\xff.example":       "in ASCII",
		"https://example.com\u3002a": "in ASCII", // an ideographic full stop
	} {
		func() {
			defer func() {
				text, _ := recover().(string)
				if !strings.HasPrefix(text, "pond: invalid origin ") || !strings.Contains(text, reason) {
					t.Errorf("%q: panic %q, want %q", configured, text, reason)
				}
			}()
			pond.WithOrigins(configured)
		}()
	}
}
