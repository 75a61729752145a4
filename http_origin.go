package pond

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// An origin is one that is allowed: scheme, host and port, where the host may
// stand for all of its subdomains.
type origin struct {
	scheme, host, port string
	subdomains         bool
}

// parseOrigin reads an origin as it is configured.
func parseOrigin(text string) (origin, error) {
	rest, subdomains := text, false
	if scheme, host, ok := strings.Cut(text, "://*."); ok {
		rest, subdomains = scheme+"://"+host, true
	}
	o, ok := splitOrigin(rest)
	if !ok || strings.Contains(o.host, "*") {
		return origin{}, fmt.Errorf("%q is no origin: write https://example.com or https://*.example.com", text)
	}
	o.subdomains = subdomains
	return o, nil
}

// splitOrigin reads the value of an Origin header (RFC 6454 section 7).
func splitOrigin(text string) (origin, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return origin{}, false
	}
	o := origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port()}
	if o.port == "" {
		o.port = defaultPort(o.scheme)
	}
	return o, o.host != ""
}

func defaultPort(scheme string) string {
	switch scheme {
	case "http", "ws":
		return "80"
	case "https", "wss":
		return "443"
	default:
		return ""
	}
}

// matches reports whether a request's origin is covered by o.
func (o origin) matches(of origin) bool {
	if o.scheme != of.scheme || o.port != of.port {
		return false
	}
	if o.subdomains {
		return strings.HasSuffix(of.host, "."+o.host)
	}
	return o.host == of.host
}

// allows reports whether the page that makes the request may. Requests without
// an Origin do not come from a page on another origin: browsers send it with
// every WebSocket handshake, and with every cross-origin request.
func (c *endpointConfig) allows(r *http.Request) bool {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return r.Header.Get("Sec-Fetch-Site") != "cross-site" || c.anyOrigin
	}
	if c.anyOrigin {
		return true
	}
	of, ok := splitOrigin(values[0])
	if !ok || len(values) > 1 {
		return false
	}
	if of.sameAs(r) {
		return true
	}
	for _, o := range c.origins {
		if o.matches(of) {
			return true
		}
	}
	return false
}

// sameAs reports whether the page comes from where the request goes to. The
// browser knows best; where it does not say, host and port decide. The scheme
// cannot: a proxy may have taken TLS off.
func (o origin) sameAs(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		return true
	}
	target, ok := splitOrigin(o.scheme + "://" + r.Host)
	return ok && target.host == o.host && target.port == o.port && (r.TLS == nil || o.scheme == "https")
}

// crossOrigin reports whether pages on other origins may connect at all.
func (c *endpointConfig) crossOrigin() bool { return c.anyOrigin || len(c.origins) > 0 }

// allow lets a page on another origin, which has been allowed, read the answer
// (Fetch standard, section 3.3).
func (c *endpointConfig) allow(h http.Header, r *http.Request) {
	if !c.crossOrigin() {
		return
	}
	h.Add("Vary", "Origin")
	if from := r.Header.Get("Origin"); from != "" {
		h.Set("Access-Control-Allow-Origin", from)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "X-Connection-ID")
	}
}
