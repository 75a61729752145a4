package pond

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An origin is the origin of pages that may connect: scheme, host and port in the
// form in which browsers send them. It may represent all subdomains of the host.
type origin struct {
	scheme, host, port string
	subdomains         bool
}

// Errors of [WithOrigins] for origins that would not match any page.
var (
	errOriginForm   = errors.New("want a scheme, a host and perhaps a port, such as https://example.com, https://*.example.com or http://localhost:8080")
	errOriginScheme = errors.New("pages have https or http, even if they open WebSockets")
	errOriginIPv4   = errors.New("write an IPv4 address as four decimal numbers, such as 127.0.0.1")
	errOriginIP     = errors.New("an IP address has no subdomains")
)

// parseOrigin parses an origin of the configuration.
func parseOrigin(text string) (origin, error) {
	o, err := configuredOrigin(text)
	if err != nil {
		return origin{}, fmt.Errorf("invalid origin %q: %w", text, err)
	}
	return o, nil
}

func configuredOrigin(text string) (origin, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	rest, subdomains := strings.CutPrefix(rest, "*.")
	if !ok || strings.ContainsAny(rest, `/?#@%*<>"\`) {
		return origin{}, errOriginForm
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		// The standard library has no public IDNA. An own implementation that differs from
		// that of browsers could match a page of another site.
		return origin{}, fmt.Errorf("write the host in ASCII, as browsers send it: new URL(%q).origin in the console of a browser returns it", text)
	}
	o, ok := splitOrigin(scheme + "://" + rest)
	if !ok || strings.HasPrefix(o.host, ".") || strings.Contains(o.host, "..") {
		return origin{}, errOriginForm
	}
	ip, err := netip.ParseAddr(o.host)
	switch {
	case o.scheme == "ws" || o.scheme == "wss":
		return origin{}, errOriginScheme
	case err != nil && endsInNumber(o.host):
		return origin{}, errOriginIPv4
	case subdomains && ip.IsValid():
		return origin{}, errOriginIP
	}
	o.subdomains = subdomains
	return o, nil
}

// endsInNumber reports whether browsers parse a host as an IPv4 address (URL standard,
// "ends in a number checker"). They also accept forms such as 127.1.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if digits, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// maxOrigin limits the bytes of an Origin header. A host has 253 at most.
const maxOrigin = 512

// splitOrigin parses the value of an Origin header (RFC 6454 section 7). It normalizes
// the host: lower case, and one form for each IP address.
func splitOrigin(text string) (origin, bool) {
	if len(text) > maxOrigin {
		return origin{}, false
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil {
		return origin{}, false
	}
	o := origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname())}
	if strings.Contains(o.host, ":") {
		ip, err := netip.ParseAddr(o.host)
		if err != nil || ip.Zone() != "" {
			return origin{}, false
		}
		o.host = ip.String()
	}
	if o.port = u.Port(); o.port == "" {
		o.port = defaultPort(o.scheme)
	} else if n, err := strconv.ParseUint(o.port, 10, 16); err != nil || strconv.FormatUint(n, 10) != o.port {
		return origin{}, false
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

// allows reports whether the page that makes the request may make it. Browsers send an
// Origin with every WebSocket handshake and with every cross-origin request whose
// response the page could read. They send none with other GET requests, although these
// contain the cookies of the visitor. Except over plain HTTP, they mark such requests
// with Sec-Fetch headers.
func (c *endpointConfig) allows(r *http.Request) bool {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return c.anyOrigin || !fromElsewhere(r.Header)
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

// fromElsewhere reports whether, according to its headers, a request without an Origin
// was made by a page of another origin, or by a page that may not read the response.
func fromElsewhere(h http.Header) bool {
	site := h.Get("Sec-Fetch-Site")
	return site != "" && site != "same-origin" && site != "none" || h.Get("Sec-Fetch-Mode") == "no-cors"
}

// sameAs reports whether the page has the origin of the request's target. If the
// browser reports this in a header, the header decides; otherwise, host and port do.
// The scheme is unknown, because a proxy may have terminated TLS.
func (o origin) sameAs(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		return true
	}
	if len(r.Host) > maxOrigin {
		return false
	}
	target, ok := splitOrigin(o.scheme + "://" + r.Host)
	return ok && target.host == o.host && target.port == o.port && (r.TLS == nil || o.scheme == "https")
}

// crossOrigin reports whether pages on other origins may connect at all.
func (c *endpointConfig) crossOrigin() bool { return c.anyOrigin || len(c.origins) > 0 }

// allow sets the headers with which an allowed page on another origin can read the
// response (Fetch standard, section 3.3).
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

// A hostPattern is a value of [WithHosts], which allows values of the Host header.
type hostPattern struct {
	host, port string // an empty port means all ports
	subdomains bool
}

var errHostForm = errors.New("want a host and perhaps a port, such as example.com, *.example.com, localhost:8080 or [::1]")

func parseHostPattern(text string) (hostPattern, error) {
	rest, subdomains := strings.CutPrefix(text, "*.")
	h, ok := splitHost(rest)
	if !ok || strings.Contains(rest, "*") || strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return hostPattern{}, fmt.Errorf("invalid host %q: %w", text, errHostForm)
	}
	h.subdomains = subdomains
	return h, nil
}

// splitHost parses the value of a Host header (RFC 9110 section 7.2).
func splitHost(text string) (hostPattern, bool) {
	if len(text) > maxOrigin {
		return hostPattern{}, false
	}
	u, err := url.Parse("//" + text)
	if err != nil || u.Host != text || u.Hostname() == "" {
		return hostPattern{}, false
	}
	h := hostPattern{host: strings.ToLower(u.Hostname()), port: u.Port()}
	if strings.Contains(h.host, ":") {
		ip, err := netip.ParseAddr(h.host)
		if err != nil {
			return hostPattern{}, false
		}
		h.host = ip.String()
	}
	return h, true
}

// matches reports whether p matches the host of a request.
func (p hostPattern) matches(of hostPattern) bool {
	if p.port != "" && p.port != of.port {
		return false
	}
	if p.subdomains {
		return strings.HasSuffix(of.host, "."+p.host)
	}
	return of.host == p.host
}

// serves reports whether the endpoint serves the host of a request.
func (c *endpointConfig) serves(r *http.Request) bool {
	if len(c.hosts) == 0 {
		return true
	}
	of, ok := splitHost(r.Host)
	if !ok {
		return false
	}
	for _, p := range c.hosts {
		if p.matches(of) {
			return true
		}
	}
	return false
}
