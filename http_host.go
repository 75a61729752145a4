package pond

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"
)

// A hostPattern is what [WithHosts] allows in the Host header.
type hostPattern struct {
	host, port string // an empty port stands for all
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

// splitHost reads the value of a Host header (RFC 9110 section 7.2).
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

// matches reports whether the host of a request is one of p.
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
