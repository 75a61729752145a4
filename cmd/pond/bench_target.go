package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

// setTarget sets the address of the server from the URL.
func (b *bench) setTarget(ctx context.Context) error {
	u, err := benchURL(b.url)
	if err != nil {
		return err
	}
	addr, local, err := reach(ctx, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
	if err != nil {
		return err
	}
	b.config.Addr, b.config.Host = addr, u.Host
	b.pond.Path = u.RequestURI()
	u.RawQuery = "" // may contain a secret
	b.pond.Name = u.Redacted()
	b.config.Dialect = b.pond
	if len(b.config.PIDs) == 0 && local {
		b.config.PIDs, err = load.FindPIDs(addr)
	}
	return err
}

// benchURL parses the URL of an endpoint.
func benchURL(text string) (*url.URL, error) {
	const example = "want http or ws, as in http://127.0.0.1:8000/socket"
	u, err := parseURL(text, example)
	switch {
	case err != nil:
		return nil, usagef("bench", "%v", err)
	case u.Scheme == "https" || u.Scheme == "wss":
		return nil, usagef("bench", "%s: TLS is not supported; use the address of the server behind the proxy that terminates TLS", u.Redacted())
	case u.Scheme != "http" && u.Scheme != "ws":
		return nil, usagef("bench", "invalid URL %q: %s", text, example)
	case u.Hostname() == "":
		return nil, usagef("bench", "invalid URL %q: no host", text)
	}
	return u, nil
}

// reach connects once to find the IP address of the server, and whether it is on this
// machine.
func reach(ctx context.Context, addr string) (ip string, local bool, err error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", false, fmt.Errorf("cannot reach the server: %w", err)
	}
	defer c.Close()
	there, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return "", false, err
	}
	here, err := netip.ParseAddrPort(c.LocalAddr().String())
	return there.String(), there.Addr().IsLoopback() || there.Addr() == here.Addr(), err
}
