package pond

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddress returns the address that the request is counted under: that of the
// client, or of its network of 64 bits, which one IPv6 subscriber has. It is not
// valid if it is unknown, as over a Unix socket without a proxy.
func (c *endpointConfig) clientAddress(r *http.Request) netip.Addr {
	addr := parseAddress(r.RemoteAddr)
	if len(c.trustedProxies) > 0 && (!addr.IsValid() || c.trusts(addr)) {
		addr = c.forwardedFor(r.Header.Values("X-Forwarded-For"), addr)
	}
	if addr.Is6() {
		prefix, _ := addr.Prefix(64) // the only error is a length that is too large
		addr = prefix.Addr()
	}
	return addr
}

// forwardedFor returns the last address in the headers that is not a trusted
// proxy's. Everything to the left of it can be made up by the client. proxy is the
// address of the proxy that made the request.
func (c *endpointConfig) forwardedFor(headers []string, proxy netip.Addr) netip.Addr {
	for _, header := range slices.Backward(headers) {
		for rest, more := header, true; more; {
			var part string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, part = rest[:comma], rest[comma+1:]
			} else {
				part, more = rest, false
			}
			addr := parseAddress(strings.TrimSpace(part))
			switch {
			case !addr.IsValid():
				return proxy // which passed on something else than an address
			case !c.trusts(addr):
				return addr
			}
			proxy = addr
		}
	}
	return proxy
}

func (c *endpointConfig) trusts(addr netip.Addr) bool {
	for _, prefix := range c.trustedProxies {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// parseAddress reads an IP address with or without a port. The result has no zone,
// and is an IPv4 address if the text is one in the form of IPv6.
func parseAddress(text string) netip.Addr {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone("")
}

// unmapPrefix returns an IPv4 prefix for one that is written as IPv6, because
// addresses are compared as IPv4 (RFC 4291 section 2.5.5.2).
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
